package fuzz

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/memdir"
	"github.com/lightning-db/lightning/page"
)

// Files that random damage hardly makes: each is whole, every digest is right,
// and what it says is impossible.

const forgedPageSize = 4096

// forge returns a closed database that fill has filled, changed by change and
// sealed again.
func forge(t *testing.T, fill func(b *lightning.Bucket) error, change func(file []byte)) *lightning.DB {
	t.Helper()
	path := filepath.Join(memdir.Temp(t), "forged")
	options := &lightning.Options{PageSize: forgedPageSize, Durability: lightning.NoSync}
	db, err := lightning.Open(path, 0o600, options)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *lightning.Tx) error { return fill(tx.Cursor().Bucket()) }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	change(file)
	reseal(file, nil)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if db, err = lightning.Open(path, 0o600, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Logf("Close: %v", err)
		}
	})
	return db
}

// rootOf returns the root page of the newest state of the file.
func rootOf(file []byte) (start int64, root page.Node) {
	r := page.GetRef(file[metaRoot:])
	if other := page.GetRef(file[forgedPageSize+metaRoot:]); other.Birth > r.Birth {
		r = other
	}
	start = int64(r.ID) * forgedPageSize
	return start, page.Node(file[start : start+forgedPageSize])
}

// A node of three pages was verified as the value that one reference says it
// is, and then read as a node of one page, as another reference says.
func TestForged_ExtentOfTwoLengths(t *testing.T) {
	big := bytes.Repeat([]byte("v"), 2*forgedPageSize+100)
	db := forge(t, func(b *lightning.Bucket) error {
		child, err := b.CreateBucket([]byte("bucket"))
		if err != nil {
			return err
		}
		for i := range 100 {
			if err := child.Put(key(0, i, forgedPageSize), value(4, i, forgedPageSize)); err != nil {
				return err
			}
		}
		return b.Put([]byte("value"), big)
	}, func(file []byte) {
		start, root := rootOf(file)
		bucket, extent := root.Cell(0), root.Cell(1)
		r := page.GetRef(root[extent.ValueRefAt():])
		b := file[int64(r.ID)*forgedPageSize : int64(r.ID+3)*forgedPageSize]
		clear(b)
		n := page.InitNode(b, 0)
		for i := range 3 {
			n.Insert(i, page.AppendLeafCell(nil, 0, page.Key{Bytes: key(0, i, forgedPageSize)}, value(4, i, forgedPageSize)), make([]byte, len(b)))
		}
		b[4] = 3 // length of the extent in pages
		page.Stamp(b, r.ID, r.Birth)
		page.PutRef(file[start+int64(bucket.ValueRefAt()):], r)
	})
	for _, read := range []func(tx *lightning.Tx){
		func(tx *lightning.Tx) { tx.Cursor().Bucket().Get([]byte("value")) },
		func(tx *lightning.Tx) { tx.Bucket([]byte("bucket")).Get(key(0, 1, forgedPageSize)) },
	} {
		if err := db.View(func(tx *lightning.Tx) error { read(tx); return nil }); err == nil {
			t.Error("damage was not reported")
		}
	}
}

// Two leaves stand in each other's place, so that a split of one makes a
// separator that does not fit between those around it.
func TestForged_LeavesSwapped(t *testing.T) {
	name := func(i int) []byte { return fmt.Appendf(nil, "%s%05d", strings.Repeat("p", i%7), i) }
	db := forge(t, func(b *lightning.Bucket) error {
		for i := range 600 {
			if err := b.Put(name(i), value(4, i, forgedPageSize)); err != nil {
				return err
			}
		}
		return nil
	}, func(file []byte) {
		start, root := rootOf(file)
		for i := 0; i+1 < root.Count(); i += 2 {
			a, b := root.Child(i), root.Child(i+1)
			page.PutRef(file[start+int64(root.ChildAt(i)):], b)
			page.PutRef(file[start+int64(root.ChildAt(i+1)):], a)
		}
	})
	for i := range 600 {
		err := db.Update(func(tx *lightning.Tx) error {
			return tx.Cursor().Bucket().Put(append(name(i), '+'), value(5, i, forgedPageSize))
		})
		if err != nil && strings.Contains(err.Error(), "structure") {
			t.Fatalf("put %d met a page that an earlier one wrote: %v", i, err)
		}
	}
	err := db.View(func(tx *lightning.Tx) error {
		for err := range tx.Check(lightning.WithCheckLevel(lightning.CheckStructure)) {
			t.Errorf("a page was written that cannot be read: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Two long keys are the same, so that a split between them finds no separator.
func TestForged_LongKeysEqual(t *testing.T) {
	const count = 64
	long := func(i int) []byte { return key(230, i, forgedPageSize) }
	db := forge(t, func(b *lightning.Bucket) error {
		for i := range count {
			if i%9 != 3 {
				continue // those of a kind with the same length
			}
			if err := b.Put(long(i), value(5, i, forgedPageSize)); err != nil {
				return err
			}
		}
		return nil
	}, func(file []byte) {
		_, root := rootOf(file)
		first := root.Cell(0)
		r := page.GetRef(root[first.KeyRefAt():])
		payload := file[int64(r.ID)*forgedPageSize+page.HeaderSize:][:first.KeyLen()]
		for i := 1; i < root.Count(); i++ {
			c := root.Cell(i)
			copy(file[int64(page.GetRef(root[c.KeyRefAt():]).ID)*forgedPageSize+page.HeaderSize:], payload)
		}
	})
	var err error
	for i := 0; i < 3 && err == nil; i++ {
		err = db.Update(func(tx *lightning.Tx) error {
			below := long(3)
			below[bytes.IndexByte(below, 3)] = byte(i)
			return tx.Cursor().Bucket().Put(below, value(5, i, forgedPageSize))
		})
	}
	if !errors.Is(err, lightning.ErrChecksum) {
		t.Errorf("the split reported %v, want damage", err)
	}
}

// Buckets that share their pages, level over level, made walks through all of
// them take a time that doubles with each level: forty would last for years.
func TestForged_BucketsShareRoots(t *testing.T) {
	filler := bytes.Repeat([]byte("f"), forgedPageSize/3) // too much for a bucket inside its parent's page
	db := forge(t, func(b *lightning.Bucket) error {
		for range 40 {
			twin, err := b.CreateBucket([]byte("b"))
			if err != nil {
				return err
			}
			if err := twin.Put([]byte("f"), filler); err != nil {
				return err
			}
			if b, err = b.CreateBucket([]byte("a")); err != nil {
				return err
			}
			if err := b.Put([]byte("f"), filler); err != nil {
				return err
			}
		}
		return nil
	}, func(file []byte) {
		_, node := rootOf(file)
		for {
			first := node.Cell(0)
			if !first.IsBucket() {
				return
			}
			second := node.Cell(1)
			copy(second.Value(), first.Value())
			r := page.GetRef(node[first.ValueRefAt():])
			start := int64(r.ID) * forgedPageSize
			node = page.Node(file[start : start+forgedPageSize])
		}
	})
	into, err := lightning.Open(filepath.Join(memdir.Temp(t), "compact"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer into.Close()
	for name, walk := range map[string]func(tx *lightning.Tx) error{
		"Inspect": func(tx *lightning.Tx) error { tx.Inspect(); return nil },
		"Stats":   func(tx *lightning.Tx) error { tx.Cursor().Bucket().Stats(); return nil },
		"Check": func(tx *lightning.Tx) error {
			for err := range tx.Check() {
				return err
			}
			return nil
		},
		"Compact": func(tx *lightning.Tx) error { return lightning.Compact(into, db, 1<<20) },
		"Clear": func(*lightning.Tx) error {
			return db.Update(func(tx *lightning.Tx) error { return tx.Cursor().Bucket().Clear() })
		},
	} {
		if err := db.View(walk); !errors.Is(err, lightning.ErrChecksum) {
			t.Errorf("%s: got %v, want %v", name, err, lightning.ErrChecksum)
		}
	}
}
