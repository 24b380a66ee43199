package main

import (
	"context"
	"errors"
	"time"

	"github.com/lightning-db/lightning/backup"
	"github.com/spf13/cobra"
)

// repairSummary is what the command repair prints with -o json.
type repairSummary struct {
	Path    string           `json:"path"`
	TxID    uint64           `json:"txid"`
	Bytes   int64            `json:"bytes"`
	Damaged []repairedExtent `json:"damaged"`
	Lost    int              `json:"lost"`
	DryRun  bool             `json:"dry_run"`
	Seconds float64          `json:"seconds"`
}

// repairedExtent is a damaged page, or several of one value.
type repairedExtent struct {
	Page    uint64 `json:"page"`
	Pages   int    `json:"pages"`
	Type    string `json:"type"`
	Problem string `json:"problem"`
	From    string `json:"from,omitempty"`
}

func newRepair(a *app) *cobra.Command {
	var from []string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "repair DB --from COPY [--from COPY...]",
		Short: "Replace damaged pages by the right ones from backups and old copies",
		Long: `Read all pages of DB from the medium and replace those that are damaged by the right ones from copies: full
backups, increments, old copies of the file, in any mix. Nothing but the bytes whose digest the database
itself demands is taken, so an old, foreign, damaged or forged copy does no harm, and what is right is not touched.
Each damaged page is printed with the copy that had it. DB must not be open elsewhere; the copies are not changed.

It can be stopped at any time, also by a kill, and run again: each page is replaced by itself.
The exit code is 0 if the database is whole afterwards, 4 if no copy had the right bytes of some page, or no meta
page can be read. Then restore a backup, or save what is left with salvage.`,
		Example: `  lightning-cli repair app.db --from monday.full --from tuesday.inc --from wednesday.inc
  lightning-cli repair app.db --from /mnt/replica/app.db --dry-run`,
		Args: argCount(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(from) == 0 && !dryRun {
				return usagef("name a copy to repair from with --from, or look only with --dry-run")
			}
			return a.repair(cmd.Context(), args[0], from, dryRun)
		},
	}
	cmd.Flags().StringArrayVar(&from, "from", nil, "full backup, increment or other copy of the database; may be given more than once")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, tell what would be done")
	return cmd
}

func (a *app) repair(ctx context.Context, path string, from []string, dryRun bool) error {
	began := time.Now()
	options, err := a.backupOptions()
	if err != nil {
		return err
	}
	bar := a.newProgress("repairing", 0, countBytes)
	options.Progress = bar.set
	report, err := backup.Repair(ctx, path, from, backup.RepairOptions{Options: options, DryRun: dryRun})
	bar.finish()
	if report == nil {
		return backupError(err)
	}
	if errors.Is(err, backup.ErrNotWhole) {
		err = &codedError{exitCorrupt, err}
	}
	s := repairSummary{
		Path: path, TxID: report.State.TxID, Bytes: report.Bytes, Damaged: []repairedExtent{}, Lost: report.Lost,
		DryRun: dryRun, Seconds: time.Since(began).Seconds(),
	}
	for _, d := range report.Damaged {
		s.Damaged = append(s.Damaged, repairedExtent(d))
	}
	if a.json() {
		return errors.Join(a.emit(s), err)
	}
	for _, d := range s.Damaged {
		did := "replaced from " + d.From
		switch {
		case d.From == "":
			did = "NOT REPAIRED: no copy has it"
		case dryRun:
			did = "would be replaced from " + d.From
		}
		a.printf("page %d, pages %d, %s: %s; %s\n", d.Page, d.Pages, d.Type, d.Problem, did)
	}
	if err == nil && !a.quiet {
		a.printf("%s: transaction %d, damaged %d, all of them found in copies, seconds %.1f\n", path, s.TxID, len(s.Damaged), s.Seconds)
	}
	return err
}
