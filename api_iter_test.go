package lightning_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
)

func collect(seq iter.Seq2[[]byte, []byte]) []string {
	var got []string
	for k, v := range seq {
		if v == nil {
			got = append(got, string(k)+":bucket")
		} else {
			got = append(got, fmt.Sprintf("%s=%s", k, v))
		}
	}
	return got
}

func TestBucket_Iterators(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		for _, k := range []string{"a", "ab", "abc", "b", "\xff", "\xff\xff", "\xff\xffx"} {
			mustPut(t, b, k, "v")
		}
		mustNest(t, b, "aa")
	})
	all := []string{"a=v", "aa:bucket", "ab=v", "abc=v", "b=v", "\xff=v", "\xff\xff=v", "\xff\xffx=v"}
	backward := slices.Clone(all)
	slices.Reverse(backward)
	mustView(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		for name, tt := range map[string]struct {
			seq  iter.Seq2[[]byte, []byte]
			want []string
		}{
			"All":                  {b.All(), all},
			"Backward":             {b.Backward(), backward},
			"Range open":           {b.Range(nil, nil), all},
			"Range from":           {b.Range([]byte("abc"), nil), all[3:]},
			"Range from between":   {b.Range([]byte("abb"), nil), all[3:]},
			"Range to":             {b.Range(nil, []byte("ab")), all[:2]},
			"Range from to":        {b.Range([]byte("aa"), []byte("b")), all[1:4]},
			"Range empty":          {b.Range([]byte("ab"), []byte("ab")), nil},
			"Range turned round":   {b.Range([]byte("b"), []byte("a")), nil},
			"Prefix a":             {b.Prefix([]byte("a")), all[:4]},
			"Prefix ab":            {b.Prefix([]byte("ab")), all[2:4]},
			"Prefix missing":       {b.Prefix([]byte("c")), nil},
			"Prefix of all 0xff":   {b.Prefix([]byte("\xff\xff")), all[6:]},
			"Prefix of one 0xff":   {b.Prefix([]byte("\xff")), all[5:]},
			"Prefix empty":         {b.Prefix([]byte{}), all},
			"Prefix nil":           {b.Prefix(nil), all},
			"Prefix that is a key": {b.Prefix([]byte("\xff\xffx")), all[7:]},
		} {
			for range 2 { // a sequence can be walked again
				if got := collect(tt.seq); !reflect.DeepEqual(got, tt.want) {
					t.Errorf("%s: got %q, want %q", name, got, tt.want)
				}
			}
		}
		if err := tx.Err(); err != nil {
			t.Errorf("Err: %v", err)
		}
	})
}

func TestBucket_Iterators_StopEarly(t *testing.T) {
	db := openDB(t, nil)
	fillBucket(t, db, 3000)
	mustView(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		for name, seq := range map[string]iter.Seq2[[]byte, []byte]{
			"All": b.All(), "Backward": b.Backward(), "Prefix": b.Prefix([]byte("key")),
			"Range": b.Range([]byte(numberedKey(7)), nil),
		} {
			n := 0
			for range seq {
				if n++; n == 2000 {
					break
				}
			}
			if n != 2000 {
				t.Errorf("%s: got %d keys, want to stop after 2000", name, n)
			}
		}
	})
}

func TestBucket_Iterators_DeletingWhatTheyYield(t *testing.T) {
	const keys = 2000
	for name, seq := range map[string]func(b *lightning.Bucket) iter.Seq2[[]byte, []byte]{
		"All":      (*lightning.Bucket).All,
		"Backward": (*lightning.Bucket).Backward,
	} {
		db := openDB(t, nil)
		fillBucket(t, db, keys)
		mustUpdate(t, db, func(tx *lightning.Tx) {
			b := mustBucket(t, tx, "b")
			for k := range seq(b) {
				if err := b.Delete(k); err != nil {
					t.Fatalf("Delete: %v", err)
				}
			}
			if got := b.Len(); got != 0 {
				t.Errorf("%s: Len after deleting each key: got %d, want 0", name, got)
			}
		})
	}
}

func TestBucket_DeleteRange(t *testing.T) {
	const keys = 3000
	for _, tt := range []struct {
		name       string
		from, to   []byte
		first, end int // the keys that go
	}{
		{"all", nil, nil, 0, keys},
		{"from", []byte(numberedKey(2500)), nil, 2500, keys},
		{"to", nil, []byte(numberedKey(1)), 0, 1},
		{"middle", []byte(numberedKey(10)), []byte(numberedKey(2990)), 10, 2990},
		{"between keys", []byte(numberedKey(10) + "x"), []byte(numberedKey(20) + "x"), 11, 21},
		{"empty", []byte(numberedKey(5)), []byte(numberedKey(5)), 0, 0},
		{"turned round", []byte(numberedKey(6)), []byte(numberedKey(5)), 0, 0},
		{"before all", nil, []byte("a"), 0, 0},
		{"behind all", []byte("z"), nil, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			db := openDB(t, nil)
			fillBucket(t, db, keys)
			mustUpdate(t, db, func(tx *lightning.Tx) {
				mustPut(t, mustBucket(t, tx, "b"), numberedKey(0), strings.Repeat("big", 50_000))
			})
			mustUpdate(t, db, func(tx *lightning.Tx) {
				b := mustBucket(t, tx, "b")
				got, err := b.DeleteRange(tt.from, tt.to)
				if err != nil || got != tt.end-tt.first {
					t.Errorf("DeleteRange: got %d (error %v), want %d", got, err, tt.end-tt.first)
				}
				if got, want := b.Len(), keys-(tt.end-tt.first); got != want {
					t.Errorf("Len: got %d, want %d", got, want)
				}
			})
			mustView(t, db, func(tx *lightning.Tx) {
				b := mustBucket(t, tx, "b")
				for i := range keys {
					if got, want := b.Get([]byte(numberedKey(i))) == nil, i >= tt.first && i < tt.end; got != want {
						t.Fatalf("key %d: gone is %v, want %v", i, got, want)
					}
				}
			})
			checkDB(t, db)
		})
	}
}

func TestBucket_DeleteRange_Errors(t *testing.T) {
	db := openDB(t, nil)
	fillBucket(t, db, 2000)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		mustPut(t, mustNest(t, mustBucket(t, tx, "b"), numberedKey(1500)+"+"), "k", "v")
	})
	want := dumpDB(t, db)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		n, err := b.DeleteRange([]byte(numberedKey(100)), nil)
		wantErr(t, "DeleteRange over a bucket", err, lightning.ErrIncompatibleValue)
		if n != 0 || b.Len() != 2001 {
			t.Errorf("DeleteRange over a bucket: %d deleted, Len %d, want 0 and 2001", n, b.Len())
		}
	})
	if got := dumpDB(t, db); got != want {
		t.Error("a refused DeleteRange changed something")
	}
	mustView(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		_, err := b.DeleteRange(nil, nil)
		wantErr(t, "DeleteRange in a read tx", err, lightning.ErrTxNotWritable)
		wantErr(t, "Clear in a read tx", b.Clear(), lightning.ErrTxNotWritable)
	})
	tx := mustBegin(t, db, true)
	b := mustBucket(t, tx, "b")
	mustRollback(t, tx)
	_, err := b.DeleteRange(nil, nil)
	wantErr(t, "DeleteRange after the end", err, lightning.ErrTxClosed)
	wantErr(t, "Clear after the end", b.Clear(), lightning.ErrTxClosed)
}

func TestBucket_Clear(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		if err := b.SetSequence(12); err != nil {
			t.Fatal(err)
		}
		deep := mustNest(t, mustNest(t, b, "n1"), "n2")
		for i := range 2000 {
			mustPut(t, b, numberedKey(i), strings.Repeat("v", i%300))
			mustPut(t, deep, numberedKey(i), "v")
		}
		mustPut(t, mustCreate(t, tx, "other"), "k", "v")
	})
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		mustPut(t, mustBucket(t, tx, "b", "n1"), "dirty", "v")
		if err := b.Clear(); err != nil {
			t.Fatalf("Clear: %v", err)
		}
		if b.Len() != 0 || b.Sequence() != 12 || b.Bucket([]byte("n1")) != nil {
			t.Errorf("after Clear: Len %d, Sequence %d, want 0 and 12, and no bucket", b.Len(), b.Sequence())
		}
		mustPut(t, b, "again", "v")
		mustNest(t, b, "n1")
	})
	if got, want := dumpDB(t, db), ` "b":{seq=12 "again"="v" "n1":{seq=0}} "other":{seq=0 "k"="v"}`; got != want {
		t.Errorf("after the commit: got %.300s, want %s", got, want)
	}
	checkDB(t, db)
}

func TestBucket_Len(t *testing.T) {
	db := openDB(t, nil)
	want := func(b *lightning.Bucket, n int) {
		t.Helper()
		if got := b.Len(); got != n {
			t.Errorf("Len: got %d, want %d", got, n)
		}
	}
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		want(b, 0)
		mustPut(t, b, "k", "v")
		mustPut(t, b, "k", "w")
		want(b, 1)
		child := mustNest(t, b, "n")
		want(b, 2)
		mustPut(t, child, "k", "v")
		want(b, 2)
		for range 2 {
			if err := b.Delete([]byte("k")); err != nil {
				t.Fatal(err)
			}
			want(b, 1)
		}
		for i := range 5000 {
			mustPut(t, b, numberedKey(i), "v")
		}
		want(b, 5001)
		want(tx.Cursor().Bucket(), 1)
		if err := tx.MoveBucket([]byte("n"), b, nil); err != nil {
			t.Fatal(err)
		}
		want(b, 5000)
		want(tx.Cursor().Bucket(), 2)
	})
	db = reopen(t, db, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		want(b, 5000)
		c := b.Cursor()
		c.First()
		if err := c.Delete(); err != nil {
			t.Fatal(err)
		}
		want(b, 4999)
		if err := tx.DeleteBucket([]byte("n")); err != nil {
			t.Fatal(err)
		}
		want(tx.Cursor().Bucket(), 1)
	})
}

func TestDB_BeginContext_GivesUpWaiting(t *testing.T) {
	db := openDB(t, nil)
	writer := mustBegin(t, db, true)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := db.BeginContext(ctx, true)
		wantErr(t, "BeginContext behind a writer", err, context.Canceled)
		err = db.UpdateContext(ctx, func(*lightning.Tx) error { t.Error("the function ran"); return nil })
		wantErr(t, "UpdateContext after the cancel", err, context.Canceled)
	}()
	cancel()
	waitFor(t, "BeginContext", done)
	mustRollback(t, writer)

	_, err := db.BeginContext(ctx, false)
	wantErr(t, "BeginContext(read) after the cancel", err, context.Canceled)
	err = db.ViewContext(ctx, func(*lightning.Tx) error { t.Error("the function ran"); return nil })
	wantErr(t, "ViewContext after the cancel", err, context.Canceled)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustCreate(t, tx, "b") })
}

func TestDB_BeginContext_Deadline(t *testing.T) {
	db := openDB(t, nil)
	writer := mustBegin(t, db, true)
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	err := db.UpdateContext(ctx, func(*lightning.Tx) error { return nil })
	wantErr(t, "UpdateContext behind a writer", err, context.DeadlineExceeded)
	mustRollback(t, writer)
}

func TestDB_Context_RunsNormally(t *testing.T) {
	db := openDB(t, nil)
	ctx := context.Background()
	refused := errors.New("refused")
	err := db.UpdateContext(ctx, func(tx *lightning.Tx) error { mustCreate(t, tx, "b"); return nil })
	if err != nil {
		t.Errorf("UpdateContext: %v", err)
	}
	err = db.UpdateContext(ctx, func(tx *lightning.Tx) error { mustCreate(t, tx, "gone"); return refused })
	wantErr(t, "UpdateContext", err, refused)
	err = db.ViewContext(ctx, func(tx *lightning.Tx) error {
		mustBucket(t, tx, "b")
		if tx.Bucket([]byte("gone")) != nil {
			t.Error("a rolled back bucket is there")
		}
		return refused
	})
	wantErr(t, "ViewContext", err, refused)
	tx, err := db.BeginContext(ctx, true)
	if err != nil {
		t.Fatalf("BeginContext: %v", err)
	}
	mustCreate(t, tx, "c")
	mustCommit(t, tx)
}

func TestOptions_Durability_DataIsKeptOverAClose(t *testing.T) {
	for _, mode := range []lightning.Durability{{}, lightning.Sync, lightning.NoSync, lightning.Periodic(time.Millisecond)} {
		db := openDB(t, &lightning.Options{Durability: mode})
		for i := range 20 {
			mustUpdate(t, db, func(tx *lightning.Tx) {
				b, err := tx.CreateBucketIfNotExists([]byte("b"))
				if err != nil {
					t.Fatal(err)
				}
				mustPut(t, b, numberedKey(i), "v")
			})
		}
		want := dumpDB(t, db)
		db = reopen(t, db, nil)
		if got := dumpDB(t, db); got != want {
			t.Errorf("%v: after reopen: got %s, want %s", mode, got, want)
		}
	}
}

func TestTx_Check_ContextEnds(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		for i := range 5000 {
			mustPut(t, b, numberedKey(i), "v")
		}
	})
	mustView(t, db, func(tx *lightning.Tx) {
		ctx, cancel := context.WithCancel(context.Background())
		var seen int64
		var last error
		step := func(done, total int64) {
			if seen = done; done == 3 {
				cancel()
			}
		}
		for err := range tx.Check(lightning.WithCheckContext(ctx), lightning.WithCheckProgress(step)) {
			last = err
		}
		if !errors.Is(last, context.Canceled) || seen != 3 {
			t.Errorf("Check: got %v after %d pages, want %v after 3", last, seen, context.Canceled)
		}
	})
}
