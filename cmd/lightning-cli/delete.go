package main

import (
	"context"

	lightning "github.com/lightning-db/lightning"
	"github.com/spf13/cobra"
)

func newDelete(a *app) *cobra.Command {
	var bucket, keyRange bool
	cmd := &cobra.Command{
		Use:   "delete DB BUCKET KEY | --bucket DB BUCKET | --range DB BUCKET FROM TO",
		Short: "Delete a key, a range of keys, or a bucket",
		Long: `Delete KEY from the bucket at the path BUCKET. With --bucket delete the bucket at that path and
everything in it. With --range delete the keys from FROM up to but not including TO; an empty FROM
starts at the first key, an empty TO ends after the last. Each call is one transaction.
The exit code is 3 if the bucket or the key does not exist; a range may be empty.`,
		Example: `  lightning-cli delete app.db users/eu alice
  lightning-cli delete app.db users/eu --bucket
  lightning-cli delete app.db events --range 2024-01 2025-01`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			switch {
			case bucket && keyRange:
				return usagef("--bucket and --range exclude each other")
			case bucket && len(args) == 2:
				return a.deleteBucket(ctx, args[0], args[1])
			case keyRange && len(args) == 4:
				return a.deleteRange(ctx, args[0], args[1], args[2], args[3])
			case !bucket && !keyRange && len(args) == 3:
				return a.deleteKey(ctx, args[0], args[1], args[2])
			}
			return usagef("wrong number of arguments (%d); usage: %s", len(args), cmd.UseLine())
		},
	}
	cmd.Flags().BoolVar(&bucket, "bucket", false, "delete the bucket itself")
	cmd.Flags().BoolVar(&keyRange, "range", false, "delete the keys from FROM up to TO")
	a.bucketFlag(cmd)
	a.keyFlag(cmd)
	return cmd
}

func (a *app) deleteKey(ctx context.Context, db, bucket, key string) error {
	k, err := a.keyEnc.decode(key)
	if err != nil {
		return err
	}
	return a.deleteIn(ctx, db, bucket, func(b *lightning.Bucket) (int, error) {
		if found, _ := b.Cursor().Seek(k); found == nil || string(found) != string(k) {
			return 0, notFoundf("key %s not found in %s", key, bucket)
		}
		return 1, b.Delete(k)
	})
}

func (a *app) deleteRange(ctx context.Context, db, bucket, from, to string) error {
	lo, err := a.keyBound(from)
	if err != nil {
		return err
	}
	hi, err := a.keyBound(to)
	if err != nil {
		return err
	}
	return a.deleteIn(ctx, db, bucket, func(b *lightning.Bucket) (int, error) {
		return b.DeleteRange(lo, hi)
	})
}

// keyBound decodes one end of a range of keys; the empty argument is no bound and gives nil.
func (a *app) keyBound(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	return a.keyEnc.decode(s)
}

// deleteIn runs remove on one bucket in one transaction and reports how many keys it deleted.
func (a *app) deleteIn(ctx context.Context, db, bucket string, remove func(*lightning.Bucket) (int, error)) error {
	path, err := a.bucketEnc.decodePath(bucket)
	if err != nil {
		return err
	}
	deleted := 0
	err = a.withDB(ctx, db, writeExisting, func(db *lightning.DB) error {
		return update(db, func(tx *lightning.Tx) error {
			b, err := a.findBucket(tx, path)
			if err != nil {
				return err
			}
			deleted, err = remove(b)
			return err
		})
	})
	if err != nil {
		return err
	}
	return a.reportDeleted("keys", deleted)
}

func (a *app) deleteBucket(ctx context.Context, db, bucket string) error {
	path, err := a.bucketEnc.decodePath(bucket)
	if err != nil {
		return err
	}
	parent, name := path[:len(path)-1], path[len(path)-1]
	err = a.withDB(ctx, db, writeExisting, func(db *lightning.DB) error {
		return update(db, func(tx *lightning.Tx) error {
			if _, err := a.findBucket(tx, path); err != nil {
				return err
			}
			if len(parent) == 0 {
				return tx.DeleteBucket(name)
			}
			b, err := a.findBucket(tx, parent)
			if err != nil {
				return err
			}
			return b.DeleteBucket(name)
		})
	})
	if err != nil {
		return err
	}
	return a.reportDeleted("buckets", 1)
}

func (a *app) reportDeleted(what string, n int) error {
	if a.json() {
		return a.emit(map[string]int{"deleted_" + what: n})
	}
	if !a.quiet {
		a.printf("%s deleted: %d\n", what, n)
	}
	return nil
}
