package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	lightning "github.com/lightning-db/lightning"
	"github.com/spf13/cobra"
)

// importOptions are the flags of the command import.
type importOptions struct {
	format     recordFormat
	bucket     string
	batchBytes byteSize
	mirror     bool
	skipErrors bool
	ack        bool
	noProgress bool

	createBuckets bool // records only
}

// importSummary is what an import did. Bytes are those of the contents of files stored.
type importSummary struct {
	Files        int     `json:"files"`
	Dirs         int     `json:"dirs"`
	Bytes        int64   `json:"bytes"`
	Skipped      int     `json:"skipped"`
	Removed      int     `json:"removed"`
	Special      int     `json:"special"`
	Errors       int     `json:"errors"`
	Transactions int     `json:"transactions"`
	Seconds      float64 `json:"seconds"`
}

func newImport(a *app) *cobra.Command {
	opts := importOptions{format: formatTree, batchBytes: 4 * mib}
	cmd := &cobra.Command{
		Use:   "import DB PATH|-",
		Short: "Store a directory tree, JSON lines or CSV in a database",
		Long: `Store the directory tree at PATH in a bucket: a nested bucket for each directory, a key for each file
and symbolic link. Permissions and links are kept; owners, times and hard links are not. The database
is created if it is missing.

The tree is stored in durable transactions of at most --batch-bytes or 1000 entries, or of one larger
file. However the import is stopped, the transactions before are whole and kept; run it again
and it goes on, skipping files that are stored with the same content and mode. What is gone from
PATH stays in the database, unless --mirror is given.

Links are stored, never followed. Sockets, devices and FIFOs are left out with a warning, and so is
the database itself. With --ack each durable transaction is reported on stdout at once, as one line of
JSON: its number, the entries changed in it, and the last path in it (in the text encoding).

` + recordsHelp + `
Of records PATH is a file, or stdin if it is "-". A key that is stored already gets the new value; a bucket that
is stored already is kept, with the sequence of the record if it has one. A record whose bucket is missing is an
error, unless --create-buckets is given. An error names the line, and up to which line the records are stored:
transactions hold at most --batch-bytes or 10000 records. The same import can be given again.`,
		Example: `  lightning-cli import backup.db /srv/www
  lightning-cli import backup.db /srv/www --bucket www --mirror
  lightning-cli import backup.db /home --skip-errors --quiet -o json
  lightning-cli import app.db app.jsonl --format jsonl
  lightning-cli import app.db - --format csv --bucket users --create-buckets < users.csv`,
		Args: argCount(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			changed := cmd.Flags().Changed
			if err := onlyFor(changed, opts.format, []recordFormat{formatTree}, "mirror", "skip-errors"); err != nil {
				return err
			}
			if err := onlyFor(changed, opts.format, []recordFormat{formatJSONL, formatCSV}, "create-buckets"); err != nil {
				return err
			}
			if opts.format != formatTree {
				if !changed("bucket") {
					opts.bucket = ""
				}
				return a.importRecords(cmd.Context(), args[0], args[1], opts)
			}
			return a.importTree(cmd.Context(), args[0], args[1], opts)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.bucket, "bucket", defaultTree, "path of the bucket to store the tree in (records: default the root)")
	flags.Var(&opts.format, "format", "what PATH is")
	flags.BoolVar(&opts.createBuckets, "create-buckets", false, "records: create the buckets that are missing")
	flags.Var(&opts.batchBytes, "batch-bytes", "most bytes a transaction")
	flags.BoolVar(&opts.mirror, "mirror", false, "delete from the bucket what is not in PATH")
	flags.BoolVar(&opts.skipErrors, "skip-errors", false, "warn about files that cannot be read and go on")
	flags.BoolVar(&opts.ack, "ack", false, "report each durable transaction on stdout")
	flags.BoolVar(&opts.noProgress, "no-progress", false, "show no progress bar")
	a.bucketFlag(cmd)
	return cmd
}

func (a *app) importTree(ctx context.Context, db, source string, opts importOptions) error {
	path, err := a.bucketEnc.decodePath(opts.bucket)
	if err != nil {
		return err
	}
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return usagef("%s is not a directory", source)
	}
	started := time.Now()
	im := &importer{app: a, ctx: ctx, opts: opts, progress: &progress{}}
	err = a.withDB(ctx, db, writeOrCreate, func(handle *lightning.DB) (err error) {
		root, err := os.OpenRoot(source)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, root.Close()) }()
		if im.self, err = os.Stat(db); err != nil {
			return err
		}
		if !opts.noProgress && a.showsProgress() {
			if err := im.measure(root.FS()); err != nil {
				return err
			}
			im.progress = a.newProgress("importing", im.total, countBytes)
			defer im.progress.finish()
		}
		return im.run(handle, root, path)
	})
	im.sum.Seconds = time.Since(started).Seconds()
	if err != nil {
		return err
	}
	return a.reportImport(&im.sum, opts.ack)
}

func (a *app) reportImport(s *importSummary, ack bool) error {
	switch {
	case a.json():
		return a.emit(s)
	case a.quiet:
		return nil
	}
	text := fmt.Sprintf("imported: files %d, dirs %d, bytes %d, skipped %d, removed %d, special %d, errors %d, transactions %d, seconds %.1f\n",
		s.Files, s.Dirs, s.Bytes, s.Skipped, s.Removed, s.Special, s.Errors, s.Transactions, s.Seconds)
	if ack {
		// Stdout carries nothing but acknowledgements.
		_, err := fmt.Fprint(a.err, text)
		return err
	}
	a.printf("%s", text)
	return nil
}
