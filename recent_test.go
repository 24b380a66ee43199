package lightning

import (
	"errors"
	"fmt"
	"testing"

	"github.com/lightning-db/lightning/page"
)

// recentDB is an open database of two levels, whose pages were written just now,
// and the page of its bucket's root.
func recentDB(t *testing.T, o Options) (db *DB, root page.ID) {
	t.Helper()
	db, err := Open(t.TempDir()+"/recent.db", 0o600, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		for i := 0; i < 500 && err == nil; i++ {
			err = b.Put(recentKey(i), []byte(text('a', 100)))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *Tx) error { return tx.Bucket([]byte("b")).Put(recentKey(7), []byte("seven")) }); err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	v, err := tx.Bucket([]byte("b")).tree.top()
	if err != nil || !v.img.IsBranch() {
		t.Fatalf("the root is no branch, %v", err)
	}
	return db, tx.Bucket([]byte("b")).tree.root.ref.ID
}

func recentKey(i int) []byte { return fmt.Appendf(nil, "key%05d", i) }

// A branch that turned bad in the file after it was written is no obstacle to the
// writer, who knows what it wrote, and puts a good one in its place.
func TestRecent_WriterGoesOnFromWhatItWrote(t *testing.T) {
	db, root := recentDB(t, Options{})
	flipBit(t, db.Path(), int64(root)*int64(db.pageSize)+2000, 0x10)
	if err := db.Update(func(tx *Tx) error { return tx.Bucket([]byte("b")).Put(recentKey(8), []byte("eight")) }); err != nil {
		t.Fatal(err)
	}
	if err := db.View(func(tx *Tx) error {
		b := tx.Bucket([]byte("b"))
		if got := [2]string{string(b.Get(recentKey(7))), string(b.Get(recentKey(8)))}; got != [2]string{"seven", "eight"} {
			t.Errorf("got %q", got)
		}
		for err := range tx.Check() {
			t.Error(err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// Readers have what is in the file, and verify it; so has a writer that was told
// to verify always, and Check in a writable transaction.
func TestRecent_OthersReadTheFile(t *testing.T) {
	db, root := recentDB(t, Options{})
	flipBit(t, db.Path(), int64(root)*int64(db.pageSize)+2000, 0x10)
	if err := db.View(func(tx *Tx) error {
		tx.Bucket([]byte("b")).Get(recentKey(7))
		return nil
	}); !errors.Is(err, ErrChecksum) {
		t.Errorf("a reader: %v, want ErrChecksum", err)
	}
	tx, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	var found error
	for err := range tx.Check() {
		found = errors.Join(found, err)
	}
	if !errors.Is(found, ErrChecksum) {
		t.Errorf("Check in a writable transaction: %v, want ErrChecksum", found)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}

	always, root := recentDB(t, Options{Verify: VerifyAlways})
	flipBit(t, always.Path(), int64(root)*int64(always.pageSize)+2000, 0x10)
	if err := always.Update(func(tx *Tx) error { return tx.Bucket([]byte("b")).Put(recentKey(8), nil) }); !errors.Is(err, ErrChecksum) {
		t.Errorf("a writer with VerifyAlways: %v, want ErrChecksum", err)
	}
}

// An image stands for its reference only, digest and birth included.
func TestRecentPages(t *testing.T) {
	var r recentPages
	written := func(id page.ID, birth page.TxID, digest byte, level int) *node {
		n := &node{buf: make([]byte, 4096), pages: 1, ref: page.Ref{ID: id, Birth: birth, Digest: page.Digest{digest}}}
		page.InitNode(n.buf, level)
		return n
	}
	has := func(ref page.Ref) bool { return r.get(ref) != nil }

	branch, leaf := written(9, 5, 1, 1), written(10, 5, 2, 0)
	if has(branch.ref) {
		t.Error("found before anything was kept")
	}
	if r.keep(branch) != nil || r.keep(leaf) != nil {
		t.Error("something had an empty place")
	}
	if !has(branch.ref) || !has(leaf.ref) {
		t.Error("what was kept is not found")
	}
	for _, other := range []page.Ref{
		{ID: 8, Birth: 5, Digest: page.Digest{1}}, {ID: 9, Birth: 4, Digest: page.Digest{1}}, {ID: 9, Birth: 5, Digest: page.Digest{2}},
		{ID: 9 + recentBranchBytes/4096, Birth: 5, Digest: page.Digest{1}},
	} {
		if has(other) {
			t.Errorf("%v is not what was kept, but found", other)
		}
	}
	again := written(9+recentBranchBytes/4096, 6, 3, 2)
	if evicted := r.keep(again); &evicted[0] != &branch.buf[0] {
		t.Error("the image that lost its place is not returned")
	}
	if has(branch.ref) || !has(again.ref) || !has(leaf.ref) {
		t.Error("not one image a place")
	}
	if r.keep(written(10+recentLeafBytes/4096, 6, 4, 0)); has(leaf.ref) {
		t.Error("not one leaf a place")
	}
}
