package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/await"
)

// keyFileEnv names the integrity key file when the flag does not.
const keyFileEnv = "LIGHTNING_INTEGRITY_KEY_FILE"

const (
	// keyLimitBytes keeps a wrong path, such as a device, from being read without end.
	keyLimitBytes = 64 << 10
	databaseMode  = 0o600
)

// access says what a command does with the file.
type access int

const (
	readExisting access = iota
	writeExisting
	writeOrCreate
)

// withDB opens the database, calls fn, and closes the database again.
func (a *app) withDB(ctx context.Context, path string, want access, fn func(*lightning.DB) error) error {
	db, err := a.open(ctx, path, want, 0)
	if err != nil {
		return err
	}
	return errors.Join(fn(db), db.Close())
}

// open opens path, waiting for its lock until --timeout or until ctx ends. pageSize in bytes counts
// for a new file only; 0 is the engine's default.
func (a *app) open(ctx context.Context, path string, want access, pageSize int) (*lightning.DB, error) {
	key, err := a.integrityKey()
	if err != nil {
		return nil, err
	}
	// The engine would create what is missing; a mistyped name must not leave an empty database.
	if want != writeOrCreate {
		if _, err := os.Stat(path); err != nil {
			return nil, err
		}
	}
	db, err := await.Open(ctx, a.timeout, lightning.ErrTimeout, func(wait time.Duration) (*lightning.DB, error) {
		return lightning.Open(path, databaseMode, &lightning.Options{
			Timeout:      wait,
			ReadOnly:     want == readExisting,
			PageSize:     pageSize,
			IntegrityKey: key,
		})
	})
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("open %s: %w", path, err)
	}
	return db, err
}

// integrityKey reads the key from the file that the flag or the environment names; nil if neither does.
func (a *app) integrityKey() (key []byte, err error) {
	name := a.keyFile
	if name == "" {
		name = os.Getenv(keyFileEnv)
	}
	if name == "" {
		return nil, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("integrity key: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	key, err = io.ReadAll(io.LimitReader(f, keyLimitBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("integrity key: %w", err)
	case len(key) == 0:
		return nil, usagef("integrity key file %s is empty", name)
	case len(key) > keyLimitBytes:
		return nil, usagef("integrity key file %s is larger than %d bytes", name, keyLimitBytes)
	}
	return key, nil
}

// view runs fn in a read transaction. Damage met on the way outranks what fn made of it, such as a
// key that seemed to be missing.
func view(db *lightning.DB, fn func(*lightning.Tx) error) error {
	return db.View(damageFirst(fn))
}

// update is view for a read-write transaction: committed if fn returns nil.
func update(db *lightning.DB, fn func(*lightning.Tx) error) error {
	return db.Update(damageFirst(fn))
}

func damageFirst(fn func(*lightning.Tx) error) func(*lightning.Tx) error {
	return func(tx *lightning.Tx) error {
		err := fn(tx)
		if txErr := tx.Err(); txErr != nil {
			return txErr
		}
		return err
	}
}

// rootBucket is the bucket that holds the top-level buckets.
func rootBucket(tx *lightning.Tx) *lightning.Bucket {
	return tx.Cursor().Bucket()
}

// findBucket descends path; an empty path is the root bucket.
func (a *app) findBucket(tx *lightning.Tx, path [][]byte) (*lightning.Bucket, error) {
	b := rootBucket(tx)
	for i, name := range path {
		if b = b.Bucket(name); b == nil {
			return nil, notFoundf("bucket %s not found", a.bucketEnc.encodePath(path[:i+1]))
		}
	}
	return b, nil
}

// makeBucket descends path and creates what is missing on the way.
func makeBucket(tx *lightning.Tx, path [][]byte) (*lightning.Bucket, error) {
	b, err := tx.CreateBucketIfNotExists(path[0])
	for _, name := range path[1:] {
		if err != nil {
			break
		}
		b, err = b.CreateBucketIfNotExists(name)
	}
	if err != nil {
		return nil, fmt.Errorf("create bucket: %w", err)
	}
	return b, nil
}

// fileSize returns the size of the database file in bytes.
func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, &fs.PathError{Op: "size", Path: path, Err: errors.New("not a regular file")}
	}
	return info.Size(), nil
}
