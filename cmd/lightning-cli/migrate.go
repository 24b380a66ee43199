package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/lightning-db/lightning/internal/boltfile"
	"github.com/lightning-db/lightning/internal/migrate"
	"github.com/spf13/cobra"
)

// migrateOptions are the flags of the command migrate.
type migrateOptions struct {
	to         string
	pageSize   byteSize
	batchBytes byteSize
	dryRun     bool
	noProgress bool
}

// migrateSummary is what a migration did.
type migrateSummary struct {
	migrate.Result
	DryRun  bool    `json:"dry_run,omitempty"`
	Seconds float64 `json:"seconds"`
}

func newMigrate(a *app) *cobra.Command {
	opts := migrateOptions{batchBytes: byteSize(migrate.DefaultBatchBytes)}
	cmd := &cobra.Command{
		Use:   "migrate SRC DST",
		Short: "Turn a bbolt file into a database, or a database into a bbolt file",
		Long: `Copy the bbolt file SRC into the new database DST, or the database SRC into the new bbolt file DST: which
of both SRC is, its first bytes tell. Buckets, nested and empty ones too, their sequences, keys and values are
kept. At the end the copy is compared with SRC entry by entry. SRC is locked against writers and never
written; DST must not exist.

The copy grows as DST` + migrate.Suffix + `, in durable transactions of at most --batch-bytes or 50000 entries, and
becomes DST in one step when it has been compared. However the migration is stopped, by Ctrl-C, a kill or a full
disk, give the same command again and it goes on. If SRC has changed in between that is an error; remove
DST` + migrate.Suffix + ` to begin anew.

--dry-run reads and checks all of SRC and writes nothing. bbolt files have no digests: damage to their structure is
found, a changed byte inside of a value is not. --integrity-key-file is the key of the Lightning DB file, be it
SRC or DST. bbolt does not store the sequence of the root bucket; a warning says if one is lost.`,
		Example: `  lightning-cli migrate old.bolt new.ldb
  lightning-cli migrate old.bolt new.ldb --page-size 16K --integrity-key-file app.key
  lightning-cli migrate new.ldb back.bolt --to bolt -o json
  lightning-cli migrate old.bolt new.ldb --dry-run`,
		Args: argCount(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.migrate(cmd.Context(), args[0], args[1], opts)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.to, "to", "", "bolt or lightning: fail if that is not what SRC is turned into")
	flags.Var(&opts.pageSize, "page-size", "bytes a page of DST, a power of two from 4K to 64K (default: the engine's)")
	flags.Var(&opts.batchBytes, "batch-bytes", "most bytes a transaction")
	flags.BoolVar(&opts.dryRun, "dry-run", false, "check SRC, say what would be done, write nothing")
	flags.BoolVar(&opts.noProgress, "no-progress", false, "show no progress bar")
	return cmd
}

func (a *app) migrate(ctx context.Context, src, dst string, opts migrateOptions) error {
	to := migrate.Format(opts.to)
	if to != "" && to != migrate.Bolt && to != migrate.Lightning {
		return usagef("--to: %q is not one of bolt, lightning", opts.to)
	}
	pageSize := int(min(opts.pageSize, gib))
	if err := checkPageSize(pageSize); err != nil {
		return err
	}
	key, err := a.integrityKey()
	if err != nil {
		return err
	}
	if from, err := migrate.Detect(src); err != nil {
		return migrateError(err)
	} else if to != "" && from == to {
		return usagef("%s is a %s file already", src, from)
	}
	started := time.Now()
	report := &migrateProgress{app: a, off: opts.noProgress, bar: &progress{}}
	result, err := migrate.Run(ctx, migrate.Options{
		Source: src, Destination: dst, PageSize: pageSize, LockTimeout: a.timeout, IntegrityKey: key,
		BatchBytes: int64(opts.batchBytes), DryRun: opts.dryRun, Progress: report.show,
	})
	report.bar.finish()
	if err != nil {
		return migrateError(err)
	}
	if result.RootSequence != 0 {
		if err := a.warn("bbolt does not store the sequence of the root bucket: %d is not in the copy", result.RootSequence); err != nil {
			return err
		}
	}
	return a.reportMigration(migrateSummary{result, opts.dryRun, time.Since(started).Seconds()})
}

func (a *app) reportMigration(s migrateSummary) error {
	switch {
	case a.json():
		return a.emit(s)
	case a.quiet:
		return nil
	case s.DryRun:
		how := "a migration would begin"
		if s.Resumed {
			how = "a migration would go on with the unfinished copy"
		}
		a.printf("%s to %s: buckets %d, keys %d, bytes %d; the source is readable, %s, nothing was written\n",
			s.From, s.To, s.Buckets, s.Keys, s.Bytes, how)
		return nil
	}
	a.printf("migrated %s to %s: buckets %d, keys %d, bytes %d, resumed %t, verified %t, seconds %.1f\n",
		s.From, s.To, s.Buckets, s.Keys, s.Bytes, s.Resumed, s.Verified, s.Seconds)
	return nil
}

// migrateProgress shows a bar for each phase.
type migrateProgress struct {
	app   *app
	off   bool
	bar   *progress
	phase migrate.Phase
}

func (p *migrateProgress) show(now migrate.Progress) {
	if p.off {
		return
	}
	if now.Phase != p.phase {
		p.bar.finish()
		p.phase = now.Phase
		p.bar = p.app.newProgress(string(now.Phase), now.Total, countBytes)
	}
	p.bar.set(now.Done, now.Total)
}

// migrateError gives err the exit code of its kind.
func migrateError(err error) error {
	var damage *boltfile.DamageError
	switch {
	case errors.As(err, &damage):
		return &codedError{exitCorrupt, err}
	case errors.Is(err, migrate.ErrSame):
		return &codedError{exitUsage, err}
	case errors.Is(err, migrate.ErrUnknownFormat), errors.Is(err, boltfile.ErrNotBolt),
		errors.Is(err, boltfile.ErrVersion), errors.Is(err, boltfile.ErrByteOrder):
		return &codedError{exitNotDatabase, err}
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w; move that file away or give another name", err)
	}
	return err
}
