package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	lightning "github.com/lightning-db/lightning"
	"github.com/spf13/cobra"
)

func newPut(a *app) *cobra.Command {
	var file string
	var createBuckets bool
	cmd := &cobra.Command{
		Use:   "put DB BUCKET KEY [VALUE]",
		Short: "Store a value under a key",
		Long: `Store VALUE under KEY in the bucket at the path BUCKET; a value already there is replaced. The value
is the argument, stdin if it is "-", or the content of --file. What is read from stdin or a file is
stored byte for byte, unless --value-encoding is hex or base64: then it is decoded first.
The change is on the disk when the command returns 0.`,
		Example: `  lightning-cli put app.db users alice admin --create-buckets
  lightning-cli put app.db users/eu bob - < bob.json
  lightning-cli put app.db images logo --file logo.png
  lightning-cli put app.db raw 00ff 'cafe' --key-encoding hex --value-encoding hex`,
		Args: argCount(3, 4),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (file == "") == (len(args) == 3) {
				return usagef("give either VALUE or --file")
			}
			value, err := a.valueArgument(cmd.Context(), args[3:], file)
			if err != nil {
				return err
			}
			return a.put(cmd.Context(), args[0], args[1], args[2], value, createBuckets)
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "read the value from this file")
	cmd.Flags().BoolVar(&createBuckets, "create-buckets", false, "create the buckets of the path that are missing")
	a.bucketFlag(cmd)
	a.keyFlag(cmd)
	a.valueFlag(cmd)
	return cmd
}

func (a *app) put(ctx context.Context, db, bucket, key string, value []byte, createBuckets bool) error {
	path, err := a.bucketEnc.decodePath(bucket)
	if err != nil {
		return err
	}
	k, err := a.keyEnc.decode(key)
	if err != nil {
		return err
	}
	err = a.withDB(ctx, db, writeExisting, func(db *lightning.DB) error {
		return update(db, func(tx *lightning.Tx) error {
			find := a.findBucket
			if createBuckets {
				find = makeBucket
			}
			b, err := find(tx, path)
			if err != nil {
				return err
			}
			return b.Put(k, value)
		})
	})
	if err != nil || !a.json() {
		return err
	}
	return a.emit(map[string]any{"bucket": bucket, "key": key, "bytes": len(value)})
}

// valueArgument returns the value named on the command line: an argument, stdin or a file.
func (a *app) valueArgument(ctx context.Context, args []string, file string) (value []byte, err error) {
	if file == "" && args[0] != "-" {
		return a.valueEnc.decode(args[0])
	}
	source := a.in
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		source = f
	}
	raw, err := readAll(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("read value: %w", err)
	}
	return a.valueEnc.decodeStream(raw)
}

// readAll reads r to its end, or until ctx ends: somebody at a terminal may press Ctrl-C instead of
// giving a value. The reader left behind ends with the process.
func readAll(ctx context.Context, r io.Reader) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := io.ReadAll(r)
		done <- result{data, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-done:
		return r.data, r.err
	}
}
