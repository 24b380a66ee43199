package main

import (
	"context"

	lightning "github.com/lightning-db/lightning"
	"github.com/spf13/cobra"
)

// difference is one line of the command diff.
type difference struct {
	Change string  `json:"change"` // added, removed or changed
	Bucket string  `json:"bucket"` // path of the bucket around the key; empty = the root
	Key    string  `json:"key"`
	Kind   string  `json:"kind"` // key or bucket; of a change between the two, what it is now
	Old    *string `json:"old,omitempty"`
	New    *string `json:"new,omitempty"`
	OldSeq uint64  `json:"old_sequence,omitempty"`
	NewSeq uint64  `json:"new_sequence,omitempty"`
}

func newDiff(a *app) *cobra.Command {
	var values bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "List the keys in which two databases or full backups differ",
		Long: `List the keys that NEW has and OLD has not (+), the other way round (-), and those whose values differ (~), with
the path of their bucket. Two states of one database, a backup of it and itself for example, share most of their
pages: what has equal digests is not read. A bucket whose sequence alone differs is listed as changed (~).
--values shows the old and the new value; with -o json they are always there.`,
		Example: `  lightning-cli diff monday.full app.db
  lightning-cli diff monday.full app.db --values
  lightning-cli diff monday.full app.db -o json | jq -r 'select(.change == "removed") | .key'`,
		Args: argCount(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.diff(cmd.Context(), args[0], args[1], values)
		},
	}
	cmd.Flags().BoolVar(&values, "values", false, "show values")
	a.bucketFlag(cmd)
	a.keyFlag(cmd)
	a.valueFlag(cmd)
	return cmd
}

func (a *app) diff(ctx context.Context, from, to string, values bool) error {
	return a.withDB(ctx, from, readExisting, func(from *lightning.DB) error {
		return a.withDB(ctx, to, readExisting, func(to *lightning.DB) error {
			return view(from, func(before *lightning.Tx) error {
				return view(to, func(after *lightning.Tx) error {
					return lightning.Diff(ctx, before, after, func(d *lightning.Difference) error {
						return a.showDifference(d, values)
					})
				})
			})
		})
	})
}

func (a *app) showDifference(d *lightning.Difference, values bool) error {
	line := difference{
		Change: "changed", Kind: "key", Bucket: a.bucketEnc.encodePath(d.Path), Key: a.keyEnc.encode(d.Key),
		OldSeq: d.OldSeq, NewSeq: d.NewSeq,
	}
	sign := "~"
	switch {
	case d.Old == nil && !d.OldBucket:
		line.Change, sign = "added", "+"
	case d.New == nil && !d.NewBucket:
		line.Change, sign = "removed", "-"
	}
	if d.NewBucket || d.OldBucket && d.New == nil {
		line.Kind = "bucket"
		line.Key = a.bucketEnc.encode(d.Key)
	}
	if d.Old != nil {
		v := a.valueEnc.encode(d.Old)
		line.Old = &v
	}
	if d.New != nil {
		v := a.valueEnc.encode(d.New)
		line.New = &v
	}
	if a.json() {
		return a.emit(line)
	}
	name := line.Key
	if len(d.Path) > 0 {
		name = line.Bucket + "/" + name
	}
	if line.Kind == "bucket" {
		name += "/"
	}
	a.printf("%s %s\n", sign, name)
	if values && line.Old != nil {
		a.printf("    old %s\n", *line.Old)
	}
	if values && line.New != nil {
		a.printf("    new %s\n", *line.New)
	}
	return nil
}
