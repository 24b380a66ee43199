package lightning

import (
	"errors"
	"io"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/lightning-db/lightning/page"
)

// A file in which tens of thousands of buckets were nested in each other made
// Check take memory with the square of the depth, and a large one exhausted the
// stack, which no program survives. There is a limit to the depth now; up to it
// everything works, in linear memory and little stack, and beyond it everything
// says so.

func openDepth(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(path, 0o600, &Options{NoSync: true})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return db
}

// nest creates a bucket in b, one in that, and so on for the given number of
// levels, and returns the last. The first has the given name.
func nest(t *testing.T, b *Bucket, name string, levels int) *Bucket {
	t.Helper()
	for range levels {
		child, err := b.CreateBucket([]byte(name))
		if err != nil {
			t.Fatalf("CreateBucket: %v", err)
		}
		b, name = child, "n"
	}
	return b
}

// descend opens what nest created.
func descend(t *testing.T, b *Bucket, name string, levels int) *Bucket {
	t.Helper()
	for i := range levels {
		child := b.Bucket([]byte(name))
		if child == nil {
			t.Fatalf("level %d does not open: %v", i+1, b.tx.Err())
		}
		b, name = child, "n"
	}
	return b
}

func levelsOf(s BucketStructure) (n int) {
	for ; len(s.Children) > 0; n++ {
		s = s.Children[0]
	}
	return n
}

func wantIs(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

func mustUpdateTx(t *testing.T, db *DB, fn func(tx *Tx)) {
	t.Helper()
	if err := db.Update(func(tx *Tx) error { fn(tx); return nil }); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func mustViewTx(t *testing.T, db *DB, fn func(tx *Tx)) {
	t.Helper()
	if err := db.View(func(tx *Tx) error { fn(tx); return nil }); err != nil {
		t.Fatalf("View: %v", err)
	}
}

func checkErrors(t *testing.T, db *DB) (found []error) {
	t.Helper()
	mustViewTx(t, db, func(tx *Tx) {
		for err := range tx.Check() {
			found = append(found, err)
		}
	})
	return found
}

// linear fails the test if fn allocates more than perLevel bytes a level.
// Measured were at most 0.6 KiB for what reads and 6 KiB for what writes, a page
// among them.
func linear(t *testing.T, what string, perLevel uint64, fn func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	got := (after.TotalAlloc - before.TotalAlloc) / MaxBucketDepth
	t.Logf("%s: %d bytes a level", what, got)
	if got > perLevel {
		t.Errorf("%s allocated %d bytes a level, want at most %d", what, got, perLevel)
	}
}

const (
	readPerLevel  = 4 << 10
	writePerLevel = 32 << 10
)

// boundStack ends the process if a stack grows beyond 64 MiB; measured were 16.
func boundStack(t *testing.T) {
	before := debug.SetMaxStack(100 << 20)
	t.Cleanup(func() { debug.SetMaxStack(before) })
}

func TestDepth_Limit(t *testing.T) {
	boundStack(t)
	path := filepath.Join(t.TempDir(), "db")
	db := openDepth(t, path)
	linear(t, "create and commit", writePerLevel, func() {
		mustUpdateTx(t, db, func(tx *Tx) {
			last := nest(t, tx.root(), "a", MaxBucketDepth)
			refusesBuckets(t, last)
			if err := last.Put([]byte("k"), []byte("v")); err != nil {
				t.Errorf("Put at the limit: %v", err)
			}
		})
	})
	if err := db.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	db = openDepth(t, path)

	linear(t, "Check", readPerLevel, func() {
		if found := checkErrors(t, db); len(found) > 0 {
			t.Errorf("Check: %v", found)
		}
	})
	wantDepth(t, db)
	compactsWhole(t, db)
	linear(t, "opened DeleteBucket", readPerLevel, func() {
		tx, err := db.Begin(true)
		if err != nil {
			t.Fatal(err)
		}
		refusesBuckets(t, descend(t, tx.root(), "a", MaxBucketDepth))
		wantIs(t, "DeleteBucket", tx.DeleteBucket([]byte("a")), nil)
		tx.rollback()
	})
	linear(t, "DeleteBucket", readPerLevel, func() {
		mustUpdateTx(t, db, func(tx *Tx) { wantIs(t, "DeleteBucket", tx.DeleteBucket([]byte("a")), nil) })
	})
	if found := checkErrors(t, db); len(found) > 0 {
		t.Errorf("Check after DeleteBucket: %v", found)
	}
}

// refusesBuckets holds that no bucket comes into last, at the limit, and that
// refusing leaves the transaction as it was.
func refusesBuckets(t *testing.T, last *Bucket) {
	t.Helper()
	tx, keys := last.Tx(), last.Len()
	other, err := tx.CreateBucketIfNotExists([]byte("other"))
	if err != nil {
		t.Fatal(err)
	}
	if other.Len() == 0 {
		nest(t, other, "inner", 1)
	}
	_, err = last.CreateBucket([]byte("b"))
	wantIs(t, "CreateBucket", err, ErrBucketDepth)
	_, err = last.CreateBucketIfNotExists([]byte("b"))
	wantIs(t, "CreateBucketIfNotExists", err, ErrBucketDepth)
	wantIs(t, "MoveBucket", other.MoveBucket([]byte("inner"), last), ErrBucketDepth)
	wantIs(t, "Tx.Err", tx.Err(), nil)
	if last.Len() != keys || other.Len() != 1 || other.Bucket([]byte("inner")) == nil {
		t.Errorf("refused buckets left traces: %v, %v", last, other)
	}
}

func wantDepth(t *testing.T, db *DB) {
	t.Helper()
	mustViewTx(t, db, func(tx *Tx) {
		linear(t, "Stats", readPerLevel, func() {
			if got := tx.Bucket([]byte("a")).Stats().BucketN; got != MaxBucketDepth {
				t.Errorf("Stats: %d buckets, want %d", got, MaxBucketDepth)
			}
		})
		linear(t, "Inspect", readPerLevel, func() {
			if got := levelsOf(tx.Inspect()); got != MaxBucketDepth {
				t.Errorf("Inspect: %d levels, want %d", got, MaxBucketDepth)
			}
		})
		linear(t, "Bucket", readPerLevel, func() {
			if got := descend(t, tx.root(), "a", MaxBucketDepth).Get([]byte("k")); string(got) != "v" {
				t.Errorf("Get at the limit: %q", got)
			}
		})
	})
}

// compactsWhole compacts db, in one transaction and in several.
func compactsWhole(t *testing.T, db *DB) {
	t.Helper()
	for _, size := range []int64{0, MaxBucketDepth * 2 / 5} {
		dst := openDepth(t, filepath.Join(t.TempDir(), "dst"))
		linear(t, "Compact", writePerLevel, func() { wantIs(t, "Compact", Compact(dst, db, size), nil) })
		mustViewTx(t, dst, func(tx *Tx) {
			if got := descend(t, tx.root(), "a", MaxBucketDepth).Get([]byte("k")); string(got) != "v" {
				t.Errorf("Get at the limit after Compact by %d: %q", size, got)
			}
		})
	}
}

// deeper is how many levels each of two chains has, one of which is moved to the
// end of the other. movedLevel is where that one begins then.
const (
	deeper     = MaxBucketDepth * 6 / 10
	movedLevel = deeper + 1
)

func TestDepth_Moved(t *testing.T) {
	boundStack(t)
	db := openDepth(t, filepath.Join(t.TempDir(), "db"))
	mustUpdateTx(t, db, func(tx *Tx) {
		nest(t, tx.root(), "a", deeper)
		last := nest(t, tx.root(), "b", deeper)
		if err := last.Put([]byte("k"), []byte("v")); err != nil {
			t.Fatal(err)
		}
	})
	tx, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	descend(t, tx.root(), "b", deeper)
	wantIs(t, "MoveBucket", tx.MoveBucket([]byte("b"), nil, descend(t, tx.root(), "a", deeper)), nil)
	t.Run("opened before", func(t *testing.T) { refusesTooDeep(t, tx) })
	tx.rollback()

	mustUpdateTx(t, db, func(tx *Tx) {
		wantIs(t, "MoveBucket", tx.MoveBucket([]byte("b"), nil, descend(t, tx.root(), "a", deeper)), nil)
	})
	linear(t, "Check", readPerLevel, func() {
		found := checkErrors(t, db)
		if len(found) != 1 || !errors.Is(found[0], ErrBucketDepth) || len(found[0].Error()) > 1000 {
			t.Errorf("Check: %d problems, want ErrBucketDepth alone, in short: %.2000v", len(found), found)
		}
	})
	t.Run("copies", func(t *testing.T) { copiesOfDeepBuckets(t, db) })
	readersFail(t, db)
	for _, open := range []bool{false, true} {
		tx, err := db.Begin(true)
		if err != nil {
			t.Fatal(err)
		}
		if open {
			descend(t, descend(t, tx.root(), "a", deeper), "b", MaxBucketDepth-deeper)
		}
		linear(t, "writer", readPerLevel, func() { refusesTooDeep(t, tx) })
		tx.rollback()
	}

	mustUpdateTx(t, db, func(tx *Tx) {
		wantIs(t, "MoveBucket back", tx.MoveBucket([]byte("b"), descend(t, tx.root(), "a", deeper), nil), nil)
	})
	if found := checkErrors(t, db); len(found) > 0 {
		t.Errorf("Check after moving back: %v", found)
	}
	mustUpdateTx(t, db, func(tx *Tx) {
		if got := descend(t, tx.root(), "b", deeper).Get([]byte("k")); string(got) != "v" {
			t.Errorf("Get after moving back: %q", got)
		}
		wantIs(t, "DeleteBucket", tx.DeleteBucket([]byte("a")), nil)
		wantIs(t, "DeleteBucket", tx.DeleteBucket([]byte("b")), nil)
	})
	if found := checkErrors(t, db); len(found) > 0 {
		t.Errorf("Check at the end: %v", found)
	}
}

// refusesTooDeep holds that the first bucket too deep is neither opened nor
// deleted, moved or created over, and that the whole cannot be deleted.
func refusesTooDeep(t *testing.T, tx *Tx) {
	t.Helper()
	last := descend(t, descend(t, tx.root(), "a", deeper), "b", MaxBucketDepth-deeper)
	name := []byte("n")
	wantIs(t, "DeleteBucket at the limit", last.DeleteBucket(name), ErrBucketDepth)
	wantIs(t, "MoveBucket at the limit", last.MoveBucket(name, tx.root()), ErrBucketDepth)
	_, err := last.CreateBucketIfNotExists(name)
	wantIs(t, "CreateBucketIfNotExists at the limit", err, ErrBucketDepth)
	wantIs(t, "Tx.Err", tx.Err(), nil)
	wantIs(t, "DeleteBucket of what is not there", last.DeleteBucket([]byte("none")), ErrBucketNotFound)
	if b := last.Bucket([]byte("none")); b != nil || tx.Err() != nil {
		t.Errorf("Bucket of what is not there: %v, %v", b, tx.Err())
	}
	wantIs(t, "DeleteBucket of all", tx.DeleteBucket([]byte("a")), ErrBucketDepth)
	wantIs(t, "Tx.Err", tx.Err(), ErrBucketDepth)
	if b := last.Bucket(name); b != nil {
		t.Errorf("Bucket opened %v below the limit", b)
	}
}

// readersFail holds that what has no error result fails the transaction.
func readersFail(t *testing.T, db *DB) {
	t.Helper()
	for _, c := range []struct {
		what string
		run  func(t *testing.T, tx *Tx)
	}{
		{"Bucket", func(t *testing.T, tx *Tx) {
			last := descend(t, descend(t, tx.root(), "a", deeper), "b", MaxBucketDepth-deeper)
			names := 0
			wantIs(t, "ForEachBucket", last.ForEachBucket(func([]byte) error { names++; return nil }), nil)
			if names != 1 {
				t.Errorf("ForEachBucket: %d names, want 1", names)
			}
			if b := last.Bucket([]byte("n")); b != nil {
				t.Errorf("Bucket opened %v below the limit", b)
			}
		}},
		{"Stats", func(t *testing.T, tx *Tx) { tx.Bucket([]byte("a")).Stats() }},
		{"Inspect", func(t *testing.T, tx *Tx) {
			if got := levelsOf(tx.Inspect()); got != MaxBucketDepth {
				t.Errorf("Inspect: %d levels, want %d", got, MaxBucketDepth)
			}
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			linear(t, c.what, readPerLevel, func() {
				err := db.View(func(tx *Tx) error {
					c.run(t, tx)
					wantIs(t, "Tx.Err", tx.Err(), ErrBucketDepth)
					return nil
				})
				wantIs(t, "View", err, ErrBucketDepth)
			})
		})
	}
}

// A copy by keys has to open the buckets; one by pages takes them as they are.
func copiesOfDeepBuckets(t *testing.T, db *DB) {
	dst := openDepth(t, filepath.Join(t.TempDir(), "dst"))
	linear(t, "Compact", writePerLevel, func() { wantIs(t, "Compact", Compact(dst, db, 0), ErrBucketDepth) })
	// It goes on where all others stop: there are about twice as many levels.
	linear(t, "WriteTo", 2*readPerLevel, func() {
		mustViewTx(t, db, func(tx *Tx) {
			if n, err := tx.WriteTo(io.Discard); err != nil || n != tx.Size() {
				t.Errorf("WriteTo: %d bytes of %d, %v", n, tx.Size(), err)
			}
		})
	})
}

// Trees of branches with one child each would take the stack that the limit to
// nested buckets saves: nobody but a forger makes them tall.
func TestDepth_TallTree(t *testing.T) {
	for _, height := range []int{maxHeight, maxHeight + 1} {
		db := openDepth(t, filepath.Join(t.TempDir(), "db"))
		mustUpdateTx(t, db, func(tx *Tx) {
			b := nest(t, tx.root(), "a", 1)
			if err := b.Put([]byte("k"), make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			for level := 1; level < height; level++ {
				n := tx.newNode(level)
				n.img().Insert(0, page.AppendBranchCell(nil, page.Key{}, n.refTo(b.tree.root)), tx.scratch())
				b.tree.root = handle{n: n}
			}
		})
		found := checkErrors(t, db)
		var value []byte
		err := db.View(func(tx *Tx) error {
			value = tx.Bucket([]byte("a")).Get([]byte("k"))
			return nil
		})
		if height == maxHeight {
			if len(found) > 0 || err != nil || len(value) != 1000 {
				t.Errorf("height %d: Check found %v, View %v, value of %d bytes", height, found, err, len(value))
			}
			continue
		}
		wantIs(t, "View", err, ErrChecksum)
		if value != nil {
			t.Errorf("height %d: Get returned %d bytes", height, len(value))
		}
		if len(found) != 1 || !errors.Is(found[0], ErrChecksum) {
			t.Errorf("height %d: Check found %v, want one problem", height, found)
		}
	}
}
