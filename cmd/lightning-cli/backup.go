package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/backup"
	"github.com/spf13/cobra"
)

// partSummary describes one file of a chain of backups.
type partSummary struct {
	Path    string  `json:"path,omitempty"`
	Kind    string  `json:"kind"`
	Bytes   int64   `json:"bytes"`
	TxID    uint64  `json:"txid"`
	Digest  string  `json:"digest"`
	Since   *uint64 `json:"since,omitempty"`
	Seconds float64 `json:"seconds"`
}

func summaryOf(p *backup.Part, began time.Time) partSummary {
	s := partSummary{
		Path: p.Path, Kind: p.Kind(), Bytes: p.Size, TxID: p.State.TxID, Digest: fmt.Sprintf("%x", p.State.Digest),
		Seconds: time.Since(began).Seconds(),
	}
	if p.Since != nil {
		s.Since = &p.Since.TxID
	}
	return s
}

func newBackup(a *app) *cobra.Command {
	var base string
	cmd := &cobra.Command{
		Use:   "backup DB DEST",
		Short: "Copy a database, or what changed in it since an earlier backup",
		Long: `Write a backup of DB to the new file DEST; every page is verified on the way. A full backup is itself a
database. With --since the backup is an increment: what changed since the full backup or increment given, found
without reading what did not change. DEST gets its name when it is whole and durable. What was written
until then is removed on an error; only a kill leaves it, as DEST.partial-NUMBER, to be removed by hand.

With - for DEST a full backup goes to standard output, to be piped into another program; whoever receives
it verifies it with verify-backup. An increment says itself which backup it continues: there is no manifest to lose.`,
		Example: `  lightning-cli backup app.db monday.full
  lightning-cli backup app.db tuesday.inc --since monday.full
  lightning-cli backup app.db wednesday.inc --since tuesday.inc -o json
  lightning-cli backup app.db - | zstd > app.zst`,
		Args: argCount(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] == "-" && base != "" {
				return usagef("an increment cannot go to standard output")
			}
			if args[1] == "-" {
				return a.backupStream(cmd.Context(), args[0])
			}
			return a.backup(cmd.Context(), args[0], args[1], base)
		},
	}
	cmd.Flags().StringVar(&base, "since", "", "the full backup or increment that the new increment continues")
	return cmd
}

func (a *app) backup(ctx context.Context, path, dest, base string) error {
	began := time.Now()
	o, err := a.backupOptions()
	if err != nil {
		return err
	}
	bar := a.newProgress("backup", 0, countBytes)
	o.Progress = bar.set
	var made *backup.Part
	err = a.withDB(ctx, path, readExisting, func(db *lightning.DB) (err error) {
		made, err = backup.Create(ctx, db, dest, base, databaseMode, o)
		return err
	})
	bar.finish()
	if err != nil {
		return backupError(err)
	}
	return a.reportPart(summaryOf(made, began))
}

// backupStream writes a full backup to stdout.
func (a *app) backupStream(ctx context.Context, path string) error {
	return a.withDB(ctx, path, readExisting, func(db *lightning.DB) error {
		return db.ViewContext(ctx, func(tx *lightning.Tx) error {
			_, err := tx.WriteTo(untilDone{ctx, a.out})
			return err
		})
	})
}

// untilDone is a writer that fails when ctx has ended.
type untilDone struct {
	ctx context.Context
	io.Writer
}

func (w untilDone) Write(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.Writer.Write(b)
}

func newVerifyBackup(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify-backup FULL [INCREMENT...]",
		Short: "Prove a backup, or a chain of backups, good without restoring it",
		Long: `Read the full backup and its increments, given in the order in which they were made, and verify that they
continue each other and that every state they lead to could be restored to the last byte. A part that is damaged,
cut short, of another database or in the wrong place is named. Nothing is written.
The exit code is 0 if all is good, 4 for damage or parts that do not belong together.`,
		Example: `  lightning-cli verify-backup monday.full
  lightning-cli verify-backup monday.full tuesday.inc wednesday.inc`,
		Args: argCount(1, 1<<20),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.verifyBackup(cmd.Context(), args)
		},
	}
}

func (a *app) verifyBackup(ctx context.Context, parts []string) error {
	o, err := a.backupOptions()
	if err != nil {
		return err
	}
	bar := a.newProgress("verifying", 0, countBytes)
	o.Progress = bar.set
	good, err := backup.Verify(ctx, parts, o)
	bar.finish()
	if a.json() {
		states := []map[string]any{}
		for i, s := range good {
			states = append(states, map[string]any{"path": parts[i], "txid": s.TxID, "digest": fmt.Sprintf("%x", s.Digest)})
		}
		if err := a.emit(map[string]any{"ok": err == nil, "good": states}); err != nil {
			return err
		}
	} else if !a.quiet {
		for i, s := range good {
			a.printf("%s: good, transaction %d, digest %x\n", parts[i], s.TxID, s.Digest)
		}
	}
	return backupError(err)
}

func newRestore(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "restore DB FULL [INCREMENT...]",
		Short: "Make a database from a chain of backups",
		Long: `Make the new database DB from a full backup and its increments, given in the order in which they were
made: the state of the last one. To go back further, leave out the last ones. Everything is verified before it is
written, and the new database is checked as a whole. DB must not exist; it gets its name when it is whole and
durable. What was written until then is removed on an error; only a kill leaves it, as DB.partial-NUMBER, to be
removed by hand.`,
		Example: `  lightning-cli restore app.db monday.full
  lightning-cli restore app.db monday.full tuesday.inc wednesday.inc`,
		Args: argCount(2, 1<<20),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.restore(cmd.Context(), args[0], args[1:])
		},
	}
}

func (a *app) restore(ctx context.Context, path string, parts []string) error {
	began := time.Now()
	o, err := a.backupOptions()
	if err != nil {
		return err
	}
	bar := a.newProgress("restoring", 0, countBytes)
	o.Progress = bar.set
	state, err := backup.Restore(ctx, path, databaseMode, parts, o)
	bar.finish()
	if err != nil {
		return backupError(err)
	}
	made := &backup.Part{Path: path, State: state}
	if p, err := backup.Inspect(ctx, path, o); err == nil {
		made.Size = p.Size
	}
	return a.reportPart(summaryOf(made, began))
}

func (a *app) backupOptions() (o backup.Options, err error) {
	o.LockTimeout = a.timeout
	o.IntegrityKey, err = a.integrityKey()
	return o, err
}

func (a *app) reportPart(s partSummary) error {
	switch {
	case a.json():
		return a.emit(s)
	case a.quiet:
		return nil
	}
	what := s.Kind
	if s.Since != nil {
		what += fmt.Sprintf(" on transaction %d", *s.Since)
	}
	a.printf("%s: %s, transaction %d, bytes %d, digest %s, seconds %.1f\n", s.Path, what, s.TxID, s.Bytes, s.Digest, s.Seconds)
	return nil
}

// backupError gives err the exit code of its kind.
func backupError(err error) error {
	switch {
	case errors.Is(err, backup.ErrNotBackup):
		return &codedError{exitNotDatabase, err}
	case errors.Is(err, backup.ErrChain), errors.Is(err, lightning.ErrForeignState):
		return &codedError{exitCorrupt, err}
	}
	return err
}
