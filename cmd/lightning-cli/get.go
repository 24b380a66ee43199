package main

import (
	"context"

	lightning "github.com/lightning-db/lightning"
	"github.com/spf13/cobra"
)

func newGet(a *app) *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:   "get DB BUCKET KEY",
		Short: "Print the value of a key",
		Long: `Print the value of KEY in the bucket at the path BUCKET, in --value-encoding and with a newline.
With --raw the bytes of the value are written as they are and nothing else.
The exit code is 3 if the bucket or the key does not exist, or if the key names a bucket.`,
		Example: `  lightning-cli get app.db users/eu alice
  lightning-cli get app.db images logo --raw > logo.png
  lightning-cli get app.db raw 00ff --key-encoding hex --value-encoding base64 -o json`,
		Args: argCount(3, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkRaw(cmd, raw); err != nil {
				return err
			}
			return a.get(cmd.Context(), args[0], args[1], args[2], raw)
		},
	}
	a.rawFlag(cmd, &raw)
	a.bucketFlag(cmd)
	a.keyFlag(cmd)
	a.valueFlag(cmd)
	return cmd
}

func (a *app) rawFlag(cmd *cobra.Command, raw *bool) {
	cmd.Flags().BoolVar(raw, "raw", false, "write the bytes as they are, not encoded")
}

func (a *app) checkRaw(cmd *cobra.Command, raw bool) error {
	if raw && (a.json() || cmd.Flags().Changed("value-encoding")) {
		return usagef("--raw goes with neither -o json nor --value-encoding")
	}
	return nil
}

func (a *app) get(ctx context.Context, db, bucket, key string, raw bool) error {
	path, err := a.bucketEnc.decodePath(bucket)
	if err != nil {
		return err
	}
	k, err := a.keyEnc.decode(key)
	if err != nil {
		return err
	}
	return a.withDB(ctx, db, readExisting, func(db *lightning.DB) error {
		return view(db, func(tx *lightning.Tx) error {
			b, err := a.findBucket(tx, path)
			if err != nil {
				return err
			}
			value := b.Get(k)
			switch {
			case value == nil && len(k) > 0 && b.Bucket(k) != nil:
				return notFoundf("%s in %s is a bucket, not a key", key, bucket)
			case value == nil:
				return notFoundf("key %s not found in %s", key, bucket)
			case a.json():
				return a.emit(map[string]string{"bucket": bucket, "key": key, "value": a.valueEnc.encode(value)})
			case raw:
				_, err := a.out.Write(value)
				return err
			}
			a.printf("%s\n", a.valueEnc.encode(value))
			return nil
		})
	})
}
