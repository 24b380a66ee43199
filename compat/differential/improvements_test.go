package differential_test

import (
	"fmt"
	"path/filepath"
	"testing"
)

// TestImprovements shows what random programs leave out, since the engines differ
// on purpose: what bbolt does, and what happens here. A program leaves out
// exactly the operation shown, in machine_test.go.
func TestImprovements(t *testing.T) {
	for _, c := range []struct {
		name             string
		bbolt, lightning func(dir string) string
		was, is          string
	}{
		{
			"Delete of a cursor that was not placed",
			deleteFresh[boltDB, boltTx, boltBucket, boltCursor](onBbolt), deleteFresh[ownDB, ownTx, ownBucket, ownCursor](onLightning),
			"panic", "cursor is not at a key",
		}, {
			"Delete and Next in a leaf that was changed before",
			deleteAll[boltDB, boltTx, boltBucket, boltCursor](onBbolt), deleteAll[ownDB, ownTx, ownBucket, ownCursor](onLightning),
			"10 of 20 left", "0 of 20 left",
		}, {
			"Prev over leaves emptied in the same transaction",
			prevEmptied[boltDB, boltTx, boltBucket, boltCursor](onBbolt), prevEmptied[ownDB, ownTx, ownBucket, ownCursor](onLightning),
			"nothing", "a",
		}, {
			"a nil value, read in the transaction that put it",
			putNil[boltDB, boltTx, boltBucket, boltCursor](onBbolt), putNil[ownDB, ownTx, ownBucket, ownCursor](onLightning),
			"absent, then present", "present, then present",
		}, {
			"the sequence of the root bucket",
			rootSequence[boltDB, boltTx, boltBucket, boltCursor](onBbolt), rootSequence[ownDB, ownTx, ownBucket, ownCursor](onLightning),
			"0", "7",
		}, {
			"Compact with plain keys in the root bucket",
			compactPlain[boltDB, boltTx, boltBucket, boltCursor](onBbolt), compactPlain[ownDB, ownTx, ownBucket, ownCursor](onLightning),
			"panic", "ok, value v",
		}, {
			"a bucket moved into its own descendant",
			moveIntoSelf[boltDB, boltTx, boltBucket, boltCursor](onBbolt), moveIntoSelf[ownDB, ownTx, ownBucket, ownCursor](onLightning),
			"<nil>, 0 top-level buckets", "a bucket cannot be moved into itself, 1 top-level buckets",
		}, {
			"a bucket moved with changes of the same transaction",
			moveChanged[boltDB, boltTx, boltBucket, boltCursor](onBbolt), moveChanged[ownDB, ownTx, ownBucket, ownCursor](onLightning),
			"lost", "kept",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := observe(c.bbolt, t.TempDir()); got != c.was {
				t.Errorf("bbolt: %q, the list says %q", got, c.was)
			}
			if got := observe(c.lightning, t.TempDir()); got != c.is {
				t.Errorf("Lightning: %q, the list says %q", got, c.is)
			}
		})
	}
}

// observe tells what a story comes to.
func observe(story func(dir string) string, dir string) (seen string) {
	defer func() {
		if recover() != nil {
			seen = "panic"
		}
	}()
	return story(dir)
}

// must is for steps of a story in which nothing can be different.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// story opens a database for tell. What the engine dies of leaves it open.
func story[D database[T], T transaction[B, C], B bucket[B, C], C cursor[B]](e engine[D, T, B], tell func(dir string, db D) string) func(dir string) string {
	return func(dir string) string {
		db, err := e.open(filepath.Join(dir, "db"))
		must(err)
		seen := tell(dir, db)
		must(db.Close())
		return seen
	}
}

func deleteFresh[D database[T], T transaction[B, C], B bucket[B, C], C cursor[B]](e engine[D, T, B]) func(string) string {
	return story[D, T, B, C](e, func(_ string, db D) string {
		return fmt.Sprint(db.Update(func(tx T) error {
			b, err := tx.CreateBucket([]byte("b"))
			must(err)
			must(b.Put([]byte("k"), []byte("v")))
			return b.Cursor().Delete()
		}))
	})
}

func deleteAll[D database[T], T transaction[B, C], B bucket[B, C], C cursor[B]](e engine[D, T, B]) func(string) string {
	return story[D, T, B, C](e, func(_ string, db D) string {
		must(db.Update(func(tx T) error {
			b, err := tx.CreateBucket([]byte("b"))
			must(err)
			for i := range 20 {
				must(b.Put(fmt.Appendf(nil, "%02d", i), []byte("v")))
			}
			return nil
		}))
		left := 0
		must(db.Update(func(tx T) error {
			b := tx.Bucket([]byte("b"))
			must(b.Put([]byte("00"), []byte("w")))
			c := b.Cursor()
			for k, _ := c.First(); k != nil; k, _ = c.Next() {
				must(c.Delete())
			}
			return b.ForEach(func(_, _ []byte) error {
				left++
				return nil
			})
		}))
		return fmt.Sprintf("%d of 20 left", left)
	})
}

func prevEmptied[D database[T], T transaction[B, C], B bucket[B, C], C cursor[B]](e engine[D, T, B]) func(string) string {
	return story[D, T, B, C](e, func(_ string, db D) string {
		key := func(i int) []byte { return fmt.Appendf(nil, "c%03d", i) }
		must(db.Update(func(tx T) error {
			b, err := tx.CreateBucket([]byte("b"))
			must(err)
			must(b.Put([]byte("a"), []byte("v")))
			for i := range 300 {
				must(b.Put(key(i), make([]byte, 50)))
			}
			return nil
		}))
		seen := "nothing"
		must(db.Update(func(tx T) error {
			b := tx.Bucket([]byte("b"))
			for i := range 300 {
				must(b.Delete(key(i)))
			}
			c := b.Cursor()
			c.Seek(key(37))
			if k, _ := c.Prev(); k != nil {
				seen = string(k)
			}
			return nil
		}))
		return seen
	})
}

func putNil[D database[T], T transaction[B, C], B bucket[B, C], C cursor[B]](e engine[D, T, B]) func(string) string {
	return story[D, T, B, C](e, func(_ string, db D) string {
		present := func(b B) string {
			if b.Get([]byte("k")) == nil {
				return "absent"
			}
			return "present"
		}
		var before, after string
		must(db.Update(func(tx T) error {
			b, err := tx.CreateBucket([]byte("b"))
			must(err)
			must(b.Put([]byte("k"), nil))
			before = present(b)
			return nil
		}))
		must(db.View(func(tx T) error {
			after = present(tx.Bucket([]byte("b")))
			return nil
		}))
		return before + ", then " + after
	})
}

func rootSequence[D database[T], T transaction[B, C], B bucket[B, C], C cursor[B]](e engine[D, T, B]) func(string) string {
	return story[D, T, B, C](e, func(_ string, db D) string {
		must(db.Update(func(tx T) error { return tx.Cursor().Bucket().SetSequence(7) }))
		var got uint64
		must(db.View(func(tx T) error {
			got = tx.Cursor().Bucket().Sequence()
			return nil
		}))
		return fmt.Sprint(got)
	})
}

func compactPlain[D database[T], T transaction[B, C], B bucket[B, C], C cursor[B]](e engine[D, T, B]) func(string) string {
	return story[D, T, B, C](e, func(dir string, db D) string {
		must(db.Update(func(tx T) error { return tx.Cursor().Bucket().Put([]byte("k"), []byte("v")) }))
		dst, err := e.open(filepath.Join(dir, "dst"))
		must(err)
		seen := e.err(e.compact(dst, db, 0))
		must(dst.View(func(tx T) error {
			seen += fmt.Sprintf(", value %s", tx.Cursor().Bucket().Get([]byte("k")))
			return nil
		}))
		must(dst.Close())
		return seen
	})
}

func moveIntoSelf[D database[T], T transaction[B, C], B bucket[B, C], C cursor[B]](e engine[D, T, B]) func(string) string {
	return story[D, T, B, C](e, func(_ string, db D) string {
		must(db.Update(func(tx T) error {
			a, err := tx.CreateBucket([]byte("a"))
			must(err)
			_, err = a.CreateBucket([]byte("b"))
			return err
		}))
		var moved error
		must(db.Update(func(tx T) error {
			a := tx.Bucket([]byte("a"))
			var root B
			moved = tx.MoveBucket([]byte("a"), root, a.Bucket([]byte("b")))
			return nil
		}))
		buckets := 0
		must(db.View(func(tx T) error {
			return tx.ForEach(func([]byte, B) error {
				buckets++
				return nil
			})
		}))
		return fmt.Sprintf("%v, %d top-level buckets", moved, buckets)
	})
}

func moveChanged[D database[T], T transaction[B, C], B bucket[B, C], C cursor[B]](e engine[D, T, B]) func(string) string {
	return story[D, T, B, C](e, func(_ string, db D) string {
		must(db.Update(func(tx T) error {
			for _, name := range []string{"a", "c"} {
				_, err := tx.CreateBucket([]byte(name))
				must(err)
			}
			_, err := tx.Bucket([]byte("a")).CreateBucket([]byte("b"))
			return err
		}))
		must(db.Update(func(tx T) error {
			a := tx.Bucket([]byte("a"))
			must(a.Bucket([]byte("b")).Put([]byte("k"), []byte("v")))
			return a.MoveBucket([]byte("b"), tx.Bucket([]byte("c")))
		}))
		seen := "lost"
		must(db.View(func(tx T) error {
			if string(tx.Bucket([]byte("c")).Bucket([]byte("b")).Get([]byte("k"))) == "v" {
				seen = "kept"
			}
			return nil
		}))
		return seen
	})
}
