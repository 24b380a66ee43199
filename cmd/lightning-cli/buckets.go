package main

import (
	"context"
	"strings"
	"text/tabwriter"

	lightning "github.com/lightning-db/lightning"
	"github.com/spf13/cobra"
)

// bucketNode is one bucket of the tree that the command buckets prints.
type bucketNode struct {
	Name    string       `json:"name"`
	Keys    int          `json:"keys"`
	Buckets []bucketNode `json:"buckets,omitempty"`
}

func newBuckets(a *app) *cobra.Command {
	var recursive bool
	cmd := &cobra.Command{
		Use:   "buckets DB [PATH]",
		Short: "List buckets with the number of their entries",
		Long: `List the top-level buckets, or those in the bucket at PATH, each with the number of its entries. With
-r the buckets inside them are listed too, indented by two spaces a level.`,
		Example: `  lightning-cli buckets app.db
  lightning-cli buckets app.db users -r -o json`,
		Args: argCount(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.buckets(cmd.Context(), args[0], args[1:], recursive)
		},
	}
	cmd.Flags().BoolVarP(&recursive, "recursive", "r", false, "descend into nested buckets")
	a.bucketFlag(cmd)
	return cmd
}

func (a *app) buckets(ctx context.Context, db string, bucket []string, recursive bool) error {
	var path [][]byte
	if len(bucket) > 0 {
		var err error
		if path, err = a.bucketEnc.decodePath(bucket[0]); err != nil {
			return err
		}
	}
	var nodes []bucketNode
	err := a.withDB(ctx, db, readExisting, func(db *lightning.DB) error {
		return view(db, func(tx *lightning.Tx) error {
			b, err := a.findBucket(tx, path)
			if err != nil {
				return err
			}
			nodes, err = a.bucketTree(ctx, b, recursive)
			return err
		})
	})
	if err != nil {
		return err
	}
	if a.json() {
		return a.emit(struct {
			Buckets []bucketNode `json:"buckets"`
		}{nodes})
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	if _, err := w.Write([]byte("BUCKET\tENTRIES\n")); err != nil {
		return err
	}
	if err := printTree(w, nodes, 0); err != nil {
		return err
	}
	return w.Flush()
}

// bucketTree collects the buckets directly inside b, or with recursive all of them.
func (a *app) bucketTree(ctx context.Context, b *lightning.Bucket, recursive bool) ([]bucketNode, error) {
	nodes := []bucketNode{}
	for k, v := range b.All() {
		if v != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		child := b.Bucket(k)
		if child == nil {
			break // the entry could not be read; the transaction knows why
		}
		node := bucketNode{Name: a.bucketEnc.encodeName(k), Keys: child.Len()}
		if recursive {
			var err error
			if node.Buckets, err = a.bucketTree(ctx, child, true); err != nil {
				return nil, err
			}
		}
		nodes = append(nodes, node)
	}
	return nodes, nil
}

func printTree(w *tabwriter.Writer, nodes []bucketNode, depth int) error {
	for _, node := range nodes {
		if err := writeRow(w, strings.Repeat("  ", depth)+node.Name, node.Keys); err != nil {
			return err
		}
		if err := printTree(w, node.Buckets, depth+1); err != nil {
			return err
		}
	}
	return nil
}
