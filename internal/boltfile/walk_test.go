package boltfile

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lightning-db/lightning/internal/seed"
)

func openFile(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(t.Context(), path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestWalk_RandomFiles(t *testing.T) {
	r := seed.Rand(t)
	for _, pageSize := range []int{0, 1024, 4096, 16384, 65536} {
		t.Run(fmt.Sprint("page size ", pageSize), func(t *testing.T) {
			var fns []func(tx *bbolt.Tx) error
			for range 3 {
				fns = append(fns, func(tx *bbolt.Tx) error {
					root := tx.Cursor().Bucket()
					if err := root.Put(randomBytes(r, 9), randomBytes(r, 9)); err != nil {
						return err
					}
					return fillRandom(r, root, 3, 300)
				})
			}
			path := writeBolt(t, pageSize, fns...)
			want := boltEntries(t, path)
			f := openFile(t, path)
			if pageSize != 0 && f.PageSize() != pageSize {
				t.Errorf("page size %d, want %d", f.PageSize(), pageSize)
			}
			got, err := walkAll(f, nil)
			if err != nil {
				t.Fatal(err)
			}
			wantEntries(t, got, want)
			t.Logf("%d entries", len(want))
			for range 50 {
				i := r.IntN(len(want))
				rest, err := walkAll(f, positionAfter(want, i))
				if err != nil {
					t.Fatal(err)
				}
				wantEntries(t, rest, want[i+1:])
			}
		})
	}
}

// positionAfter returns the position behind entry i.
func positionAfter(entries []Entry, i int) *Position {
	p := &Position{}
	for _, e := range entries[1 : i+1] {
		switch e.Kind {
		case BeginBucket:
			p.Path, p.Key = append(p.Path, e.Key), nil
		case Pair:
			p.Key = e.Key
		case EndBucket:
			p.Key = p.Path[len(p.Path)-1]
			p.Path = p.Path[:len(p.Path)-1]
		}
	}
	return &Position{Path: append([][]byte(nil), p.Path...), Key: p.Key}
}

func TestWalk_Position_ErrPosition(t *testing.T) {
	path := writeBolt(t, 0, func(tx *bbolt.Tx) error {
		return tx.Cursor().Bucket().Put([]byte("key"), []byte("no bucket"))
	})
	f := openFile(t, path)
	for _, name := range []string{"a", "key", "z"} {
		if _, err := f.Walk(&Position{Path: [][]byte{[]byte(name)}}); !errors.Is(err, ErrPosition) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWalk_Deep walks down to the deepest bucket allowed, and not below.
func TestWalk_Deep(t *testing.T) {
	for _, c := range []struct {
		depth int
		ok    bool
	}{{MaxDepth, true}, {MaxDepth + 1, false}} {
		path := writeBolt(t, 0, func(tx *bbolt.Tx) (err error) {
			b := tx.Cursor().Bucket()
			for range c.depth {
				if b, err = b.CreateBucket([]byte("b")); err != nil {
					return err
				}
			}
			return nil
		})
		entries, err := walkAll(openFile(t, path), nil)
		var damage *DamageError
		switch {
		case c.ok && (err != nil || len(entries) != 2*c.depth+1):
			t.Errorf("depth %d: %d entries, %v", c.depth, len(entries), err)
		case !c.ok && !errors.As(err, &damage):
			t.Errorf("depth %d: %v", c.depth, err)
		}
	}
}

// TestWalk_LongPages has leaves that are not kept in memory whole.
func TestWalk_LongPages(t *testing.T) {
	path := writeBolt(t, 1024, func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(bytes.Repeat([]byte("n"), 40_000))
		if err != nil {
			return err
		}
		for i := range 4 {
			if err := b.Put(bytes.Repeat([]byte{'a' + byte(i)}, bbolt.MaxKeySize), bytes.Repeat([]byte{byte(i)}, 3_000_000)); err != nil {
				return err
			}
		}
		return nil
	})
	got, err := walkAll(openFile(t, path), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantEntries(t, got, boltEntries(t, path))
}
