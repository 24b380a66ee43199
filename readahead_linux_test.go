package lightning

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// coldDB makes a database of some thousand leaves and opens it with o when nothing of it is
// in the page cache.
func coldDB(t *testing.T, o Options) *DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cold.ldb")
	db, err := Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		if err != nil {
			return err
		}
		_, err = b.Load(func(put func(k, v []byte) error) error {
			for i := range coldKeys {
				if err := put(coldKey(i), make([]byte, 1000)); err != nil {
					return err
				}
			}
			return nil
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if n := cachedPages(t, path); n > 100 {
		t.Skipf("%d pages stay in memory when they are dropped: no file system on a device", n)
	}
	if db, err = Open(path, 0o600, &o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

const coldKeys = 20000

func coldKey(i int) []byte { return fmt.Appendf(nil, "%08d", i) }

// cachedPages returns how many pages of the file are in memory.
func cachedPages(t *testing.T, path string) (n int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var stat unix.Cachestat_t
	err = unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &stat, 0)
	if errors.Is(err, unix.ENOSYS) {
		t.Skip("this kernel does not tell what is in memory")
	}
	if err != nil {
		t.Fatal(err)
	}
	return int(stat.Cache)
}

// A get brings its own pages into memory, and with ReadAheadOn their neighbours, too.
func TestReadAhead_Get(t *testing.T) {
	cached := func(o Options) int {
		db := coldDB(t, o)
		before := cachedPages(t, db.Path())
		for i := range 16 {
			if err := db.View(func(tx *Tx) error {
				if tx.Bucket([]byte("b")).Get(coldKey(i*coldKeys/16)) == nil {
					t.Errorf("key %d is gone", i)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		return cachedPages(t, db.Path()) - before
	}
	off, on := cached(Options{ReadAhead: ReadAheadOff}), cached(Options{ReadAhead: ReadAheadOn})
	if off > 16*4 {
		t.Errorf("16 gets with ReadAheadOff brought %d pages into memory", off)
	}
	if on < 4*off {
		t.Errorf("16 gets with ReadAheadOn brought %d pages into memory, %d with ReadAheadOff", on, off)
	}
}

// A walk with ReadAheadOff asks for what it will need, in both directions; a
// short one does not.
func TestReadAhead_Walk(t *testing.T) {
	for name, walk := range map[string]func(c *Cursor, n int){
		"forward": func(c *Cursor, n int) {
			for k, _ := c.First(); k != nil && n > 1; k, _ = c.Next() {
				n--
			}
		},
		"backward": func(c *Cursor, n int) {
			for k, _ := c.Last(); k != nil && n > 1; k, _ = c.Prev() {
				n--
			}
		},
	} {
		sum := 0
		for _, entries := range []int{5, 90, 120, 150, 180} { // three a leaf
			db := coldDB(t, Options{ReadAhead: ReadAheadOff})
			before := cachedPages(t, db.Path())
			if err := db.View(func(tx *Tx) error {
				walk(tx.Bucket([]byte("b")).Cursor(), entries)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			got := cachedPages(t, db.Path()) - before
			touched := entries/3 + 4
			ahead := got - touched
			if ahead > maxAhead || entries == 5 && ahead > 0 {
				t.Errorf("%s: %d entries brought %d pages into memory", name, entries, got)
			}
			sum += max(ahead, 0)
		}
		if sum < 20 {
			t.Errorf("%s: walks brought no more than %d pages ahead of them into memory", name, sum)
		}
	}
}

// Auto goes by the memory there is, when the file is opened and when it grows.
func TestReadAhead_Auto(t *testing.T) {
	db := coldDB(t, Options{})
	if db.memory == 0 || db.sparing.Load() {
		t.Fatalf("a small file, %d bytes of memory: sparing is %v", db.memory, db.sparing.Load())
	}
	length := db.filePages.Load() * uint64(db.pageSize)
	db.memory = 2*length + 1
	grow := func() {
		if err := db.Update(func(tx *Tx) error {
			return tx.Bucket([]byte("b")).Put([]byte("big"), make([]byte, 4<<20))
		}); err != nil {
			t.Fatal(err)
		}
	}
	db.adviseMap(int64(length))
	if db.sparing.Load() {
		t.Error("sparing, with memory for two such files")
	}
	grow()
	if !db.sparing.Load() {
		t.Error("not sparing, though the file has outgrown half of the memory")
	}
	on := coldDB(t, Options{ReadAhead: ReadAheadOn})
	on.memory = 1
	on.adviseMap(int64(length))
	if on.sparing.Load() {
		t.Error("sparing in spite of ReadAheadOn")
	}
	if _, err := Open(filepath.Join(t.TempDir(), "x"), 0o600, &Options{ReadAhead: 3}); err == nil {
		t.Error("ReadAhead 3 is accepted")
	}
}
