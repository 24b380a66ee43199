package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/await"
	"github.com/lightning-db/lightning/salvage"
	"github.com/spf13/cobra"
)

func newSalvage(a *app) *cobra.Command {
	var orphans bool
	var reportPath string
	cmd := &cobra.Command{
		Use:   "salvage SRC DST",
		Short: "Save what is left of a damaged database into a new one",
		Long: `Read the damaged database SRC and write all keys and values that some digest vouches for to the new
database DST, and list what is lost: ranges of keys, by bucket and page. SRC is only read. Use it when no backup or
copy helps. Each key is counted by what justifies it:

  verified  digests from the newest meta page down: what a transaction would have read
  attested  its digest stands in a damaged page
  older     verified from the older meta page down; changed or deleted since, perhaps
  orphan    a page that looks whole and that nothing vouches for; only with --orphans

DST must not exist; it gets its name when it is whole and durable. What was written until then is removed on an error;
only a kill leaves it, as DST.partial-NUMBER, to be removed by hand.
The exit code is 0 if nothing is lost, 4 if something is; DST is there in both cases.`,
		Example: `  lightning-cli salvage damaged.db saved.db
  lightning-cli salvage damaged.db saved.db --orphans --report lost.json
  lightning-cli salvage damaged.db saved.db -o json | jq '.lost[]'`,
		Args: argCount(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.salvage(cmd.Context(), args[0], args[1], reportPath, orphans)
		},
	}
	cmd.Flags().BoolVar(&orphans, "orphans", false, "add pages that nothing vouches for where something is lost")
	cmd.Flags().StringVar(&reportPath, "report", "", "write the report as JSON to this new file, too")
	return cmd
}

func (a *app) salvage(ctx context.Context, src, dst, reportPath string, orphans bool) (err error) {
	o := salvage.Options{LockTimeout: a.timeout, Mode: databaseMode, Orphans: orphans}
	if o.IntegrityKey, err = a.integrityKey(); err != nil {
		return err
	}
	if _, err := os.Stat(src); err != nil {
		return err
	}
	var file *os.File
	if reportPath != "" { // before the work, not after it
		if file, err = os.OpenFile(reportPath, os.O_WRONLY|os.O_CREATE|os.O_EXCL, databaseMode); err != nil {
			return err
		}
	}
	bar := a.newProgress("salvaging", 0, countItems)
	o.Progress = bar.set
	r, err := salvage.Run(ctx, src, dst, o)
	bar.finish()
	if file != nil {
		err = errors.Join(err, finishReport(file, r))
	}
	switch {
	case err != nil:
		return err
	case a.json():
		err = a.emit(r)
	case !a.quiet:
		a.showSalvage(r, dst)
	}
	if err == nil && !r.Whole() {
		err = &codedError{exitCorrupt, fmt.Errorf("salvage %s: %d losses", src, r.Losses)}
		if r.Losses == 0 {
			err = &codedError{exitCorrupt, fmt.Errorf("salvage %s: both meta pages are damaged; what was saved is %v", src, r.Root)}
		}
	}
	return err
}

// finishReport writes the report to f, or removes f if there is none.
func finishReport(f *os.File, r *salvage.Report) error {
	if r == nil {
		return errors.Join(f.Close(), os.Remove(f.Name()))
	}
	return errors.Join(writeJSON(io.Writer(f), r), f.Sync(), f.Close())
}

func (a *app) showSalvage(r *salvage.Report, dst string) {
	a.printf("%s: saved %d keys, %d of them buckets, of transaction %d\n", dst, r.Saved.Sum(), r.Buckets, r.TxID)
	for g, n := range r.Saved {
		if n > 0 {
			a.printf("  %v: %d\n", salvage.Grade(g), n)
		}
	}
	for _, l := range r.Lost {
		a.printf("lost: %v\n", l)
	}
	if more := r.Losses - uint64(len(r.Lost)); more > 0 {
		a.printf("lost: %d ranges more\n", more)
	}
	for _, b := range r.Damaged {
		a.printf("bucket %v: %d of %d keys are missing\n", b.Path, b.Missing, b.Keys)
	}
	for _, p := range r.Unreadable {
		a.printf("unreadable: pages %d to %d\n", p.First, p.First+p.Pages-1)
	}
	if r.AmbiguousPages > 0 {
		a.printf("left out: %d pages that fit more than one place\n", r.AmbiguousPages)
	}
	if r.Curtailed {
		a.printf("the search was cut short: the file is forged\n")
	}
}

func newRebuildSpace(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rebuild-space DB",
		Short: "Make a new map of free pages for a database whose map is damaged",
		Long: `Verify all data of DB, and commit a new map of free pages if the one in the file is damaged or wrong: writing
is refused, or check finds pages that are neither in use nor free, or both. A map that is right is left alone. If data
is damaged, too, nothing is written; see restore and salvage. A crash leaves the file as it was or with the new map.`,
		Example: `  lightning-cli rebuild-space app.db
  lightning-cli rebuild-space app.db -o json`,
		Args: argCount(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.rebuildSpace(cmd.Context(), args[0])
		},
	}
}

// rebuildSummary is what rebuild-space tells.
type rebuildSummary struct {
	Path    string `json:"path"`
	Rebuilt bool   `json:"rebuilt"`
	Damage  string `json:"damage,omitempty"`
	Used    uint64 `json:"used"`
	Free    uint64 `json:"free"`
	Lost    uint64 `json:"lost"`
	Clashes uint64 `json:"clashes"`
	TxID    uint64 `json:"txid"`
}

func (a *app) rebuildSpace(ctx context.Context, path string) error {
	key, err := a.integrityKey()
	if err != nil {
		return err
	}
	bar := a.newProgress("verifying", 0, countItems)
	r, err := await.Open(ctx, a.timeout, lightning.ErrTimeout, func(wait time.Duration) (*lightning.SpaceReport, error) {
		return lightning.RebuildSpace(ctx, path, &lightning.Options{
			Timeout: wait, IntegrityKey: key,
			OnRecovery: func(p lightning.RecoveryProgress) { bar.set(int64(p.Pages), 0) },
		})
	})
	bar.finish()
	if err != nil {
		return err
	}
	s := rebuildSummary{Path: path, Rebuilt: r.Rebuilt, Used: r.Used, Free: r.Free, Lost: r.Lost, Clashes: r.Clashes, TxID: r.TxID}
	if r.Damage != nil {
		s.Damage = r.Damage.Error()
	}
	switch {
	case a.json():
		return a.emit(s)
	case a.quiet:
	case !r.Rebuilt:
		a.printf("%s: the map of free pages is right: %d pages in use, %d free\n", path, r.Used, r.Free)
	default:
		a.printf("%s: new map of free pages: %d pages in use, %d free, transaction %d\n", path, r.Used, r.Free, r.TxID)
	}
	return nil
}
