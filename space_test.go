package lightning

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/lightning-db/lightning/fsync"
)

// unsyncedFile leaves syncs out: what these tests look at is the length of the
// file and what is written to it.
type unsyncedFile struct{ fsync.File }

func (unsyncedFile) Sync(fsync.Op) error     { return nil }
func (unsyncedFile) SyncFull(fsync.Op) error { return nil }

// spaceDB is a database whose writes are counted.
func spaceDB(t *testing.T, path string, o Options) (*DB, *fsync.Faults) {
	t.Helper()
	var faults *fsync.Faults
	db, err := openThrough(path, &o, func(f fsync.File) fsync.File {
		faults = fsync.NewFaults(unsyncedFile{f})
		return faults
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db, faults
}

func spacePath(t *testing.T) string { return filepath.Join(t.TempDir(), "space.db") }

func fileSize(t *testing.T, db *DB) int64 {
	t.Helper()
	n, err := db.file.Size()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// update runs fn on the test's bucket and commits.
func update(t *testing.T, db *DB, fn func(b *Bucket) error) {
	t.Helper()
	err := db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("bucket"))
		if err != nil {
			return err
		}
		return fn(b)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// fill puts n values of the given size, per keys to a transaction.
func fill(t *testing.T, db *DB, n, size, per int) {
	t.Helper()
	for i := 0; i < n; i += per {
		update(t, db, func(b *Bucket) error {
			for j := i; j < min(i+per, n); j++ {
				if err := b.Put(fmt.Appendf(nil, "%08d", j), []byte(text('v', size))); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// overwrite puts ten new values of 1 KiB.
func overwrite(t *testing.T, db *DB, round int) {
	t.Helper()
	update(t, db, func(b *Bucket) error {
		for i := range 10 {
			if err := b.Put(fmt.Appendf(nil, "key%d", i), []byte(text(byte('a'+round%26), 1024))); err != nil {
				return err
			}
		}
		return nil
	})
}

func checkClean(t *testing.T, db *DB) {
	t.Helper()
	if err := db.View(func(tx *Tx) error {
		for err := range tx.Check() {
			return err
		}
		return nil
	}); err != nil {
		t.Fatalf("Check: %v", err)
	}
}

// With a reader open throughout, what is born and freed behind its back is
// used again; when it ends, so is what it held.
func TestSpace_LongReader(t *testing.T) {
	for _, mode := range []Durability{Sync, NoSync} {
		db, _ := spaceDB(t, spacePath(t), Options{Durability: mode})
		fill(t, db, 500, 1024, 100)
		overwrite(t, db, 0)
		tx, err := db.Begin(false)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(tx.rollback)
		before := fileSize(t, db)
		for i := range 1000 {
			overwrite(t, db, i)
		}
		grown := fileSize(t, db) - before
		t.Logf("%v: 1000 updates of 10 KiB beside a reader: %d KiB", mode, grown>>10)
		if grown >= 25<<20 {
			t.Errorf("%v: the file grew by %d bytes beside a reader, want less than 25 MiB", mode, grown)
		}
		n := 0
		if err := tx.Bucket([]byte("bucket")).ForEach(func(k, v []byte) error {
			if n++; k[0] == 'k' && v[0] != 'a' {
				return fmt.Errorf("the reader sees a newer value of %q", k)
			}
			return nil
		}); err != nil || n != 510 {
			t.Errorf("%v: the reader sees %d keys: %v", mode, n, err)
		}
		tx.rollback()
		for i := range 200 {
			overwrite(t, db, i)
			if i == 2 {
				before = fileSize(t, db)
			}
		}
		if got := fileSize(t, db); got > before {
			t.Errorf("%v: the file grew from %d to %d after the reader ended", mode, before, got)
		}
		checkClean(t, db)
	}
}

func TestSpace_OverwritingDoesNotGrow(t *testing.T) {
	for _, mode := range []Durability{Sync, NoSync} {
		db, _ := spaceDB(t, spacePath(t), Options{Durability: mode})
		fill(t, db, 300, 1500, 50)
		for i := range 1000 { // until the log of free space was folded once
			overwrite(t, db, i)
		}
		before := fileSize(t, db)
		for i := range 2000 {
			overwrite(t, db, i)
		}
		if got := fileSize(t, db); got > before {
			t.Errorf("%v: 2,000 overwriting commits grew the file from %d to %d bytes", mode, before, got)
		}
		checkClean(t, db)
	}
}

// When all is deleted the file becomes short, at the latest by Close.
func TestSpace_TailIsGivenBack(t *testing.T) {
	path := spacePath(t)
	db, faults := spaceDB(t, path, Options{})
	fill(t, db, 2000, 5000, 500)
	full := fileSize(t, db)
	if err := db.Update(func(tx *Tx) error { return tx.DeleteBucket([]byte("bucket")) }); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		overwrite(t, db, i)
	}
	if got := fileSize(t, db); got > full/4 || faults.Calls(fsync.OpTruncate) == 0 {
		t.Errorf("with all deleted the open file has %d bytes of %d", got, full)
	}
	checkClean(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db, _ = spaceDB(t, path, Options{})
	if got := fileSize(t, db); got > 1<<20 {
		t.Errorf("the closed file has %d bytes, full it had %d", got, full)
	}
	checkClean(t, db)
}

// The log of free space goes from the meta page to pages of its own and from
// there into bitmaps; after each step an open finds the same free pages.
func TestSpace_SpillAndFold(t *testing.T) {
	path := spacePath(t)
	db, _ := spaceDB(t, path, Options{})
	rng := rand.New(rand.NewPCG(11, 0))
	fill(t, db, 3000, 700, 500)
	spills, folds := 0, 0
	for range 1500 {
		log, top := len(db.space.log), db.space.top
		update(t, db, func(b *Bucket) error {
			for range 40 {
				k := fmt.Appendf(nil, "%08d", rng.IntN(3000))
				if rng.IntN(3) == 0 {
					if err := b.Delete(k); err != nil {
						return err
					}
				} else if err := b.Put(k, []byte(text('w', 100+rng.IntN(3000)))); err != nil {
					return err
				}
			}
			return nil
		})
		spilled, folded := len(db.space.log) > log, db.space.top != top
		if spilled && spills%8 != 7 && !folded {
			spills++
			continue // opening again after each would take long
		}
		if !spilled && !folded {
			continue
		}
		if spilled {
			spills++
		}
		if folded {
			folds++
		}
		free, end := db.space.free.freePages(), db.space.free.end()
		checkClean(t, db)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db, _ = spaceDB(t, path, Options{})
		if got := db.space.free.freePages(); got != free || db.space.free.end() != end {
			t.Fatalf("spill %d, fold %d: %d free pages of %d after opening again, before %d of %d", spills, folds, got, db.space.free.end(), free, end)
		}
		if folds >= 3 && spills > 20 {
			break
		}
	}
	t.Logf("%d spills, %d folds", spills, folds)
	if spills == 0 || folds == 0 {
		t.Errorf("%d spills and %d folds, want some", spills, folds)
	}
	checkClean(t, db)
}

// What a small commit writes does not depend on how many pages are free.
func TestSpace_SmallCommitBesideManyFreePages(t *testing.T) {
	const values = 10000
	path := spacePath(t)
	db, _ := spaceDB(t, path, Options{})
	fill(t, db, values, 5000, 2000)
	for i := 0; i < values; i += 1000 {
		update(t, db, func(b *Bucket) error {
			for j := i; j < i+1000; j += 2 {
				if err := b.Delete(fmt.Appendf(nil, "%08d", j)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db, faults := spaceDB(t, path, Options{})
	if free := db.space.free.freePages(); free < values {
		t.Fatalf("%d free pages, want %d at least", free, values)
	}
	var most, sum int64
	const commits = 200
	for i := range commits {
		before := faults.Bytes(fsync.OpPageWrite) + faults.Bytes(fsync.OpMetaWrite)
		update(t, db, func(b *Bucket) error { return b.Put([]byte("00000001"), []byte(fmt.Sprint("value", i))) })
		n := faults.Bytes(fsync.OpPageWrite) + faults.Bytes(fsync.OpMetaWrite) - before
		most, sum = max(most, n), sum+n
	}
	t.Logf("a commit writes %d bytes, at the most %d", sum/commits, most)
	if sum/commits > 24<<10 {
		t.Errorf("a commit of one key writes %d bytes, want 24 KiB at the most", sum/commits)
	}
	if most > 256<<10 {
		t.Errorf("one commit of one key writes %d bytes", most)
	}
}

func TestSpace_Compact(t *testing.T) {
	src, _ := spaceDB(t, spacePath(t), Options{})
	fill(t, src, 3000, 500, 500)
	update(t, src, func(b *Bucket) error {
		for i := range 3000 {
			if i%10 != 0 {
				if err := b.Delete(fmt.Appendf(nil, "%08d", i)); err != nil {
					return err
				}
			}
		}
		sub, err := b.CreateBucket([]byte("sub"))
		if err != nil {
			return err
		}
		return errors.Join(sub.SetSequence(77), sub.Put([]byte("k"), []byte(text('s', 20000))))
	})
	for _, limit := range []int64{0, 50000} {
		dst, _ := spaceDB(t, spacePath(t), Options{})
		if err := Compact(dst, src, limit); err != nil {
			t.Fatal(err)
		}
		checkClean(t, dst)
		used := int64(dst.published.Load().meta.End) * int64(dst.pageSize)
		if used > 250<<10 {
			t.Errorf("limit %d: the compacted database takes %d bytes for 170,000 of data", limit, used)
		}
		var want, got contentSum
		if err := errors.Join(src.View(want.load), dst.View(got.load)); err != nil {
			t.Fatal(err)
		}
		if want != got {
			t.Errorf("limit %d: the copy differs", limit)
		}
	}
}

// A transaction that needs more than MaxSize fails alone.
func TestSpace_MaxSize(t *testing.T) {
	watch(t, "max size")
	db, _ := spaceDB(t, spacePath(t), Options{MaxSize: 2 << 20})
	fill(t, db, 200, 1000, 50)
	big := func(tx *Tx) error { return tx.Bucket([]byte("bucket")).Put([]byte("big"), []byte(text('b', 4<<20))) }
	for range 5 {
		if err := db.Update(big); !errors.Is(err, ErrMaxSizeReached) || errors.Is(err, ErrPoisoned) {
			t.Fatalf("a transaction that needs too much: %v", err)
		}
		overwrite(t, db, 1)
	}
	var done sync.WaitGroup
	for i := range 8 {
		done.Go(func() {
			for n := range 20 {
				if i == 0 {
					if err := db.Update(big); !errors.Is(err, ErrMaxSizeReached) {
						t.Errorf("too much, beside others: %v", err)
					}
					continue
				}
				err := db.Update(func(tx *Tx) error {
					return tx.Bucket([]byte("bucket")).Put([]byte(fmt.Sprint("member", i)), []byte(text('m', 100+n)))
				})
				if err != nil {
					t.Errorf("beside one that needs too much: %v", err)
				}
			}
		})
	}
	done.Wait()
	if got := fileSize(t, db); got > 2<<20 {
		t.Errorf("the file has %d bytes, allowed are %d", got, 2<<20)
	}
	// Full to the brim, deleting must still work.
	var err error
	for i := 0; err == nil && i < 5000; i++ {
		err = db.Update(func(tx *Tx) error {
			return tx.Bucket([]byte("bucket")).Put(fmt.Appendf(nil, "more%05d", i), []byte(text('f', 3000)))
		})
	}
	if !errors.Is(err, ErrMaxSizeReached) {
		t.Fatalf("filling up: %v", err)
	}
	checkClean(t, db)
}

// A load without syncs takes about the space that one with syncs takes.
func TestSpace_UnsyncedLoad(t *testing.T) {
	sizes := map[Durability]int64{}
	for _, mode := range []Durability{Sync, NoSync} {
		db, _ := spaceDB(t, spacePath(t), Options{Durability: mode})
		rng := rand.New(rand.NewPCG(5, 0))
		for range 400 {
			update(t, db, func(b *Bucket) error {
				for range 50 {
					if err := b.Put(fmt.Appendf(nil, "%08d", rng.IntN(1<<20)), []byte(text('v', 200))); err != nil {
						return err
					}
				}
				return nil
			})
		}
		sizes[mode] = int64(db.published.Load().meta.End) * int64(db.pageSize)
		checkClean(t, db)
	}
	t.Logf("synced %d KiB, unsynced %d KiB", sizes[Sync]>>10, sizes[NoSync]>>10)
	if sizes[NoSync] > sizes[Sync]*3/2+1<<20 {
		t.Errorf("unsynced the load takes %d bytes, synced %d", sizes[NoSync], sizes[Sync])
	}
}
