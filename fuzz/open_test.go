package fuzz

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/memdir"
)

// Flags of an input of FuzzOpen.
const (
	flagReseal = 1 // make the digests right after the damage
	flagAlways = 2 // VerifyAlways
	flagNever  = 4 // VerifyNever
)

// FuzzOpen damages a valid file, opens it and does everything with it that
// there is. It proves: nothing panics, hangs, or allocates out of proportion to
// the file; every failure of Open is typed, and a read-only database leaves its
// file alone. With digests as they were, what is read without an error is what
// was written; with digests made right again, so that the damage is met by the
// checks behind them, the content may be anything. Ten minutes of it:
//
//	go test ./fuzz -run '^$' -fuzz '^FuzzOpen$' -fuzztime=10m -fuzzminimizetime=5x
func FuzzOpen(f *testing.F) {
	files := seedFiles(f)
	for i := range files {
		f.Add(uint8(i), uint8(0), []byte{})
		for flags := range uint8(4) {
			x := uint32(i)*7 + uint32(flags) + 1
			for range 2 {
				var edits []byte
				for range 8 {
					x = x*1664525 + 1013904223
					edits = append(edits, byte(x>>24))
				}
				f.Add(uint8(i), flags, edits)
			}
		}
	}
	f.Fuzz(func(t *testing.T, index, flags uint8, edits []byte) {
		edits = edits[:min(len(edits), 256)] // damage enough; more hides each other
		openDamaged(t, files, index, flags, edits)
	})
}

func openDamaged(t *testing.T, files []*seedFile, index, flags uint8, edits []byte) {
	watch(t)
	seed := files[int(index)%len(files)]
	image := damage(seed, &program{edits})
	if flags&flagReseal != 0 {
		reseal(image, seed.key)
	}
	v := &victim{t: t, seed: seed, dir: memdir.Temp(t)}
	v.intact = flags&(flagReseal|flagNever) == 0
	v.blank = len(image) == 0
	v.options.IntegrityKey = seed.key
	if flags&flagAlways != 0 {
		v.options.Verify = lightning.VerifyAlways
	}
	if flags&flagNever != 0 {
		v.options.Verify = lightning.VerifyNever
	}
	v.run(image)
}

// victim is a damaged file.
type victim struct {
	t       *testing.T
	seed    *seedFile
	dir     string
	options lightning.Options
	intact  bool // digests are those of the seed file and are looked at
	blank   bool // nothing is left of the file
}

func (v *victim) run(image []byte) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)

	v.open(image, true, v.read)
	v.open(image, false, v.change)

	runtime.ReadMemStats(&after)
	limit := uint64(64<<20 + 64*max(len(image), len(v.seed.bytes)))
	if got := after.TotalAlloc - before.TotalAlloc; got > limit {
		v.t.Errorf("%d bytes allocated for a file of %d", got, len(image))
	}
}

// open writes the image to a new file, opens it and calls fn if that works.
func (v *victim) open(image []byte, readOnly bool, fn func(db *lightning.DB)) {
	v.t.Helper()
	path := filepath.Join(v.dir, "victim")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		v.t.Fatal(err)
	}
	v.options.ReadOnly = readOnly
	db, err := lightning.Open(path, 0o600, &v.options)
	if err != nil {
		var open *lightning.OpenError
		if !errors.As(err, &open) {
			v.t.Errorf("Open failed with %T: %v", err, err)
		}
		return
	}
	fn(db)
	if err := db.Close(); err != nil {
		v.t.Logf("Close: %v", err)
	}
	if readOnly {
		now, err := os.ReadFile(path)
		if err != nil {
			v.t.Fatal(err)
		}
		if !bytes.Equal(now, image) {
			v.t.Error("a read-only database changed its file")
		}
		return
	}
	if db, err = lightning.Open(path, 0o600, &v.options); err != nil {
		v.t.Logf("second Open: %v", err)
		return
	}
	v.readAll(db)
	if err := db.Close(); err != nil {
		v.t.Logf("second Close: %v", err)
	}
}

// view runs fn in a read-only transaction. An error is what damage brings,
// unless it says that what was read is wrong.
func (v *victim) view(db *lightning.DB, fn func(tx *lightning.Tx) error) {
	v.t.Helper()
	if err := db.View(fn); err != nil {
		v.t.Logf("View: %v", err)
		if errors.As(err, new(wrong)) {
			v.t.Fail()
		}
	}
}

// wrong wraps the report of data that was read without an error and is not
// what was written.
type wrong struct{ error }

// read reads everything, and compares it if the digests are to be trusted.
func (v *victim) read(db *lightning.DB) {
	v.t.Helper()
	if v.intact {
		v.view(db, v.compare)
		v.view(db, v.copy)
	}
	v.readAll(db)
}

// compare expects of a state that can be read that one of the seed file's meta
// slots is its root.
func (v *victim) compare(tx *lightning.Tx) error {
	state := v.state(tx)
	if state == nil {
		return wrong{fmt.Errorf("transaction %d was never in a meta slot", tx.ID())}
	}
	err := compare(tx, state)
	if err == nil || errors.As(err, new(unreadable)) {
		return err
	}
	return wrong{err}
}

// state returns what tx must see, or nil if it should not exist.
func (v *victim) state(tx *lightning.Tx) *model {
	if v.blank {
		return newModel()
	}
	return v.seed.states[tx.ID()]
}

// copy expects of a copy that was written without an error that it holds what
// tx sees.
func (v *victim) copy(tx *lightning.Tx) error {
	path := filepath.Join(v.dir, "copy")
	if err := tx.CopyFile(path, 0o600); err != nil {
		return err
	}
	options := v.options
	options.ReadOnly = true
	db, err := lightning.Open(path, 0o600, &options)
	if err != nil {
		return wrong{fmt.Errorf("the copy does not open: %w", err)}
	}
	err = db.View(func(copied *lightning.Tx) error { return compare(copied, v.state(tx)) })
	if err = errors.Join(err, db.Close()); err != nil {
		return wrong{fmt.Errorf("the copy: %w", err)}
	}
	return nil
}

// readAll calls every method that reads.
func (v *victim) readAll(db *lightning.DB) {
	v.t.Helper()
	v.view(db, func(tx *lightning.Tx) error {
		left := maxVisits
		visit(tx.Cursor().Bucket(), &left, 0)
		return tx.Err()
	})
	v.view(db, func(tx *lightning.Tx) error { tx.Inspect(); return tx.Err() })
	v.view(db, func(tx *lightning.Tx) error { tx.Cursor().Bucket().Stats(); return tx.Err() })
	v.view(db, func(tx *lightning.Tx) error {
		_, err := tx.WriteTo(io.Discard)
		return err
	})
	v.view(db, func(tx *lightning.Tx) error {
		return tx.ForEach(func(name []byte, b *lightning.Bucket) error {
			if b == nil {
				return tx.Err()
			}
			for range b.Prefix(name[:1]) {
			}
			for range b.Range([]byte("a"), []byte("b")) {
			}
			return b.ForEachBucket(func(k []byte) error { return tx.Err() })
		})
	})
	v.compact(db)
	v.view(db, func(tx *lightning.Tx) (err error) {
		pages := int(tx.Size() / int64(db.Info().PageSize))
		for id := -1; id <= pages && err == nil; id++ {
			_, err = tx.Page(id)
		}
		return err
	})
	for level := lightning.CheckDigest; level <= lightning.CheckLogic; level++ {
		v.view(db, func(tx *lightning.Tx) (err error) {
			for problem := range tx.Check(lightning.WithCheckLevel(level)) {
				err = problem
			}
			return err
		})
	}
}

// compact copies what can be read into a new file.
func (v *victim) compact(db *lightning.DB) {
	v.t.Helper()
	path := filepath.Join(v.dir, "compact")
	into, err := lightning.Open(path, 0o600, &lightning.Options{Durability: lightning.NoSync})
	if err != nil {
		v.t.Fatal(err)
	}
	if err := lightning.Compact(into, db, 1<<18); err != nil {
		v.t.Logf("Compact: %v", err)
	}
	if err := errors.Join(into.Close(), os.Remove(path)); err != nil {
		v.t.Fatal(err)
	}
}

// maxVisits bounds the entries visited: damage with right digests can make a
// few pages stand in many places.
const maxVisits = 50000

// visit reads a bucket and those inside it in every way.
func visit(b *lightning.Bucket, left *int, depth int) {
	c := b.Cursor()
	var names [][]byte
	for k, v := c.First(); k != nil && *left > 0; k, v = c.Next() {
		*left--
		if v == nil {
			names = append(names, k)
		}
		b.Get(k)
	}
	for k, _ := c.Last(); k != nil && *left > 0; k, _ = c.Prev() {
		*left--
		b.Cursor().Seek(append(k[:len(k):len(k)], 0))
	}
	if depth > 100 {
		return
	}
	for _, name := range names {
		if child := b.Bucket(name); child != nil && *left > 0 {
			visit(child, left, depth+1)
		}
	}
}

// change calls every method that writes. What was put and committed must be
// there if the digests are to be trusted.
func (v *victim) change(db *lightning.DB) {
	v.t.Helper()
	if v.intact {
		v.view(db, v.compare)
	}
	put := []byte("put into the damaged file")
	v.update(db, func(tx *lightning.Tx) error { return tx.Cursor().Bucket().Put(put, put) }, func(tx *lightning.Tx) error {
		if got := tx.Cursor().Bucket().Get(put); tx.Err() == nil && !bytes.Equal(got, put) {
			return wrong{fmt.Errorf("what was put is %s", show(got))}
		}
		return tx.Err()
	})
	for _, step := range []func(tx *lightning.Tx, b *lightning.Bucket, name []byte) error{putInto, deleteFrom, deleteRangeOf, moveInto, deleteBucketOf, clearBucket} {
		v.update(db, func(tx *lightning.Tx) error {
			for _, name := range topBuckets(tx) {
				b := tx.Bucket(name)
				if b == nil {
					return tx.Err()
				}
				if err := step(tx, b, name); err != nil {
					return err
				}
			}
			return nil
		}, func(tx *lightning.Tx) error { return nil })
	}
}

// update runs fn in a transaction and, if it was committed, check in another.
func (v *victim) update(db *lightning.DB, fn, check func(tx *lightning.Tx) error) {
	v.t.Helper()
	if err := db.Update(fn); err != nil {
		v.t.Logf("Update: %v", err)
		return
	}
	if v.intact {
		v.view(db, check)
	}
}

// topBuckets returns the names of at most 8 buckets.
func topBuckets(tx *lightning.Tx) (names [][]byte) {
	for k, v := range tx.Cursor().Bucket().All() {
		if v == nil {
			names = append(names, bytes.Clone(k))
		}
		if len(names) == 8 {
			break
		}
	}
	return names
}

func putInto(tx *lightning.Tx, b *lightning.Bucket, _ []byte) error {
	var keys [][]byte
	for k, v := range b.All() {
		if v != nil {
			keys = append(keys, bytes.Clone(k))
		}
		if len(keys) == 200 {
			break
		}
	}
	for i, k := range keys {
		if err := b.Put(k, value(byte(i), i, 4096)); err != nil {
			return err
		}
		if err := b.Put(append(k, "more"...), value(byte(i+3), i, 4096)); err != nil && len(k)+4 <= lightning.MaxKeySize {
			return err
		}
	}
	_, err := b.NextSequence()
	return err
}

func deleteFrom(tx *lightning.Tx, b *lightning.Bucket, _ []byte) error {
	c := b.Cursor()
	left := maxVisits
	for k, v := c.First(); k != nil && left > 0; k, v = c.Next() {
		left--
		if v == nil || left%3 == 0 {
			continue
		}
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return tx.Err()
}

func deleteRangeOf(tx *lightning.Tx, b *lightning.Bucket, _ []byte) error {
	k, _ := b.Cursor().First()
	_, err := b.DeleteRange(k, append(bytes.Clone(k), 0xff))
	return err
}

func moveInto(tx *lightning.Tx, _ *lightning.Bucket, name []byte) error {
	dst, err := tx.CreateBucketIfNotExists([]byte("moved"))
	if err != nil || string(name) == "moved" {
		return err
	}
	return tx.MoveBucket(name, nil, dst)
}

func deleteBucketOf(tx *lightning.Tx, b *lightning.Bucket, name []byte) error {
	for k, v := range b.All() {
		if v == nil {
			return b.DeleteBucket(bytes.Clone(k))
		}
	}
	return tx.Err()
}

func clearBucket(tx *lightning.Tx, b *lightning.Bucket, _ []byte) error { return b.Clear() }
