package boltfile

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// writeBolt makes a bbolt file and runs each function in a transaction.
func writeBolt(t testing.TB, pageSize int, fns ...func(tx *bbolt.Tx) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.bolt")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: pageSize, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, fn := range fns {
		if err := db.Update(fn); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// fillRandom puts random keys and buckets into b, and removes some.
func fillRandom(r *rand.Rand, b *bbolt.Bucket, depth, keys int) error {
	if err := b.SetSequence(r.Uint64() >> r.IntN(64)); err != nil {
		return err
	}
	var put [][]byte
	for range keys {
		key := randomBytes(r, 1+r.IntN(40))
		if r.IntN(200) == 0 {
			key = randomBytes(r, 1+r.IntN(bbolt.MaxKeySize))
		}
		value := randomBytes(r, r.IntN(200))
		if r.IntN(100) == 0 {
			value = randomBytes(r, r.IntN(600_000))
		}
		if err := b.Put(key, value); err != nil {
			return err
		}
		put = append(put, key)
	}
	for _, key := range put {
		if r.IntN(4) == 0 {
			if err := b.Delete(key); err != nil {
				return err
			}
		}
	}
	return fillBuckets(r, b, depth, keys)
}

func fillBuckets(r *rand.Rand, b *bbolt.Bucket, depth, keys int) error {
	for i := range r.IntN(5) * depth {
		child, err := b.CreateBucketIfNotExists(fmt.Appendf(nil, "bucket %d %s", i, randomBytes(r, r.IntN(20))))
		if err != nil {
			return err
		}
		if err := fillRandom(r, child, depth-1, r.IntN(1+keys)>>r.IntN(8)); err != nil {
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

// boltEntries lists the entries of a file as bbolt itself reads them.
func boltEntries(t testing.TB, path string) (entries []Entry) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		return boltBucket(tx.Cursor().Bucket(), nil, &entries)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return entries[:len(entries)-1] // the end of the root bucket is io.EOF
}

func boltBucket(b *bbolt.Bucket, name []byte, entries *[]Entry) error {
	*entries = append(*entries, Entry{Kind: BeginBucket, Key: name, Sequence: b.Sequence()})
	err := b.ForEach(func(k, v []byte) error {
		if v == nil {
			return boltBucket(b.Bucket(k), bytes.Clone(k), entries)
		}
		*entries = append(*entries, Entry{Kind: Pair, Key: bytes.Clone(k), Value: bytes.Clone(v)})
		return nil
	})
	*entries = append(*entries, Entry{Kind: EndBucket})
	return err
}

// walkAll lists the entries behind from.
func walkAll(f *File, from *Position) (entries []Entry, err error) {
	w, err := f.Walk(from)
	if err != nil {
		return nil, err
	}
	for {
		e, err := w.Next()
		if err == io.EOF {
			if from == nil {
				err = w.CheckSpace()
			} else {
				err = nil
			}
			return entries, err
		}
		if err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
}

func sameEntry(a, b Entry) bool {
	return a.Kind == b.Kind && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.Sequence == b.Sequence
}

func wantEntries(t testing.TB, got, want []Entry) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !sameEntry(got[i], want[i]) {
			t.Fatalf("entry %d: got %d %.40q, want %d %.40q", i, got[i].Kind, got[i].Key, want[i].Kind, want[i].Key)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("got %d entries, want %d", len(got), len(want))
	}
}

// openBytes opens an image of a file.
func openBytes(image []byte) (*File, error) {
	return newFile("image", int64(len(image)), bytes.NewReader(image).ReadAt)
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
