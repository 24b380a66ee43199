package lightning_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	lightning "github.com/lightning-db/lightning"
)

func TestBucket_NameOf40000Bytes(t *testing.T) {
	name := strings.Repeat("n", 40_000)
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		mustPut(t, mustNest(t, mustCreate(t, tx, name), name+"2"), "k", "v")
	})
	mustUpdate(t, db, func(tx *lightning.Tx) {
		wantValue(t, mustBucket(t, tx, name, name+"2"), "k", "v")
		if got := mustBucket(t, tx, name).Get([]byte(name + "2")); got != nil {
			t.Errorf("Get of the name: got %d bytes, want nil", len(got))
		}
		if err := tx.DeleteBucket([]byte(name)); err != nil {
			t.Errorf("DeleteBucket: %v", err)
		}
	})
	checkDB(t, db)
}

func TestBucket_DeleteBucket_Errors(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		mustPut(t, b, "plain", "v")
		mustNest(t, b, "nested")
		wantErr(t, "missing", b.DeleteBucket([]byte("missing")), lightning.ErrBucketNotFound)
		wantErr(t, "plain", b.DeleteBucket([]byte("plain")), lightning.ErrIncompatibleValue)
		wantErr(t, "no name", b.DeleteBucket(nil), lightning.ErrBucketNotFound)
		wantErr(t, "no name, in an empty bucket", b.Bucket([]byte("nested")).DeleteBucket(nil), lightning.ErrIncompatibleValue)
		if err := b.DeleteBucket([]byte("nested")); err != nil {
			t.Errorf("DeleteBucket: %v", err)
		}
		mustPut(t, b, "nested", "now a plain key")
		wantValue(t, b, "nested", "now a plain key")
	})
}

func TestBucket_Sequence(t *testing.T) {
	db := openDB(t, nil)
	refused := errors.New("refused")
	next := func(b *lightning.Bucket, want uint64) {
		t.Helper()
		if got, err := b.NextSequence(); err != nil || got != want {
			t.Errorf("NextSequence: got %d (error %v), want %d", got, err, want)
		}
	}
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		next(b, 1)
		next(b, 2)
		next(mustNest(t, b, "nested"), 1)
	})
	wantErr(t, "Update", db.Update(func(tx *lightning.Tx) error {
		next(mustBucket(t, tx, "b"), 3)
		return refused
	}), refused)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		next(b, 3)
		next(mustBucket(t, tx, "b", "nested"), 2)
		if err := b.SetSequence(math.MaxUint64 - 1); err != nil {
			t.Errorf("SetSequence: %v", err)
		}
		next(b, math.MaxUint64)
	})
	db = reopen(t, db, nil)
	mustView(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		if got := b.Sequence(); got != math.MaxUint64 {
			t.Errorf("Sequence: got %d, want %d", got, uint64(math.MaxUint64))
		}
		_, err := b.NextSequence()
		wantErr(t, "NextSequence in a read tx", err, lightning.ErrTxNotWritable)
		wantErr(t, "SetSequence in a read tx", b.SetSequence(1), lightning.ErrTxNotWritable)
	})
}

func TestBucket_ForEach_OrderAndErrors(t *testing.T) {
	db := openDB(t, nil)
	stop := errors.New("stop")
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		for _, k := range []string{"c", "a", "e"} {
			mustPut(t, b, k, "v"+k)
		}
		mustNest(t, b, "d")
		mustNest(t, b, "b")
		var all, buckets []string
		err := b.ForEach(func(k, v []byte) error {
			all = append(all, fmt.Sprintf("%s=%s nil=%v", k, v, v == nil))
			return nil
		})
		want := []string{"a=va nil=false", "b= nil=true", "c=vc nil=false", "d= nil=true", "e=ve nil=false"}
		if err != nil || !reflect.DeepEqual(all, want) {
			t.Errorf("ForEach: got %v (error %v), want %v", all, err, want)
		}
		err = b.ForEachBucket(func(k []byte) error { buckets = append(buckets, string(k)); return nil })
		if want := []string{"b", "d"}; err != nil || !reflect.DeepEqual(buckets, want) {
			t.Errorf("ForEachBucket: got %v (error %v), want %v", buckets, err, want)
		}
		if err := b.ForEach(func(_, _ []byte) error { return stop }); err != stop {
			t.Errorf("ForEach: got %v, want the function's own error", err)
		}
		if err := b.ForEachBucket(func([]byte) error { return stop }); err != stop {
			t.Errorf("ForEachBucket: got %v, want the function's own error", err)
		}
	})
}

// What a ForEach that changes its bucket visits is not defined. That it ends, and harms nothing, is.
func TestBucket_ForEach_WhileMutating(t *testing.T) {
	db := openDB(t, nil)
	const keys = 1000
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		for i := range keys {
			mustPut(t, b, numberedKey(i), "v")
		}
	})
	want := map[string]string{}
	for i := range keys {
		want[numberedKey(i)] = "v"
	}
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		n := 0
		err := b.ForEach(func(k, v []byte) error {
			key := string(k)
			switch n++; n % 4 {
			case 0:
				delete(want, key)
				return b.Delete(k)
			case 1:
				want[key] = key + "!"
				return b.Put(k, append(k, '!'))
			case 2:
				before := "a" + key // sorts before every key there is
				want[before] = key
				return b.Put([]byte(before), k)
			}
			return nil
		})
		if err != nil {
			t.Errorf("ForEach: %v", err)
		}
	})
	mustView(t, db, func(tx *lightning.Tx) {
		got := map[string]string{}
		err := mustBucket(t, tx, "b").ForEach(func(k, v []byte) error { got[string(k)] = string(v); return nil })
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("after the changes: %d keys (error %v), want %d", len(got), err, len(want))
		}
	})
}

func TestBucket_MoveBucket(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		a := mustCreate(t, tx, "a")
		mustCreate(t, tx, "b")
		child := mustNest(t, a, "child")
		if err := child.SetSequence(5); err != nil {
			t.Fatal(err)
		}
		mustPut(t, child, "k", "v")
		deep := mustNest(t, child, "deep")
		for i := range 2000 {
			mustPut(t, deep, numberedKey(i), "v")
		}
	})
	moves := []struct {
		what     string
		src, dst []string
	}{
		{"into another bucket", []string{"a"}, []string{"b"}},
		{"to the top", []string{"b"}, nil},
		{"from the top", nil, []string{"a"}},
	}
	for _, move := range moves {
		mustUpdate(t, db, func(tx *lightning.Tx) {
			var src, dst *lightning.Bucket
			if move.src != nil {
				src = mustBucket(t, tx, move.src...)
			}
			if move.dst != nil {
				dst = mustBucket(t, tx, move.dst...)
			}
			if err := tx.MoveBucket([]byte("child"), src, dst); err != nil {
				t.Errorf("MoveBucket %s: %v", move.what, err)
			}
		})
		mustView(t, db, func(tx *lightning.Tx) {
			if len(move.src) > 0 && mustBucket(t, tx, move.src...).Bucket([]byte("child")) != nil {
				t.Errorf("%s: the source still has the bucket", move.what)
			}
			child := mustBucket(t, tx, append(append([]string{}, move.dst...), "child")...)
			wantValue(t, child, "k", "v")
			if got := child.Sequence(); got != 5 {
				t.Errorf("%s: sequence %d, want 5", move.what, got)
			}
			for i := range 2000 {
				wantValue(t, mustBucket(t, tx, append(append([]string{}, move.dst...), "child", "deep")...), numberedKey(i), "v")
			}
		})
		checkDB(t, db)
	}
}

func TestBucket_MoveBucket_Errors(t *testing.T) {
	db, elsewhere := openDB(t, nil), openDB(t, nil)
	mustUpdate(t, elsewhere, func(tx *lightning.Tx) { mustCreate(t, tx, "b") })
	mustUpdate(t, db, func(tx *lightning.Tx) {
		a, b := mustCreate(t, tx, "a"), mustCreate(t, tx, "b")
		mustNest(t, a, "x")
		mustNest(t, a, "y")
		mustPut(t, a, "plain", "v")
		mustNest(t, b, "x")
		mustPut(t, b, "y", "v")
	})
	mustUpdate(t, db, func(tx *lightning.Tx) {
		a, b := mustBucket(t, tx, "a"), mustBucket(t, tx, "b")
		wantErr(t, "missing", a.MoveBucket([]byte("missing"), b), lightning.ErrBucketNotFound)
		wantErr(t, "a plain key", a.MoveBucket([]byte("plain"), b), lightning.ErrIncompatibleValue)
		wantErr(t, "onto a bucket", a.MoveBucket([]byte("x"), b), lightning.ErrBucketExists)
		wantErr(t, "onto a plain key", a.MoveBucket([]byte("y"), b), lightning.ErrIncompatibleValue)
		wantErr(t, "to itself", a.MoveBucket([]byte("x"), a), lightning.ErrSameBuckets)
		mustUpdate(t, elsewhere, func(other *lightning.Tx) {
			wantErr(t, "to another database", a.MoveBucket([]byte("x"), mustBucket(t, other, "b")), lightning.ErrDifferentDB)
		})
		mustBucket(t, tx, "a", "x")
		mustBucket(t, tx, "a", "y")
	})
	mustView(t, db, func(tx *lightning.Tx) {
		err := mustBucket(t, tx, "a").MoveBucket([]byte("x"), mustBucket(t, tx, "b"))
		wantErr(t, "in a read tx", err, lightning.ErrTxNotWritable)
	})
}

// bbolt moved the bucket as it was at the last commit, and lost what the transaction had changed in it.
func TestBucket_MoveBucket_KeepsChangesOfTheSameTx(t *testing.T) {
	for _, big := range []bool{false, true} {
		db := openDB(t, nil)
		mustUpdate(t, db, func(tx *lightning.Tx) {
			child := mustNest(t, mustCreate(t, tx, "a"), "child")
			mustPut(t, child, "old", "v")
			mustPut(t, mustNest(t, child, "deep"), "old", "v")
			for i := 0; big && i < 2000; i++ {
				mustPut(t, child, numberedKey(i), "v")
			}
		})
		mustUpdate(t, db, func(tx *lightning.Tx) {
			b := mustCreate(t, tx, "b")
			child := mustBucket(t, tx, "a", "child")
			mustPut(t, child, "new", "v")
			mustPut(t, child, "old", "changed")
			mustPut(t, child.Bucket([]byte("deep")), "new", "v")
			if _, err := child.NextSequence(); err != nil {
				t.Fatal(err)
			}
			if err := mustBucket(t, tx, "a").MoveBucket([]byte("child"), b); err != nil {
				t.Fatalf("MoveBucket: %v", err)
			}
			moved := mustBucket(t, tx, "b", "child")
			wantValue(t, moved, "new", "v")
			mustPut(t, moved, "after", "v")
		})
		mustView(t, db, func(tx *lightning.Tx) {
			moved := mustBucket(t, tx, "b", "child")
			wantValue(t, moved, "old", "changed")
			wantValue(t, moved, "new", "v")
			wantValue(t, moved, "after", "v")
			wantValue(t, moved.Bucket([]byte("deep")), "new", "v")
			wantValue(t, moved.Bucket([]byte("deep")), "old", "v")
			if got := moved.Sequence(); got != 1 {
				t.Errorf("Sequence: got %d, want 1", got)
			}
		})
		checkDB(t, db)
	}
}

// bbolt cut the bucket off the tree when it was moved into itself.
func TestBucket_MoveBucket_RefusesItsOwnDescendant(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		mustPut(t, mustNest(t, mustNest(t, mustCreate(t, tx, "a"), "b"), "c"), "k", "v")
	})
	want := dumpDB(t, db)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		a := mustBucket(t, tx, "a")
		for what, err := range map[string]error{
			"a into a":     tx.MoveBucket([]byte("a"), nil, a),
			"a into a/b":   tx.MoveBucket([]byte("a"), nil, mustBucket(t, tx, "a", "b")),
			"a into a/b/c": tx.MoveBucket([]byte("a"), nil, mustBucket(t, tx, "a", "b", "c")),
			"b into b":     a.MoveBucket([]byte("b"), mustBucket(t, tx, "a", "b")),
			"b into b/c":   a.MoveBucket([]byte("b"), mustBucket(t, tx, "a", "b", "c")),
		} {
			if err == nil {
				t.Errorf("moving %s: got nil, want an error", what)
			}
		}
	})
	if got := dumpDB(t, db); got != want {
		t.Errorf("after refused moves: got %s, want %s", got, want)
	}
}

func TestBucket_FillPercent(t *testing.T) {
	db := openDB(t, nil)
	leaves := map[float64]int{}
	for _, fill := range []float64{-1, 0.1, lightning.DefaultFillPercent, 0.9, 1, 7} {
		name := fmt.Sprint("b", fill)
		mustUpdate(t, db, func(tx *lightning.Tx) {
			b := mustCreate(t, tx, name)
			if b.FillPercent != lightning.DefaultFillPercent {
				t.Errorf("FillPercent: got %v, want the default", b.FillPercent)
			}
			b.FillPercent = fill
			for i := range 2000 {
				mustPut(t, b, numberedKey(i), strings.Repeat("v", 50))
			}
		})
		mustView(t, db, func(tx *lightning.Tx) {
			stats := mustBucket(t, tx, name).Stats()
			if stats.KeyN != 2000 {
				t.Errorf("FillPercent %v: KeyN %d, want 2000", fill, stats.KeyN)
			}
			leaves[fill] = stats.LeafPageN
		})
	}
	if leaves[1] > leaves[0.1] || leaves[0.9] > leaves[0.1] {
		t.Errorf("leaf pages by FillPercent: %v, want no more of them when they are fuller", leaves)
	}
}

func TestBucket_Stats(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		for i := range 5000 {
			mustPut(t, b, numberedKey(i), strings.Repeat("v", 100))
		}
		mustPut(t, b, "big", strings.Repeat("v", 1<<20))
		mustPut(t, mustNest(t, b, "inline"), "k", "v")
	})
	mustView(t, db, func(tx *lightning.Tx) {
		got := mustBucket(t, tx, "b").Stats()
		if got.BucketN != 2 || got.InlineBucketN != 1 || got.InlineBucketInuse == 0 {
			t.Errorf("buckets: got %+v, want 2, one of them inline", got)
		}
		if got.KeyN < 5002 || got.Depth < 2 || got.LeafPageN < 50 || got.BranchPageN < 1 {
			t.Errorf("tree: got %+v, want 5000 keys and more on at least two levels", got)
		}
		if got.LeafInuse < 5000*100 || got.LeafInuse > got.LeafAlloc || got.BranchInuse > got.BranchAlloc {
			t.Errorf("bytes: got %+v, want the data in use, and no more in use than allocated", got)
		}
	})
}
