package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	lightning "github.com/lightning-db/lightning"
	"github.com/spf13/cobra"
)

// statsReport is what the command stats prints; sizes are in bytes.
type statsReport struct {
	Path         string       `json:"path"`
	FileSize     int64        `json:"file_size"`
	DataSize     int64        `json:"data_size"`
	PageSize     int          `json:"page_size"`
	TxID         int          `json:"txid"`
	Pages        int64        `json:"pages"`
	FreePages    int          `json:"free_pages"`
	PendingPages int          `json:"pending_pages"`
	FreeBytes    int          `json:"free_bytes"`
	Buckets      []bucketStat `json:"buckets"`
}

// bucketStat sums up a top-level bucket with all buckets inside it.
type bucketStat struct {
	Name          string `json:"name"`
	Keys          int    `json:"keys"`
	Depth         int    `json:"depth"`
	BranchPages   int    `json:"branch_pages"`
	LeafPages     int    `json:"leaf_pages"`
	OverflowPages int    `json:"overflow_pages"`
	AllocBytes    int    `json:"alloc_bytes"`
	UsedBytes     int    `json:"used_bytes"`
	Nested        int    `json:"nested_buckets"`
	Inline        int    `json:"inline_buckets"`
}

func newStats(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stats DB",
		Short: "Show sizes, free space and the shape of each top-level bucket",
		Long: `Show the size of the file and of the data in it, the pages and how many of them are free, and for each
top-level bucket, with the buckets inside it, the keys, the depth, the pages and how full they are.
Every branch and leaf page is read, so a large database takes a while.`,
		Example: `  lightning-cli stats app.db
  lightning-cli stats app.db -o json | jq .free_bytes`,
		Args: argCount(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.stats(cmd.Context(), args[0])
		},
	}
	a.bucketFlag(cmd)
	return cmd
}

func (a *app) stats(ctx context.Context, path string) error {
	report := statsReport{Path: path, Buckets: []bucketStat{}}
	err := a.withDB(ctx, path, readExisting, func(db *lightning.DB) (err error) {
		if report.FileSize, err = fileSize(path); err != nil {
			return err
		}
		report.PageSize = db.Info().PageSize
		err = view(db, func(tx *lightning.Tx) error {
			report.TxID = tx.ID()
			report.DataSize = tx.Size()
			return a.bucketStats(ctx, tx, &report)
		})
		s := db.Stats()
		report.FreePages, report.PendingPages, report.FreeBytes = s.FreePageN, s.PendingPageN, s.FreeAlloc
		return err
	})
	if err != nil {
		return err
	}
	report.Pages = report.DataSize / int64(report.PageSize)
	if a.json() {
		return a.emit(report)
	}
	return a.printStats(&report)
}

func (a *app) bucketStats(ctx context.Context, tx *lightning.Tx, report *statsReport) error {
	root := rootBucket(tx)
	for name, value := range root.All() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if value != nil {
			continue
		}
		b := root.Bucket(name)
		if b == nil {
			break // the entry could not be read; the transaction knows why
		}
		s := b.Stats()
		report.Buckets = append(report.Buckets, bucketStat{
			Name:          a.bucketEnc.encodeName(name),
			Keys:          s.KeyN,
			Depth:         s.Depth,
			BranchPages:   s.BranchPageN,
			LeafPages:     s.LeafPageN,
			OverflowPages: s.BranchOverflowN + s.LeafOverflowN,
			AllocBytes:    s.BranchAlloc + s.LeafAlloc,
			UsedBytes:     s.BranchInuse + s.LeafInuse,
			Nested:        max(s.BucketN-1, 0),
			Inline:        s.InlineBucketN,
		})
	}
	return nil
}

func (a *app) printStats(r *statsReport) error {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	for _, row := range [][]any{
		{"path", r.Path},
		{"file size", r.FileSize},
		{"data size", r.DataSize},
		{"page size", r.PageSize},
		{"transaction", r.TxID},
		{"pages", r.Pages},
		{"free pages", r.FreePages},
		{"pending pages", r.PendingPages},
		{"free bytes", r.FreeBytes},
	} {
		if err := writeRow(w, row...); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(r.Buckets) == 0 {
		return nil
	}
	a.printf("\n")
	err := writeRow(w, "BUCKET", "KEYS", "DEPTH", "BRANCH", "LEAF", "OVERFLOW", "BYTES", "USED", "NESTED", "INLINE")
	for _, b := range r.Buckets {
		if err != nil {
			break
		}
		err = writeRow(w, b.Name, b.Keys, b.Depth, b.BranchPages, b.LeafPages, b.OverflowPages,
			b.AllocBytes, percent(b.UsedBytes, b.AllocBytes), b.Nested, b.Inline)
	}
	if err != nil {
		return err
	}
	return w.Flush()
}

func percent(part, whole int) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", 100*float64(part)/float64(whole))
}
