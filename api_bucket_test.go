package lightning_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	lightning "github.com/lightning-db/lightning"
)

// oversizedValue is one byte longer than a value may be. Nothing touches its memory.
var oversizedValue = sync.OnceValue(func() []byte {
	limit := lightning.MaxValueSize
	return make([]byte, limit+1)
})

func skipOn32Bit(t *testing.T) {
	t.Helper()
	if strconv.IntSize == 32 {
		t.Skip("a value of 2 GiB does not fit")
	}
}

// Each step removes the error that the step before must report, so the order of the checks is pinned.
func TestBucket_Put_ChecksInOrder(t *testing.T) {
	skipOn32Bit(t)
	db := openDB(t, nil)
	longKey := make([]byte, lightning.MaxKeySize+1)
	huge := oversizedValue()

	tx := mustBegin(t, db, true)
	b := mustCreate(t, tx, "b")
	mustNest(t, b, "nested")
	mustCommit(t, tx)
	wantErr(t, "closed", b.Put(nil, huge), lightning.ErrTxClosed)
	mustView(t, db, func(tx *lightning.Tx) {
		wantErr(t, "read tx", mustBucket(t, tx, "b").Put(nil, huge), lightning.ErrTxNotWritable)
	})
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		wantErr(t, "nil key", b.Put(nil, huge), lightning.ErrKeyRequired)
		wantErr(t, "empty key", b.Put([]byte{}, huge), lightning.ErrKeyRequired)
		wantErr(t, "long key", b.Put(longKey, huge), lightning.ErrKeyTooLarge)
		wantErr(t, "huge value on a bucket", b.Put([]byte("nested"), huge), lightning.ErrValueTooLarge)
		wantErr(t, "value on a bucket", b.Put([]byte("nested"), []byte("v")), lightning.ErrIncompatibleValue)
		if err := b.Put(longKey[1:], []byte("v")); err != nil {
			t.Errorf("Put of a key of MaxKeySize bytes: %v", err)
		}
		if b.Bucket([]byte("nested")) == nil {
			t.Error("the nested bucket is gone")
		}
	})
}

func TestBucket_Put_Overwrites(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		for _, v := range []string{"one", "", "a much longer value", "x"} {
			mustPut(t, b, "k", v)
			wantValue(t, b, "k", v)
		}
	})
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		wantValue(t, b, "k", "x")
		mustPut(t, b, "k", strings.Repeat("y", 100_000))
	})
	mustView(t, db, func(tx *lightning.Tx) {
		wantValue(t, mustBucket(t, tx, "b"), "k", strings.Repeat("y", 100_000))
	})
}

func TestBucket_Put_NilAndEmptyValues(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		for name, v := range map[string][]byte{"nil": nil, "empty": {}} {
			if err := b.Put([]byte(name), v); err != nil {
				t.Fatal(err)
			}
			if got := b.Get([]byte(name)); len(got) != 0 {
				t.Errorf("Get(%s) in the same tx: got %q, want nothing in it", name, got)
			}
		}
		if got := b.Get([]byte("empty")); got == nil {
			t.Error("Get(empty) in the same tx: got nil, want an empty slice")
		}
	})
	mustView(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		n := 0
		err := b.ForEach(func(k, v []byte) error {
			n++
			if v == nil || len(v) != 0 {
				t.Errorf("ForEach(%s): got %#v, want an empty slice that is not nil", k, v)
			}
			if got := b.Get(k); got == nil || len(got) != 0 {
				t.Errorf("Get(%s): got %#v, want an empty slice that is not nil", k, got)
			}
			return nil
		})
		if err != nil || n != 2 {
			t.Errorf("ForEach: %d keys, error %v, want 2", n, err)
		}
	})
}

func TestBucket_Put_CopiesItsArguments(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		key, value := []byte("key-0"), []byte("value")
		big := bytes.Repeat([]byte("b"), 100_000)
		for i := range 10 {
			key[4] = byte('0' + i)
			if err := b.Put(key, value); err != nil {
				t.Fatal(err)
			}
			value[0]++
		}
		if err := b.Put([]byte("big"), big); err != nil {
			t.Fatal(err)
		}
		big[0] = 'x'
		key[0] = 'X'
		wantValue(t, b, "key-3", string("value"[0]+3)+"alue")
	})
	mustView(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		for i := range 10 {
			wantValue(t, b, fmt.Sprintf("key-%d", i), string("value"[0]+byte(i))+"alue")
		}
		wantValue(t, b, "big", strings.Repeat("b", 100_000))
	})
}

// The key alone: bbolt keeps a reference to the value until the commit, but never to the key.
func TestBucket_Put_CopiesTheKey(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		key := make([]byte, 4)
		for i := range 300 {
			copy(key, fmt.Sprintf("%04d", i))
			if err := b.Put(key, []byte("v")); err != nil {
				t.Fatal(err)
			}
		}
	})
	mustView(t, db, func(tx *lightning.Tx) {
		for i := range 300 {
			wantValue(t, mustBucket(t, tx, "b"), fmt.Sprintf("%04d", i), "v")
		}
	})
}

func TestBucket_SizesOfKeysAndValues(t *testing.T) {
	for _, pageSize := range pageSizes {
		t.Run(fmt.Sprint(pageSize), func(t *testing.T) {
			db := openDB(t, &lightning.Options{PageSize: pageSize})
			sizes := []int{0, 1, 15, 16, 17, 255, 256, 1000}
			for _, n := range []int{pageSize / 4, pageSize / 2, pageSize, 2 * pageSize, 3 * pageSize} {
				sizes = append(sizes, n-40, n-16, n-1, n, n+1)
			}
			sizes = append(sizes, 1<<20+7, 5<<20)
			keyOf := func(n int) string { return fmt.Sprintf("%08d%s", n, strings.Repeat("k", min(n, 32760))) }
			valueOf := func(n int) string { return strings.Repeat(string(rune('a'+n%26)), n) }
			mustUpdate(t, db, func(tx *lightning.Tx) {
				b := mustCreate(t, tx, "b")
				for _, n := range sizes {
					mustPut(t, b, keyOf(n), "short")
					mustPut(t, b, "s"+fmt.Sprint(n), valueOf(n))
				}
				for _, n := range sizes {
					wantValue(t, b, keyOf(n), "short")
					wantValue(t, b, "s"+fmt.Sprint(n), valueOf(n))
				}
			})
			mustUpdate(t, db, func(tx *lightning.Tx) {
				b := mustBucket(t, tx, "b")
				for i, n := range sizes {
					wantValue(t, b, keyOf(n), "short")
					wantValue(t, b, "s"+fmt.Sprint(n), valueOf(n))
					if i%2 == 0 {
						mustPut(t, b, keyOf(n), valueOf(n))
					} else if err := b.Delete([]byte(keyOf(n))); err != nil {
						t.Errorf("Delete: %v", err)
					}
				}
			})
			mustView(t, db, func(tx *lightning.Tx) {
				b := mustBucket(t, tx, "b")
				for i, n := range sizes {
					if i%2 == 0 {
						wantValue(t, b, keyOf(n), valueOf(n))
					} else {
						wantAbsent(t, b, keyOf(n))
					}
				}
			})
			checkDB(t, db)
		})
	}
}

func TestBucket_Get(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		mustNest(t, b, "nested")
		mustPut(t, b, "k", "v")
		for _, key := range []string{"", "nested", "missing", "kk", strings.Repeat("x", lightning.MaxKeySize+1)} {
			wantAbsent(t, b, key)
		}
		if got := b.Get(nil); got != nil {
			t.Errorf("Get(nil): got %q, want nil", got)
		}
	})
}

func TestBucket_Delete(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		mustNest(t, b, "nested")
		mustPut(t, b, "k", "v")
		wantErr(t, "Delete(nested)", b.Delete([]byte("nested")), lightning.ErrIncompatibleValue)
		for _, key := range []string{"missing", "", "k", "k"} {
			if err := b.Delete([]byte(key)); err != nil {
				t.Errorf("Delete(%q): %v", key, err)
			}
		}
		wantAbsent(t, b, "k")
	})
	mustView(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		wantErr(t, "Delete in a read tx", b.Delete([]byte("missing")), lightning.ErrTxNotWritable)
		wantErr(t, "DeleteBucket in a read tx", b.DeleteBucket([]byte("nested")), lightning.ErrTxNotWritable)
	})
}

func TestBucket_Delete_DownToNothingAndBack(t *testing.T) {
	db := openDB(t, nil)
	const keys = 3000
	for round := range 2 {
		mustUpdate(t, db, func(tx *lightning.Tx) {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				t.Fatal(err)
			}
			for i := range keys {
				mustPut(t, b, numberedKey(i), strings.Repeat("v", round*50+20))
			}
		})
		for step := range 3 {
			mustUpdate(t, db, func(tx *lightning.Tx) {
				b := mustBucket(t, tx, "b")
				for i := step; i < keys; i += 3 {
					if err := b.Delete([]byte(numberedKey(i))); err != nil {
						t.Fatal(err)
					}
				}
			})
			checkDB(t, db)
		}
		mustView(t, db, func(tx *lightning.Tx) {
			if k, _ := mustBucket(t, tx, "b").Cursor().First(); k != nil {
				t.Errorf("First in the empty bucket: got %q, want nil", k)
			}
		})
	}
}

// The slices that Get returned belong to the transaction, whatever it does afterwards.
func TestBucket_Get_SlicesSurviveLaterPuts(t *testing.T) {
	db := openDB(t, nil)
	const keys = 400
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		for i := range keys {
			mustPut(t, b, numberedKey(i), fmt.Sprintf("old-%d-%s", i, strings.Repeat("v", i)))
		}
	})
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		var slices, copies [][]byte
		keep := func(s []byte) {
			slices, copies = append(slices, s), append(copies, bytes.Clone(s))
		}
		compare := func(when string) {
			t.Helper()
			for i := range slices {
				if !bytes.Equal(slices[i], copies[i]) {
					t.Fatalf("%s: slice %d became %.40q, was %.40q", when, i, slices[i], copies[i])
				}
			}
		}
		for i := range keys { // half of them on pages that were changed before
			if i%2 == 0 {
				mustPut(t, b, numberedKey(i), fmt.Sprintf("new-%d", i))
			}
			keep(b.Get([]byte(numberedKey(i))))
			k, v := b.Cursor().Seek([]byte(numberedKey(i)))
			keep(k)
			keep(v)
		}
		for i := range keys {
			mustPut(t, b, numberedKey(i), strings.Repeat("X", 30))
			mustPut(t, b, numberedKey(i)+"+", strings.Repeat("Y", 70))
			keep(b.Get([]byte(numberedKey(i))))
		}
		compare("after Put")
		for i := range keys {
			if err := b.Delete([]byte(numberedKey(i))); err != nil {
				t.Fatal(err)
			}
		}
		compare("after Delete")
		other := mustCreate(t, tx, "other")
		for i := range 2000 {
			mustPut(t, other, numberedKey(i), strings.Repeat("Z", 100))
		}
		if err := tx.DeleteBucket([]byte("b")); err != nil {
			t.Fatal(err)
		}
		compare("after DeleteBucket")
	})
}

// Keys and values handed to Put may be slices that the same transaction gave out.
func TestBucket_Put_OfItsOwnSlices(t *testing.T) {
	db := openDB(t, nil)
	const keys = 600
	value := func(i int) string { return fmt.Sprintf("v%06d", i) + strings.Repeat("x", i%97) }
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		for i := range keys {
			mustPut(t, b, numberedKey(i), value(i))
		}
		mustPut(t, b, "zbig", strings.Repeat("b", 200_000))
	})
	for round := range 2 { // the second round finds the pages as the first left them
		mustUpdate(t, db, func(tx *lightning.Tx) {
			b := mustBucket(t, tx, "b")
			inverse, err := tx.CreateBucketIfNotExists([]byte(fmt.Sprint("inverse", round)))
			if err != nil {
				t.Fatal(err)
			}
			for i := range keys {
				k, v := b.Cursor().Seek([]byte(numberedKey(i)))
				other := b.Get([]byte(numberedKey(keys - 1 - i)))
				for _, err := range []error{
					inverse.Put(v, k), // into another bucket, turned round
					b.Put(v, k),       // into the same leaf, in time
					b.Put(k, v),       // over itself
					b.Put(v, other),
					b.Put(k[:len(k)-1], v[:3]), // parts of them
				} {
					if err != nil {
						t.Fatalf("Put: %v", err)
					}
				}
			}
			if err := b.Put([]byte("zbig2"), b.Get([]byte("zbig"))[1:]); err != nil {
				t.Fatal(err)
			}
			if err := b.Put([]byte("zbig"), b.Get([]byte("zbig"))); err != nil {
				t.Fatal(err)
			}
		})
		mustView(t, db, func(tx *lightning.Tx) {
			b, inverse := mustBucket(t, tx, "b"), mustBucket(t, tx, fmt.Sprint("inverse", round))
			for i := range keys {
				wantValue(t, b, numberedKey(i), value(i))
				wantValue(t, b, value(i), value(keys-1-i))
				wantValue(t, inverse, value(i), numberedKey(i))
			}
			wantValue(t, b, "zbig", strings.Repeat("b", 200_000))
			wantValue(t, b, "zbig2", strings.Repeat("b", 199_999))
		})
	}
}
