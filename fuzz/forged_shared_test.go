package fuzz

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/memdir"
	"github.com/lightning-db/lightning/page"
)

// forgeSharedBranches returns a database with a bucket whose tree is 40
// branches high, each with the same child twice: a walk that does not notice
// meets its one leaf 2^40 times.
func forgeSharedBranches(t *testing.T) *lightning.DB {
	const height = 40
	return forge(t, func(b *lightning.Bucket) error {
		child, err := b.CreateBucket([]byte("bucket"))
		if err != nil {
			return err
		}
		for i := range 8 {
			if err := child.Put(key(0, i, forgedPageSize), value(5, i, forgedPageSize)); err != nil {
				return err
			}
		}
		return b.Put([]byte("value"), bytes.Repeat([]byte("v"), (height+1)*forgedPageSize))
	}, func(file []byte) {
		start, root := rootOf(file)
		bucket, extent := root.Cell(0), root.Cell(1)
		below := page.GetRef(root[bucket.ValueRefAt():])
		room := page.GetRef(root[extent.ValueRefAt():])
		scratch := make([]byte, forgedPageSize)
		for level := 1; level <= height; level++ {
			id := room.ID + page.ID(level)
			b := file[int64(id)*forgedPageSize : int64(id+1)*forgedPageSize]
			clear(b)
			n := page.InitNode(b, level)
			n.Insert(0, page.AppendBranchCell(nil, page.Key{}, below), scratch)
			n.Insert(1, page.AppendBranchCell(nil, page.Key{Bytes: []byte("a004")}, below), scratch)
			page.Stamp(b, id, room.Birth)
			below = page.Ref{ID: id, Birth: room.Birth}
		}
		page.PutRef(file[start+int64(bucket.ValueRefAt()):], below)
	})
}

// DeleteRange counted the keys of subtrees, and looked for buckets in them,
// for as long as it takes to meet a shared leaf 2^40 times.
func TestForged_BranchesShareChildren(t *testing.T) {
	top := func(tx *lightning.Tx) *lightning.Bucket { return tx.Bucket([]byte("bucket")) }
	update := func(fn func(b *lightning.Bucket) error) func(*testing.T, *lightning.DB) error {
		return func(_ *testing.T, db *lightning.DB) error {
			return db.Update(func(tx *lightning.Tx) error { return fn(top(tx)) })
		}
	}
	view := func(fn func(tx *lightning.Tx) error) func(*testing.T, *lightning.DB) error {
		return func(_ *testing.T, db *lightning.DB) error { return db.View(fn) }
	}
	for name, run := range map[string]func(*testing.T, *lightning.DB) error{
		"ForEach": view(func(tx *lightning.Tx) error { return top(tx).ForEach(func(k, v []byte) error { return nil }) }),
		"Backward": view(func(tx *lightning.Tx) error {
			for range top(tx).Backward() {
			}
			return nil
		}),
		"Inspect": view(func(tx *lightning.Tx) error { tx.Inspect(); return nil }),
		"Stats":   view(func(tx *lightning.Tx) error { top(tx).Stats(); return nil }),
		"Check": view(func(tx *lightning.Tx) (err error) {
			for problem := range tx.Check() {
				err = problem
			}
			return err
		}),
		"CopyFile": func(t *testing.T, db *lightning.DB) error {
			return db.View(func(tx *lightning.Tx) error { return tx.CopyFile(filepath.Join(memdir.Temp(t), "copy"), 0o600) })
		},
		"Compact": func(t *testing.T, db *lightning.DB) error {
			into, err := lightning.Open(filepath.Join(memdir.Temp(t), "compact"), 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer into.Close()
			return lightning.Compact(into, db, 1<<20)
		},
		"DeleteRange of all":  update(func(b *lightning.Bucket) error { _, err := b.DeleteRange(nil, nil); return err }),
		"DeleteRange of half": update(func(b *lightning.Bucket) error { _, err := b.DeleteRange([]byte("a002"), nil); return err }),
		"Clear":               update(func(b *lightning.Bucket) error { return b.Clear() }),
		"DeleteBucket":        update(func(b *lightning.Bucket) error { return b.Tx().DeleteBucket([]byte("bucket")) }),
	} {
		t.Run(name, func(t *testing.T) {
			watch(t)
			if err := run(t, forgeSharedBranches(t)); !errors.Is(err, lightning.ErrChecksum) {
				t.Errorf("got %v, want %v", err, lightning.ErrChecksum)
			}
		})
	}
}

// Many keys had the same extent as their value: a copy grew with the square of
// the file, and in memory, for it was one transaction.
func TestForged_ValuesShareExtent(t *testing.T) {
	const keys, pages = 250, 100
	name := func(i int) []byte { return fmt.Appendf(nil, "%03d", i) }
	db := forge(t, func(b *lightning.Bucket) error {
		for i := range keys {
			size := 4 * forgedPageSize
			if i == 0 {
				size = pages*forgedPageSize - page.HeaderSize
			}
			if err := b.Put(name(i), bytes.Repeat([]byte("v"), size)); err != nil {
				return err
			}
		}
		return nil
	}, func(file []byte) {
		_, root := rootOf(file)
		big, size := page.Ref{}, 0
		for i := range root.Count() {
			r := root.Child(i)
			leaf := page.Node(file[int64(r.ID)*forgedPageSize : int64(r.ID+1)*forgedPageSize])
			for j := range leaf.Count() {
				c := leaf.Cell(j)
				if size == 0 {
					big, size = page.GetRef(leaf[c.ValueRefAt():]), c.ValueLen()
				}
				cell := page.AppendBigCell(nil, page.Key{Bytes: bytes.Clone(c.Known())}, size, big)
				leaf.Replace(j, cell, make([]byte, forgedPageSize))
			}
		}
	})
	watch(t)
	into, err := lightning.Open(filepath.Join(memdir.Temp(t), "compact"), 0o600, &lightning.Options{Durability: lightning.NoSync, MaxSize: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer into.Close()
	if err := lightning.Compact(into, db, 0); !errors.Is(err, lightning.ErrChecksum) {
		t.Errorf("Compact: got %v, want %v", err, lightning.ErrChecksum)
	}
}

// A leaf without keys, which no transaction leaves below a branch, had to be
// met by everything that goes from leaf to leaf.
func TestForged_EmptyLeaves(t *testing.T) {
	const count = 64
	for name, empty := range map[string]func(child, children int) bool{
		"first": func(child, _ int) bool { return child == 0 },
		"last":  func(child, children int) bool { return child == children-1 },
		"inner": func(child, children int) bool { return child > 0 && child < children-1 },
		"all":   func(int, int) bool { return true },
	} {
		t.Run(name, func(t *testing.T) {
			watch(t)
			db := forge(t, func(b *lightning.Bucket) error {
				for i := range count {
					if err := b.Put(key(0, i, forgedPageSize), value(5, i, forgedPageSize)); err != nil {
						return err
					}
				}
				return nil
			}, func(file []byte) {
				_, root := rootOf(file)
				for i := range root.Count() {
					if !empty(i, root.Count()) {
						continue
					}
					r := root.Child(i)
					n := page.Node(file[int64(r.ID)*forgedPageSize : int64(r.ID+1)*forgedPageSize])
					n.DeleteRange(0, n.Count())
				}
			})
			v := &victim{t: t, dir: memdir.Temp(t)}
			v.readAll(db)
			for i := range count {
				v.view(db, func(tx *lightning.Tx) error {
					c := tx.Cursor()
					c.Seek(key(0, i, forgedPageSize))
					c.Next()
					c.Seek(key(0, i, forgedPageSize))
					c.Prev()
					return tx.Err()
				})
			}
			for i := range count {
				v.update(db, func(tx *lightning.Tx) error {
					b := tx.Cursor().Bucket()
					if i%2 == 0 {
						return b.Put(key(0, i, forgedPageSize), value(5, i, forgedPageSize))
					}
					return b.Delete(key(0, i-1, forgedPageSize))
				}, nil)
			}
			v.update(db, func(tx *lightning.Tx) error {
				_, err := tx.Cursor().Bucket().DeleteRange(key(0, 3, forgedPageSize), nil)
				return err
			}, nil)
			v.update(db, func(tx *lightning.Tx) error { return tx.Cursor().Bucket().Clear() }, nil)
		})
	}
}
