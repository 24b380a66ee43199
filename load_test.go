package lightning_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	lightning "github.com/lightning-db/lightning"
)

// pair is a key with its value.
type pair struct{ key, value string }

// feed hands the pairs to the put of a Load.
func feed(pairs ...pair) func(put func(key, value []byte) error) error {
	return func(put func(key, value []byte) error) error {
		var k, v []byte // put must copy
		for _, p := range pairs {
			k, v = append(k[:0], p.key...), append(v[:0], p.value...)
			if err := put(k, v); err != nil {
				return err
			}
		}
		return nil
	}
}

// numbered returns the pairs of the keys numberedKey(from) to numberedKey(to-1).
func numbered(from, to int) []pair {
	var pairs []pair
	for i := from; i < to; i++ {
		pairs = append(pairs, pair{numberedKey(i), fmt.Sprintf("%0100d", i)})
	}
	return pairs
}

func mustLoad(t testing.TB, b *lightning.Bucket, pairs ...pair) {
	t.Helper()
	if n, err := b.Load(feed(pairs...)); n != len(pairs) || err != nil {
		t.Fatalf("Load = %d, %v, want %d", n, err, len(pairs))
	}
}

// wantPairs compares the bucket with the model, forwards, backwards and by Get.
func wantPairs(t testing.TB, b *lightning.Bucket, want map[string]string) {
	t.Helper()
	if b.Len() != len(want) {
		t.Fatalf("Len = %d, want %d", b.Len(), len(want))
	}
	keys := slices.Sorted(maps.Keys(want))
	i := 0
	for k, v := range b.All() {
		if i >= len(keys) || string(k) != keys[i] || string(v) != want[keys[i]] {
			t.Fatalf("pair %d of %d is %.40q = %.40q", i, len(keys), k, v)
		}
		i++
	}
	for k := range b.Backward() {
		i--
		if i < 0 || string(k) != keys[i] {
			t.Fatalf("backwards: pair %d is %.40q", i, k)
		}
	}
	if i != 0 {
		t.Fatalf("%d keys are missing backwards", i)
	}
	for _, k := range keys {
		wantValue(t, b, k, want[k])
	}
	if err := b.Tx().Err(); err != nil {
		t.Fatal(err)
	}
}

func wantModel(t testing.TB, db *lightning.DB, want map[string]string) {
	t.Helper()
	mustView(t, db, func(tx *lightning.Tx) { wantPairs(t, mustBucket(t, tx, "b"), want) })
}

func modelOf(pairs ...pair) map[string]string {
	m := make(map[string]string)
	for _, p := range pairs {
		m[p.key] = p.value
	}
	return m
}

func TestBucket_Load(t *testing.T) {
	for name, tt := range map[string]struct {
		before []pair   // put first
		drop   bool     // deletes what was put
		load   [][]pair // each in a transaction of its own
	}{
		"nothing":                {load: [][]pair{{}}},
		"one":                    {load: [][]pair{numbered(0, 1)}},
		"inline":                 {load: [][]pair{{{"a", "1"}, {"b", ""}}}},
		"one page":               {load: [][]pair{numbered(0, 20)}},
		"many pages":             {load: [][]pair{numbered(0, 5000)}},
		"behind a few":           {before: numbered(0, 2), load: [][]pair{numbered(2, 500)}},
		"behind many":            {before: numbered(0, 700), load: [][]pair{numbered(700, 3000)}},
		"again and again":        {load: [][]pair{numbered(0, 999), numbered(999, 1000), numbered(1000, 1033), numbered(1033, 2500)}},
		"into a bucket emptied":  {before: numbered(0, 500), drop: true, load: [][]pair{numbered(10, 300)}},
		"before others":          {before: numbered(1000, 1500), load: [][]pair{numbered(0, 900)}},
		"over others":            {before: numbered(0, 500), load: [][]pair{numbered(0, 500)}},
		"over others and behind": {before: numbered(200, 500), load: [][]pair{numbered(0, 2000)}},
	} {
		t.Run(name, func(t *testing.T) {
			db := openDB(t, nil)
			want := modelOf(tt.before...)
			mustUpdate(t, db, func(tx *lightning.Tx) {
				b := mustCreate(t, tx, "b")
				for _, p := range tt.before {
					mustPut(t, b, p.key, "old")
					want[p.key] = "old"
				}
			})
			if tt.drop {
				clear(want)
				mustUpdate(t, db, func(tx *lightning.Tx) {
					if _, err := mustBucket(t, tx, "b").DeleteRange(nil, nil); err != nil {
						t.Fatal(err)
					}
				})
			}
			for _, pairs := range tt.load {
				maps.Copy(want, modelOf(pairs...))
				mustUpdate(t, db, func(tx *lightning.Tx) {
					b := mustBucket(t, tx, "b")
					mustLoad(t, b, pairs...)
					wantPairs(t, b, want)
				})
				checkDB(t, db)
				wantModel(t, db, want)
			}
			db = reopen(t, db, nil)
			wantModel(t, db, want)
		})
	}
}

// A load in several transactions leaves the same pages as one: the last page is
// filled up, not left half empty.
func TestBucket_Load_FillsPages(t *testing.T) {
	const keys = 6000
	leaves := func(fill float64, batch int) int {
		db := openDB(t, nil)
		var stats lightning.BucketStats
		for from := 0; from < keys; from += batch {
			mustUpdate(t, db, func(tx *lightning.Tx) {
				b, err := tx.CreateBucketIfNotExists([]byte("b"))
				if err != nil {
					t.Fatal(err)
				}
				b.FillPercent = fill
				mustLoad(t, b, numbered(from, min(from+batch, keys))...)
			})
		}
		mustView(t, db, func(tx *lightning.Tx) { stats = mustBucket(t, tx, "b").Stats() })
		return stats.LeafPageN
	}
	size := 1 + 1 + 1 + len(numberedKey(0)) + 100 + 6 // a cell and its slot, see docs/FORMAT.md
	full := func(fill float64) int {
		perPage := int(fill*float64(lightning.DefaultPageSize-40)) / size
		return (keys + perPage - 1) / perPage
	}
	for _, batch := range []int{keys, 1000, 77, 1} {
		if batch == 1 && testing.Short() {
			continue
		}
		if got, want := leaves(lightning.DefaultFillPercent, batch), full(1); got != want {
			t.Errorf("by %d keys: %d leaves, want %d", batch, got, want)
		}
	}
	for _, fill := range []float64{0.1, 0.25, 0.7, 1} {
		if got, want := leaves(fill, 1000), full(fill); got != want {
			t.Errorf("fill %v: %d leaves, want %d", fill, got, want)
		}
	}
	if got, want := leaves(7, keys), full(1); got != want {
		t.Errorf("fill 7: %d leaves, want %d", got, want)
	}
	if got, want := leaves(-1, keys), full(0.1); got != want {
		t.Errorf("fill -1: %d leaves, want %d", got, want)
	}
}

// With the longest separators and the least fill, branches still have several
// children each, or the tree would have no end.
func TestBucket_Load_LongSeparators(t *testing.T) {
	for _, tail := range []int{400, 512 - 8, 600, 5000} {
		db := openDB(t, nil)
		var pairs []pair
		for i := range 200 {
			pairs = append(pairs, pair{strings.Repeat("s", tail) + fmt.Sprintf("%08d", i), ""})
		}
		mustUpdate(t, db, func(tx *lightning.Tx) {
			b := mustCreate(t, tx, "b")
			b.FillPercent = 0.1
			mustLoad(t, b, pairs...)
		})
		wantModel(t, db, modelOf(pairs...))
		mustView(t, db, func(tx *lightning.Tx) {
			if depth := mustBucket(t, tx, "b").Stats().Depth; depth > 6 {
				t.Errorf("keys of %d bytes: a tree of %d levels", tail+8, depth)
			}
		})
		checkDB(t, db)
	}
}

func TestBucket_Load_Errors(t *testing.T) {
	good := []pair{{"b", "1"}, {"d", "2"}}
	long := strings.Repeat("k", lightning.MaxKeySize)
	for name, tt := range map[string]struct {
		next pair
		want error
	}{
		"smaller":                  {pair{"c", ""}, lightning.ErrNotSorted},
		"the same":                 {pair{"d", ""}, lightning.ErrNotSorted},
		"first again":              {pair{"b", ""}, lightning.ErrNotSorted},
		"empty key":                {pair{"", ""}, lightning.ErrKeyRequired},
		"key too long":             {pair{"x" + long, ""}, lightning.ErrKeyTooLarge},
		"nested bucket":            {pair{"e", ""}, lightning.ErrIncompatibleValue},
		"nested bucket at the end": {pair{"z", ""}, lightning.ErrIncompatibleValue},
	} {
		t.Run(name, func(t *testing.T) {
			db := openDB(t, nil)
			mustUpdate(t, db, func(tx *lightning.Tx) {
				b := mustCreate(t, tx, "b")
				mustNest(t, b, "e")
				mustNest(t, b, "z")
			})
			err := db.Update(func(tx *lightning.Tx) error {
				b := mustBucket(t, tx, "b")
				n, err := b.Load(feed(append(slices.Clone(good), tt.next, pair{"zz", "more"})...))
				if n != len(good) || !errors.Is(err, tt.want) || !strings.Contains(fmt.Sprint(err), "pair 2") {
					t.Errorf("Load = %d, %v, want 2, %v and the number of the pair", n, err, tt.want)
				}
				wantValue(t, b, "d", "2") // what was loaded is there
				wantAbsent(t, b, "zz")
				if tx.Err() != nil {
					t.Errorf("the transaction failed: %v", tx.Err())
				}
				return err
			})
			wantErr(t, "Update", err, tt.want)
			mustView(t, db, func(tx *lightning.Tx) {
				if b := mustBucket(t, tx, "b"); b.Len() != 2 || b.Get([]byte("b")) != nil {
					t.Errorf("%d keys after the rollback, want the 2 nested buckets", b.Len())
				}
			})
		})
	}
}

// Also with nothing between the pairs but the edge of the tree: the keys before
// and after are pages away from each other.
func TestBucket_Load_NotSortedDeep(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		n, err := b.Load(feed(append(numbered(0, 3000), numbered(7, 8)...)...))
		if n != 3000 || !errors.Is(err, lightning.ErrNotSorted) {
			t.Errorf("Load = %d, %v, want 3000, %v", n, err, lightning.ErrNotSorted)
		}
		wantPairs(t, b, modelOf(numbered(0, 3000)...))
	})
}

// The error of put ends the load even if the source does not look at it.
func TestBucket_Load_ErrorStays(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		var late func(key, value []byte) error
		n, err := b.Load(func(put func(key, value []byte) error) error {
			late = put
			for _, k := range []string{"a", "c", "b", "d", "e"} {
				if err := put([]byte(k), nil); err != nil && k < "b" {
					t.Errorf("put(%q): %v", k, err)
				}
			}
			return nil
		})
		if n != 2 || !errors.Is(err, lightning.ErrNotSorted) {
			t.Errorf("Load = %d, %v, want 2, %v", n, err, lightning.ErrNotSorted)
		}
		if err := late([]byte("z"), nil); err == nil || errors.Is(err, lightning.ErrNotSorted) {
			t.Errorf("put after Load: %v, want an error of its own", err)
		}
		wantPairs(t, b, map[string]string{"a": "", "c": ""})
	})
}

func TestBucket_Load_SourceFails(t *testing.T) {
	broken := errors.New("source is broken")
	for _, after := range []int{0, 1, 40, 3000} {
		db := openDB(t, nil)
		mustUpdate(t, db, func(tx *lightning.Tx) { mustLoad(t, mustCreate(t, tx, "b"), numbered(0, 100)...) })
		failing := func(put func(key, value []byte) error) error {
			if err := feed(numbered(100, 100+after)...)(put); err != nil {
				return err
			}
			return broken
		}
		err := db.Update(func(tx *lightning.Tx) error {
			n, err := mustBucket(t, tx, "b").Load(failing)
			if n != after || err != broken {
				t.Errorf("Load = %d, %v, want %d, %v", n, err, after, broken)
			}
			return err
		})
		if err != broken {
			t.Errorf("Update: %v, want %v", err, broken)
		}
		wantModel(t, db, modelOf(numbered(0, 100)...))
		got := recovered(func() {
			err := db.Update(func(tx *lightning.Tx) error {
				_, err := mustBucket(t, tx, "b").Load(func(put func(key, value []byte) error) error {
					if err := feed(numbered(100, 100+after)...)(put); err != nil {
						return err
					}
					panic(broken)
				})
				return err
			})
			t.Errorf("Update returned %v", err)
		})
		if got != broken {
			t.Errorf("panic with %v, want %v", got, broken)
		}
		wantModel(t, db, modelOf(numbered(0, 100)...))
	}
}

func TestBucket_Load_NotAllowed(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustCreate(t, tx, "b") })
	never := func(put func(key, value []byte) error) error {
		t.Error("fill was called")
		return nil
	}
	mustView(t, db, func(tx *lightning.Tx) {
		_, err := mustBucket(t, tx, "b").Load(never)
		wantErr(t, "Load in View", err, lightning.ErrTxNotWritable)
	})
	tx := mustBegin(t, db, true)
	b := mustBucket(t, tx, "b")
	mustRollback(t, tx)
	_, err := b.Load(never)
	wantErr(t, "Load after the end", err, lightning.ErrTxClosed)

	tx = mustBegin(t, db, true)
	n, err := mustBucket(t, tx, "b").Load(func(put func(key, value []byte) error) error {
		if err := put([]byte("a"), nil); err != nil {
			t.Errorf("put: %v", err)
		}
		mustRollback(t, tx)
		return put([]byte("b"), nil)
	})
	if wantErr(t, "put after the end", err, lightning.ErrTxClosed); n != 1 {
		t.Errorf("Load = %d, want 1", n)
	}
	mustUpdate(t, db, func(tx *lightning.Tx) {
		_, err := mustBucket(t, tx, "b").Load(func(put func(key, value []byte) error) error {
			if err := tx.DeleteBucket([]byte("b")); err != nil {
				t.Error(err)
			}
			return put([]byte("b"), nil)
		})
		wantErr(t, "put into a deleted bucket", err, lightning.ErrBucketNotFound)
	})
}

// What fill does to the bucket between two pairs is seen by the load, and the
// other way round.
func TestBucket_Load_AmongOtherChanges(t *testing.T) {
	db := openDB(t, nil)
	want := modelOf(numbered(0, 400)...)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		must := func(err error) {
			if t.Helper(); err != nil {
				t.Fatal(err)
			}
		}
		_, err := b.Load(func(put func(key, value []byte) error) error {
			must(feed(numbered(0, 400)...)(put))
			wantPairs(t, b, want)
			must(b.Delete([]byte(numberedKey(399)))) // the last key
			must(put([]byte("l1"), []byte("1")))
			must(b.Put([]byte("z"), []byte("2"))) // now the last key
			must(put([]byte("l2"), []byte("3")))
			must(put([]byte("zz"), []byte("4")))
			_, err := b.DeleteRange([]byte("l"), nil)
			must(err)
			must(put([]byte("zzz"), []byte("5")))
			n, err := b.Load(feed(pair{"aa", "6"}, pair{"zzzz", "7"})) // a load in a load
			must(err)
			if n != 2 {
				t.Errorf("inner Load = %d, want 2", n)
			}
			must(put([]byte("zzzz"), []byte("8"))) // replaces
			must(b.Clear())
			must(put([]byte("zzzzz"), []byte("9")))
			return put([]byte("zzzzzz"), []byte("10"))
		})
		must(err)
		wantPairs(t, b, map[string]string{"zzzzz": "9", "zzzzzz": "10"})
	})
}

// A cursor open during a load goes on from its key and meets what was loaded.
func TestBucket_Load_Cursors(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		mustPut(t, b, numberedKey(0), "first")
		c := b.Cursor()
		k, v := c.First()
		_, err := b.Load(func(put func(key, value []byte) error) error {
			for i := 1; i < 500; i++ {
				if err := put([]byte(numberedKey(i)), bytes.Repeat([]byte{byte(i)}, 90)); err != nil {
					return err
				}
				if string(k) != numberedKey(i-1) {
					t.Fatalf("the key of the cursor became %q, want %q", k, numberedKey(i-1))
				}
				if i > 1 && !bytes.Equal(v, bytes.Repeat([]byte{byte(i - 1)}, 90)) {
					t.Fatalf("the value of %q became %q", k, v)
				}
				if k, v = c.Next(); string(k) != numberedKey(i) {
					t.Fatalf("Next = %q, want %q", k, numberedKey(i))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if k, _ := c.Next(); k != nil {
			t.Errorf("Next at the end = %q", k)
		}
		for i := 498; i >= 0; i-- {
			if k, _ := c.Prev(); string(k) != numberedKey(i) {
				t.Fatalf("Prev = %q, want %q", k, numberedKey(i))
			}
		}
	})
}

// Nested buckets, and the root, are loaded like others.
func TestBucket_Load_Nested(t *testing.T) {
	db := openDB(t, nil)
	for round := range 3 {
		mustUpdate(t, db, func(tx *lightning.Tx) {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				t.Fatal(err)
			}
			inner, err := b.CreateBucketIfNotExists([]byte("inner"))
			if err != nil {
				t.Fatal(err)
			}
			mustLoad(t, inner, numbered(round*3, round*3+3)...) // stays inline
			deep, err := inner.CreateBucketIfNotExists([]byte("zz deep"))
			if err != nil {
				t.Fatal(err)
			}
			mustLoad(t, deep, numbered(round*300, round*300+300)...)
			mustLoad(t, tx.Cursor().Bucket(), numbered(round*50, round*50+50)...)
		})
		checkDB(t, db)
	}
	mustView(t, db, func(tx *lightning.Tx) {
		wantPairs(t, mustBucket(t, tx, "b", "inner", "zz deep"), modelOf(numbered(0, 900)...))
		if n := mustBucket(t, tx, "b", "inner").Len(); n != 10 {
			t.Errorf("inner: %d keys, want 10", n)
		}
		wantValue(t, tx.Cursor().Bucket(), numberedKey(149), numbered(149, 150)[0].value)
	})
}

// The memory that a load takes does not depend on the number of keys, but for the
// pages.

// Of a long key the leaf knows the first bytes only: a key that begins with them
// may belong before it.
func TestBucket_Put_BehindALongKey(t *testing.T) {
	known, tail := strings.Repeat("k", 64), strings.Repeat("-", 600)
	want := map[string]string{}
	db, _ := costDB(t, 0)
	if err := db.Update(func(tx *lightning.Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		for _, k := range []string{"a", known + "m" + tail, known + "a" + tail, known + "b", known + "z" + tail, known, known + "n"} {
			want[k] = k[len(k)-1:]
			if err == nil {
				err = b.Put([]byte(k), []byte(want[k]))
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.View(func(tx *lightning.Tx) error {
		wantPairs(t, tx.Bucket([]byte("b")), want)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestBucket_Load_Allocations(t *testing.T) {
	db := openDB(t, nil)
	tx := mustBegin(t, db, true)
	defer mustRollback(t, tx)
	b := mustCreate(t, tx, "b")
	const keys = 10_000
	key, value, i := make([]byte, 16), make([]byte, 100), uint64(0)
	allocs := testing.AllocsPerRun(3, func() {
		_, err := b.Load(func(put func(key, value []byte) error) error {
			for range keys {
				i++
				binary.BigEndian.PutUint64(key, i)
				if err := put(key, value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	// A page of 32 keys takes two, and there are lists of pages.
	if perKey := allocs / keys; perKey > 3.0/32 {
		t.Errorf("%.3f allocations a key", perKey)
	}
}
