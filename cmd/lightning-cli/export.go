package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	lightning "github.com/lightning-db/lightning"
	"github.com/spf13/cobra"
)

// exportSummary is what an export wrote. Bytes are those of the contents of files.
type exportSummary struct {
	Files   int     `json:"files"`
	Dirs    int     `json:"dirs"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

func newExport(a *app) *cobra.Command {
	var bucket string
	var force bool
	format := formatTree
	var etcd etcdOptions
	cmd := &cobra.Command{
		Use:   "export DB DIR|FILE|-",
		Short: "Write a directory tree, JSON lines or CSV out of a database, or its keys to etcd",
		Long: `Write the tree that import stored back to the directory DIR, with permissions and symbolic links. DIR
is created if it is missing; if it is not empty, --force is needed: files and links of the same names
are then replaced, and everything else in DIR is left alone.

The database is not trusted: names that are empty, ".", "..", or hold a slash or a NUL are refused,
and nothing is ever written through a symbolic link or outside DIR. The tree is one snapshot.

` + recordsHelp + `
They are one snapshot of the database, or of the bucket given, in FILE, which gets its name when it is whole and
replaces another only with --force, or on stdout if that is "-"; the summary then goes to stderr. What is exported
can be imported into an empty database, and makes the same one.

With --to-etcd there is no DIR: one snapshot of the database, or of the bucket given, is written to an
etcd cluster. The names of the buckets around a key become its prefix, each with --etcd-separator behind
it; in names the separator and % are written as %XX. Keys that would be mistaken for those of a bucket
are refused. Empty buckets and sequences have no place in etcd; a warning counts them. Interrupted, the
command can be given again with --etcd-overwrite. A user's NAME:PASSWORD is taken from ` + etcdUserEnv + `.`,
		Example: `  lightning-cli export backup.db /restore/www --bucket www
  lightning-cli export backup.db . --force
  lightning-cli export app.db app.jsonl --format jsonl
  lightning-cli export app.db - --format csv --bucket users --value-encoding base64 | gzip > users.csv.gz
  lightning-cli export app.db --to-etcd http://127.0.0.1:2379 --etcd-prefix app/`,
		Args: argCount(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			toEtcd := cmd.Flags().Changed("to-etcd")
			if toEtcd != (len(args) == 1) {
				return usagef("either a directory, a file or --to-etcd; usage: %s", cmd.UseLine())
			}
			changed := cmd.Flags().Changed
			if err := onlyFor(changed, format, []recordFormat{formatCSV}, "key-encoding", "value-encoding"); err != nil {
				return err
			}
			if err := onlyFor(changed, format, []recordFormat{formatTree}, "to-etcd"); err != nil {
				return err
			}
			if !changed("bucket") && (toEtcd || format != formatTree) {
				bucket = ""
			}
			if format != formatTree {
				return a.exportRecords(cmd.Context(), args[0], args[1], bucket, format, force)
			}
			if toEtcd {
				return a.exportEtcd(cmd.Context(), args[0], bucket, etcd)
			}
			return a.exportTree(cmd.Context(), args[0], args[1], bucket, force)
		},
	}
	cmd.Flags().StringVar(&bucket, "bucket", defaultTree, "path of the bucket that holds the tree (for etcd and records: default all)")
	cmd.Flags().Var(&format, "format", "what to write")
	cmd.Flags().BoolVar(&force, "force", false, "write into a directory that is not empty, or replace FILE")
	etcd.flags(cmd)
	a.bucketFlag(cmd)
	a.keyFlag(cmd)
	a.valueFlag(cmd)
	return cmd
}

func (a *app) exportTree(ctx context.Context, db, dir, bucket string, force bool) error {
	path, err := a.bucketEnc.decodePath(bucket)
	if err != nil {
		return err
	}
	started := time.Now()
	ex := &exporter{ctx: ctx, force: force}
	err = a.withDB(ctx, db, readExisting, func(handle *lightning.DB) error {
		return view(handle, func(tx *lightning.Tx) (err error) {
			b, err := a.findBucket(tx, path)
			if err != nil {
				return err
			}
			root, err := openTarget(dir, force)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, root.Close()) }()
			return ex.directory(root, b, "")
		})
	})
	if err != nil {
		return err
	}
	ex.sum.Seconds = time.Since(started).Seconds()
	switch {
	case a.json():
		return a.emit(ex.sum)
	case !a.quiet:
		a.printf("exported: files %d, dirs %d, bytes %d, seconds %.1f\n",
			ex.sum.Files, ex.sum.Dirs, ex.sum.Bytes, ex.sum.Seconds)
	}
	return nil
}

// openTarget opens the directory to export into, creating it if it is missing.
func openTarget(dir string, force bool) (*os.Root, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	entries, err := list(root)
	if err == nil && len(entries) > 0 && !force {
		err = fmt.Errorf("%s is not empty; give --force to write into it", dir)
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}
