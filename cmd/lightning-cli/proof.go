package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	lightning "github.com/lightning-db/lightning"
	"github.com/spf13/cobra"
)

func newProve(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "prove DB BUCKET KEY",
		Short: "Write a proof that a key has its value, or does not exist",
		Long: `Print the digest of the state of DB and write a proof, to the new file --out, that in this state the bucket at the
path BUCKET has KEY with its value, or has no such key. Publish the digest, or give it to whoever is to trust
it, beforehand or by another way than the proof: verify-proof then needs neither DB nor trust in the one
who made the proof. The proof has the pages on the way to the key in it, with other keys and values.`,
		Example: `  lightning-cli prove app.db users/eu alice --out alice.proof
  lightning-cli verify-proof alice.proof --digest 9f86d081...`,
		Args: argCount(3, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usagef("--out is required: the file to write the proof to")
			}
			return a.prove(cmd.Context(), args[0], args[1], args[2], out)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the new file to write the proof to")
	a.bucketFlag(cmd)
	a.keyFlag(cmd)
	return cmd
}

func (a *app) prove(ctx context.Context, db, bucket, key, out string) error {
	path, err := a.bucketEnc.decodePath(bucket)
	if err != nil {
		return err
	}
	k, err := a.keyEnc.decode(key)
	if err != nil {
		return err
	}
	var proof []byte
	var state lightning.State
	err = a.withDB(ctx, db, readExisting, func(db *lightning.DB) error {
		return view(db, func(tx *lightning.Tx) (err error) {
			if state, err = tx.State(); err == nil {
				proof, err = tx.Prove(path, k)
			}
			return err
		})
	})
	if errors.Is(err, lightning.ErrIncompatibleValue) {
		return notFoundf("%s in %s is a bucket, not a key", key, bucket)
	}
	if err != nil {
		return err
	}
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, databaseMode)
	if err != nil {
		return err
	}
	_, err = f.Write(proof)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(out))
	}
	digest := hex.EncodeToString(state.Digest[:])
	if a.json() {
		return a.emit(map[string]any{"digest": digest, "txid": state.TxID, "proof": out, "bytes": len(proof)})
	}
	a.printf("%s\n", digest)
	return nil
}

func newVerifyProof(a *app) *cobra.Command {
	var digest string
	cmd := &cobra.Command{
		Use:   "verify-proof PROOF",
		Short: "Verify a proof of a key against the digest of a database, without the database",
		Long: `Verify PROOF, which prove wrote, against the digest of a state that you trust, and print the value of the
key that it speaks of. --integrity-key-file is the key of the database, if it has one.
The exit code is 0 if the value is proved, 3 if it is proved that there is no such key, and 4 if nothing is
proved: a page was changed or is missing, or the proof is of another state.`,
		Example: `  lightning-cli verify-proof alice.proof --digest 9f86d081...
  lightning-cli verify-proof alice.proof --digest 9f86d081... -o json`,
		Args: argCount(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			want, err := hex.DecodeString(digest)
			if err != nil || len(want) != 32 {
				return usagef("--digest: want the 64 hexadecimal digits that prove printed")
			}
			return a.verifyProof(args[0], [32]byte(want))
		},
	}
	cmd.Flags().StringVar(&digest, "digest", "", "the digest of the state that is trusted")
	a.bucketFlag(cmd)
	a.keyFlag(cmd)
	a.valueFlag(cmd)
	return cmd
}

// proofLimitBytes is more than a proof of the biggest value takes.
const proofLimitBytes = lightning.MaxValueSize + 64<<20

func (a *app) verifyProof(path string, digest [32]byte) error {
	key, err := a.integrityKey()
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > proofLimitBytes {
		return &codedError{exitCorrupt, fmt.Errorf("%s: not a regular file of at most %d bytes", path, int64(proofLimitBytes))}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	p, err := lightning.VerifyProof(b, digest, key)
	switch {
	case errors.Is(err, lightning.ErrProof), errors.Is(err, lightning.ErrProofState):
		return &codedError{exitCorrupt, fmt.Errorf("%s: %w", path, err)}
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	}
	bucket, name := a.bucketEnc.encodePath(p.Buckets), a.keyEnc.encode(p.Key)
	if a.json() {
		report := map[string]any{"bucket": bucket, "key": name, "found": p.Found, "txid": p.State.TxID}
		if p.Found {
			report["value"] = a.valueEnc.encode(p.Value)
		}
		if err := a.emit(report); err != nil || p.Found {
			return err
		}
	}
	if !p.Found {
		return notFoundf("proved: key %s does not exist in %s as of transaction %d", name, bucket, p.State.TxID)
	}
	a.printf("%s\n", a.valueEnc.encode(p.Value))
	return nil
}
