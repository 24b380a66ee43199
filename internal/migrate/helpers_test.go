package migrate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/memdir"
	"github.com/lightning-db/lightning/internal/seed"
)

// testBucket is what the tests need of either engine's *Bucket.
type testBucket[B any] interface {
	bucketOf[B]
	Sequence() uint64
	ForEach(fn func(k, v []byte) error) error
}

// fillRandom puts one of everything into b: empty values and buckets,
// sequences, long keys and values, nested buckets.
func fillRandom[B testBucket[B]](r *rand.Rand, b B, depth, keys int) error {
	if err := b.SetSequence(r.Uint64() >> r.IntN(65)); err != nil {
		return err
	}
	for range keys {
		key, value := randomBytes(r, 1+r.IntN(60)), randomBytes(r, r.IntN(300))
		switch r.IntN(100) {
		case 0:
			key = randomBytes(r, lightning.MaxKeySize)
		case 1:
			value = randomBytes(r, r.IntN(400_000))
		case 2, 3, 4:
			value = nil
		}
		if err := b.Put(key, value); err != nil {
			return err
		}
	}
	if depth == 0 {
		return nil
	}
	for i := range 1 + r.IntN(5) {
		name := fmt.Appendf(randomBytes(r, r.IntN(9)), "bucket %d", i)
		if r.IntN(30) == 0 {
			name = append(name, make([]byte, 40_000)...)
		}
		child, err := b.CreateBucketIfNotExists(name)
		if err != nil {
			return err
		}
		if r.IntN(6) == 0 {
			continue // stays empty
		}
		if err := fillRandom(r, child, depth-1, r.IntN(keys+1)); err != nil {
			return err
		}
	}
	return nil
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// writeFile makes a file of the given format and fills it.
func writeFile(t testing.TB, path string, format Format, bolt func(*bbolt.Bucket) error, own func(*lightning.Bucket) error) {
	t.Helper()
	if format == Bolt {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
		if err == nil {
			err = db.Update(func(tx *bbolt.Tx) error { return bolt(tx.Cursor().Bucket()) })
		}
		if err == nil {
			err = db.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	db, err := lightning.Open(path, 0o600, nil)
	if err == nil {
		err = db.Update(func(tx *lightning.Tx) error { return own(tx.Cursor().Bucket()) })
	}
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// writeRandom makes a random file of the given format.
func writeRandom(t testing.TB, r *rand.Rand, path string, format Format, depth, keys int) {
	t.Helper()
	writeFile(t, path, format,
		func(b *bbolt.Bucket) error { return fillRandom(r, b, depth, keys) },
		func(b *lightning.Bucket) error { return fillRandom(r, b, depth, keys) })
}

// dump lists what the engine of the format finds in the file.
func dump(t testing.TB, path string, format Format) (lines []string) {
	t.Helper()
	return dumpWithKey(t, path, format, nil)
}

func dumpWithKey(t testing.TB, path string, format Format, key []byte) (lines []string) {
	t.Helper()
	var err error
	if format == Bolt {
		var db *bbolt.DB
		if db, err = bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Minute}); err == nil {
			err = db.View(func(tx *bbolt.Tx) error {
				return dumpSound(tx.Check(), tx.Cursor().Bucket(), &lines)
			})
			db.Close()
		}
	} else {
		var db *lightning.DB
		if db, err = lightning.Open(path, 0o600, &lightning.Options{ReadOnly: true, Timeout: time.Minute, IntegrityKey: key}); err == nil {
			err = db.View(func(tx *lightning.Tx) error {
				return dumpSound(tx.Check(), tx.Cursor().Bucket(), &lines)
			})
			db.Close()
		}
	}
	if err != nil {
		t.Fatalf("%.300v", err)
	}
	return lines
}

// dumpSound lists the bucket if the engine finds nothing wrong.
func dumpSound[B testBucket[B]](check <-chan error, root B, lines *[]string) (err error) {
	for found := range check { // it must be read to its end
		err = errors.Join(err, found)
	}
	if err != nil {
		return err
	}
	return dumpBucket(root, "", lines)
}

func dumpBucket[B testBucket[B]](b B, path string, lines *[]string) error {
	*lines = append(*lines, fmt.Sprintf("%s sequence %d", path, b.Sequence()))
	return b.ForEach(func(k, v []byte) error {
		at := fmt.Sprintf("%s/%x", path, k)
		if v == nil {
			return dumpBucket(b.Bucket(k), at, lines)
		}
		*lines = append(*lines, fmt.Sprintf("%s = %d bytes %x", at, len(v), sha256.Sum256(v)))
		return nil
	})
}

func wantSame(t testing.TB, got, want []string) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("line %d: got %.100s, want %.100s", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("got %d lines, want %d", len(got), len(want))
	}
}

// fingerprint is what must not change of a source.
type fingerprint struct {
	content []byte
	mtime   time.Time
}

func takeFingerprint(t testing.TB, path string) fingerprint {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fingerprint{content, info.ModTime()}
}

func wantUntouched(t testing.TB, path string, before fingerprint) {
	t.Helper()
	now := takeFingerprint(t, path)
	if !bytes.Equal(now.content, before.content) || !now.mtime.Equal(before.mtime) {
		t.Errorf("the source %s was written to", path)
	}
}

// names lists a directory.
func names(t testing.TB, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func run(t testing.TB, opts Options) (Result, error) {
	t.Helper()
	if opts.LockTimeout == 0 {
		opts.LockTimeout = time.Second
	}
	return Run(context.Background(), opts)
}

// setup makes a directory with a random source in it.
func setup(t testing.TB, from Format, depth, keys int) (src, dst string) {
	t.Helper()
	dir := memdir.Temp(t)
	src, dst = filepath.Join(dir, "source"), filepath.Join(dir, "destination")
	writeRandom(t, seed.Rand(t), src, from, depth, keys)
	return src, dst
}
