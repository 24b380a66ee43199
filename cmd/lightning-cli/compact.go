package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/newfile"
	"github.com/spf13/cobra"
)

// compactTxBytes is how much one transaction of a compaction writes.
const compactTxBytes = 64 << 20

// compactSummary is what a compaction did.
type compactSummary struct {
	Path    string  `json:"path"`
	Before  int64   `json:"bytes_before"`
	After   int64   `json:"bytes_after"`
	Seconds float64 `json:"seconds"`
}

func newCompact(a *app) *cobra.Command {
	var pageSize byteSize
	cmd := &cobra.Command{
		Use:   "compact DB DST",
		Short: "Copy a database to a new file without the free space",
		Long: `Copy all buckets, keys and values of DB, in order, to the new file DST, whose pages are full and none of
them free. Every page is verified on the way. DB is only read. DST must not exist; it gets its name when it is
whole and durable. What was written until then is removed on an error; only a kill leaves it, as
DST.partial-NUMBER, to be removed by hand. DST is a database of its own: increments of DB do not continue it.`,
		Example: `  lightning-cli compact app.db smaller.db
  lightning-cli compact app.db scans.db --page-size 16K`,
		Args: argCount(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.compact(cmd.Context(), args[0], args[1], int(min(pageSize, gib)))
		},
	}
	cmd.Flags().Var(&pageSize, "page-size", "bytes a page of DST, a power of two from 4K to 64K (default: that of DB)")
	return cmd
}

func (a *app) compact(ctx context.Context, path, dest string, pageSize int) error {
	if err := checkPageSize(pageSize); err != nil {
		return err
	}
	began := time.Now()
	if _, err := os.Lstat(dest); err == nil {
		return &fs.PathError{Op: "compact", Path: dest, Err: fs.ErrExist}
	}
	err := a.withDB(ctx, path, readExisting, func(src *lightning.DB) (err error) {
		if pageSize == 0 {
			pageSize = src.Info().PageSize
		}
		return a.compactTo(ctx, dest, src, pageSize)
	})
	if err != nil {
		return err
	}
	s := compactSummary{Path: dest, Seconds: time.Since(began).Seconds()}
	for name, size := range map[string]*int64{path: &s.Before, dest: &s.After} {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		*size = info.Size()
	}
	switch {
	case a.json():
		return a.emit(s)
	case !a.quiet:
		a.printf("%s: bytes %d, before %d, seconds %.1f\n", dest, s.After, s.Before, s.Seconds)
	}
	return nil
}

// compactTo writes what is in src to a new file and names it when it is durable.
func (a *app) compactTo(ctx context.Context, dest string, src *lightning.DB, pageSize int) error {
	f, err := newfile.Partial(dest, databaseMode)
	if err != nil {
		return err
	}
	err = f.Close()
	if err == nil {
		err = a.copyTo(ctx, f.Name(), src, pageSize)
	}
	if err = newfile.Settle(f.Name(), dest, err); err != nil {
		return fmt.Errorf("compact to %s: %w", dest, err)
	}
	return nil
}

// copyTo writes what is in src to the empty file at path.
func (a *app) copyTo(ctx context.Context, path string, src *lightning.DB, pageSize int) error {
	dst, err := a.open(ctx, path, writeOrCreate, pageSize)
	if err != nil {
		return err
	}
	return errors.Join(lightning.CompactContext(ctx, dst, src, compactTxBytes), dst.Close())
}
