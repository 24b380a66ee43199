package lightning_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	lightning "github.com/lightning-db/lightning"
)

func TestDB_Close_TwiceAndAfter(t *testing.T) {
	db := openDB(t, nil)
	for i := range 2 {
		if err := db.Close(); err != nil {
			t.Errorf("Close number %d: %v", i+1, err)
		}
	}
	if got := db.Path(); got != "" {
		t.Errorf("Path after Close: got %q, want none", got)
	}
	wantNotOpen(t, db)
}

func TestDB_Zero_IsNotOpen(t *testing.T) {
	var db lightning.DB
	wantNotOpen(t, &db)
	if err := db.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if got := db.Stats(); got != (lightning.Stats{}) {
		t.Errorf("Stats: got %+v, want zero", got)
	}
	if got, want := db.String(), `DB<"">`; got != want {
		t.Errorf("String: got %s, want %s", got, want)
	}
	if db.Logger() == nil {
		t.Error("Logger: got nil, want one that discards")
	}
}

func wantNotOpen(t *testing.T, db *lightning.DB) {
	t.Helper()
	ran := func(*lightning.Tx) error { t.Error("the function ran on a database that is not open"); return nil }
	for _, writable := range []bool{false, true} {
		_, err := db.Begin(writable)
		wantErr(t, fmt.Sprintf("Begin(%v)", writable), err, lightning.ErrDatabaseNotOpen)
	}
	wantErr(t, "View", db.View(ran), lightning.ErrDatabaseNotOpen)
	wantErr(t, "Update", db.Update(ran), lightning.ErrDatabaseNotOpen)
	wantErr(t, "Batch", db.Batch(ran), lightning.ErrDatabaseNotOpen)
	if err := db.Sync(); err == nil {
		t.Error("Sync: got nil, want an error")
	}
}

func TestDB_Close_WaitsForOpenTransactions(t *testing.T) {
	for _, writable := range []bool{false, true} {
		t.Run(fmt.Sprintf("writable=%v", writable), func(t *testing.T) {
			db := openDB(t, nil)
			mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustCreate(t, tx, "b"), "k", "v") })
			tx := mustBegin(t, db, writable)
			b := mustBucket(t, tx, "b")

			closed := make(chan struct{})
			go func() {
				defer close(closed)
				if err := db.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}()
			for range 100 {
				runtime.Gosched()
				wantValue(t, b, "k", "v")
			}
			select {
			case <-closed:
				t.Fatal("Close returned while a transaction was open")
			default:
			}
			if writable {
				mustPut(t, b, "k", "late")
				mustCommit(t, tx)
			} else {
				mustRollback(t, tx)
			}
			waitFor(t, "Close", closed)
			_, err := db.Begin(false)
			wantErr(t, "Begin after Close", err, lightning.ErrDatabaseNotOpen)
		})
	}
}

// A Begin that meets a waiting Close must neither hang for ever nor get a dead transaction.
func TestDB_Begin_BesideAWaitingClose(t *testing.T) {
	db := openDB(t, nil)
	tx := mustBegin(t, db, false)
	var wg sync.WaitGroup
	for _, writable := range []bool{false, true} {
		wg.Go(func() {
			for {
				other, err := db.Begin(writable)
				if err != nil {
					wantErr(t, "Begin", err, lightning.ErrDatabaseNotOpen)
					return
				}
				if err := other.Rollback(); err != nil {
					t.Errorf("Rollback: %v", err)
				}
			}
		})
	}
	wg.Go(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	runtime.Gosched()
	mustRollback(t, tx)
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	waitFor(t, "Begin or Close", done)
}

func TestDB_Update_CommitsOrRollsBack(t *testing.T) {
	db := openDB(t, nil)
	refused := errors.New("refused")
	err := db.Update(func(tx *lightning.Tx) error {
		mustCreate(t, tx, "gone")
		return refused
	})
	if err != refused {
		t.Errorf("Update: got %v, want the function's own error", err)
	}
	mustUpdate(t, db, func(tx *lightning.Tx) {
		if tx.Bucket([]byte("gone")) != nil {
			t.Error("a rolled back bucket is there")
		}
		mustCreate(t, tx, "kept")
	})
	err = db.View(func(tx *lightning.Tx) error {
		mustBucket(t, tx, "kept")
		return refused
	})
	if err != refused {
		t.Errorf("View: got %v, want the function's own error", err)
	}
}

func TestDB_UpdateAndView_PanicIsRaisedAgain(t *testing.T) {
	db := openDB(t, nil)
	value := &struct{ n int }{7}
	got := recovered(func() {
		db.Update(func(tx *lightning.Tx) error { mustCreate(t, tx, "gone"); panic(value) })
	})
	if got != value {
		t.Errorf("Update: recovered %v, want the value of the panic itself", got)
	}
	got = recovered(func() { db.View(func(*lightning.Tx) error { panic(value) }) })
	if got != value {
		t.Errorf("View: recovered %v, want the value of the panic itself", got)
	}
	got = recovered(func() { db.Update(func(*lightning.Tx) error { panic(nil) }) })
	if _, ok := got.(*runtime.PanicNilError); !ok {
		t.Errorf("Update, panic(nil): recovered %v, want a *runtime.PanicNilError", got)
	}
	var empty []int
	got = recovered(func() { db.Update(func(*lightning.Tx) error { empty[len(empty)]++; return nil }) })
	if _, ok := got.(runtime.Error); !ok {
		t.Errorf("Update, index out of range: recovered %v, want a runtime.Error", got)
	}
	wantUnlocked(t, db)
}

// wantUnlocked checks that a function that did not return normally left nothing locked and nothing behind.
func wantUnlocked(t *testing.T, db *lightning.DB) {
	t.Helper()
	mustUpdate(t, db, func(tx *lightning.Tx) {
		if tx.Bucket([]byte("gone")) != nil {
			t.Error("a change of the transaction that was not committed is there")
		}
		if _, err := tx.CreateBucketIfNotExists([]byte("next")); err != nil {
			t.Errorf("CreateBucketIfNotExists: %v", err)
		}
	})
	if got := db.Stats().OpenTxN; got != 0 {
		t.Errorf("OpenTxN: got %d, want 0", got)
	}
}

func TestDB_UpdateAndView_Goexit(t *testing.T) {
	db := openDB(t, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		db.Update(func(tx *lightning.Tx) error {
			if _, err := tx.CreateBucket([]byte("gone")); err != nil {
				t.Errorf("CreateBucket: %v", err)
			}
			runtime.Goexit()
			return nil
		})
	}()
	waitFor(t, "Update", done)
	done = make(chan struct{})
	go func() {
		defer close(done)
		db.View(func(*lightning.Tx) error { runtime.Goexit(); return nil })
	}()
	waitFor(t, "View", done)
	wantUnlocked(t, db)
}

func TestDB_UpdateAndView_ManualEndPanics(t *testing.T) {
	db := openDB(t, nil)
	runners := map[string]func(func(*lightning.Tx) error) error{"Update": db.Update, "View": db.View}
	ends := map[string]func(*lightning.Tx) error{"Commit": (*lightning.Tx).Commit, "Rollback": (*lightning.Tx).Rollback}
	for runner, run := range runners {
		for name, end := range ends {
			if recovered(func() { run(end) }) == nil {
				t.Errorf("%s by hand inside %s: got no panic, want one", name, runner)
			}
		}
	}
	wantUnlocked(t, db)
}

func TestDB_NoSync_SwitchedOnALiveHandle(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustCreate(t, tx, "b") })
	for i := range 20 {
		db.NoSync = i%3 != 0
		mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustBucket(t, tx, "b"), numberedKey(i), "v") })
	}
	db.NoSync = true
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustBucket(t, tx, "b"), "last", "v") })
	if err := db.Sync(); err != nil {
		t.Errorf("Sync: %v", err)
	}
	db = reopen(t, db, nil)
	mustView(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		wantValue(t, b, "last", "v")
		for i := range 20 {
			wantValue(t, b, numberedKey(i), "v")
		}
	})
}

func TestDB_Stats_CountsTransactions(t *testing.T) {
	db := openDB(t, nil)
	before := db.Stats()
	first, second := mustBegin(t, db, false), mustBegin(t, db, false)
	if got := db.Stats().OpenTxN; got != 2 {
		t.Errorf("OpenTxN with two readers: got %d, want 2", got)
	}
	mustRollback(t, first)
	if got := db.Stats().OpenTxN; got != 1 {
		t.Errorf("OpenTxN with one reader: got %d, want 1", got)
	}
	mustRollback(t, second)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustCreate(t, tx, "b"), "k", "v") })
	mustView(t, db, func(tx *lightning.Tx) { mustBucket(t, tx, "b").Cursor().First() })

	after := db.Stats()
	diff := after.Sub(&before)
	if after.OpenTxN != 0 || diff.TxN != 3 {
		t.Errorf("OpenTxN %d, TxN %d: want 0 open and 3 started", after.OpenTxN, diff.TxN)
	}
	if diff.TxStats.GetWrite() < 1 || diff.TxStats.GetCursorCount() < 1 {
		t.Errorf("TxStats: got %+v, want writes and cursors counted", diff.TxStats)
	}
}

func TestDB_Stats_FreePages(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		for i := range 2000 {
			mustPut(t, b, numberedKey(i), strings.Repeat("v", 200))
		}
	})
	mustUpdate(t, db, func(tx *lightning.Tx) {
		if err := tx.DeleteBucket([]byte("b")); err != nil {
			t.Fatalf("DeleteBucket: %v", err)
		}
	})
	got := db.Stats()
	if deleted := 2000 * 200 / db.Info().PageSize; got.FreePageN+got.PendingPageN < deleted/2 {
		t.Errorf("FreePageN %d + PendingPageN %d: want most of the %d deleted pages", got.FreePageN, got.PendingPageN, deleted)
	}

	path := db.Path()
	if err := db.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	db, err := lightning.Open(path, 0o600, &lightning.Options{ReadOnly: true})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer db.Close()
	if ro := db.Stats(); ro.FreePageN != got.FreePageN+got.PendingPageN || ro.FreeAlloc != got.FreeAlloc {
		t.Errorf("read-only: FreePageN %d, FreeAlloc %d, want %d and %d", ro.FreePageN, ro.FreeAlloc, got.FreePageN+got.PendingPageN, got.FreeAlloc)
	}
}

func TestDB_NoStatistics(t *testing.T) {
	db := openDB(t, &lightning.Options{NoStatistics: true})
	mustUpdate(t, db, func(tx *lightning.Tx) { mustCreate(t, tx, "b") })
	mustView(t, db, func(tx *lightning.Tx) { tx.Cursor().First() })
	if got := db.Stats(); got != (lightning.Stats{}) {
		t.Errorf("Stats: got %+v, want zero", got)
	}
}

func TestDB_MaxSize(t *testing.T) {
	const limit = 1 << 20
	fill := func(tx *lightning.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("b"))
		if err != nil {
			return err
		}
		for i := range 64 {
			if err := b.Put([]byte(numberedKey(i)), make([]byte, 100_000)); err != nil {
				return err
			}
		}
		return nil
	}
	db := openDB(t, &lightning.Options{MaxSize: limit})
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustCreate(t, tx, "small"), "k", "v") })
	for i := range 3 {
		wantErr(t, "Update beyond MaxSize", db.Update(fill), lightning.ErrMaxSizeReached)
		info, err := os.Stat(db.Path())
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > limit {
			t.Errorf("file size: got %d, want at most %d", info.Size(), limit)
		}
		mustUpdate(t, db, func(tx *lightning.Tx) {
			mustPut(t, mustBucket(t, tx, "small"), numberedKey(i), "v")
			wantValue(t, mustBucket(t, tx, "small"), "k", "v")
		})
	}
	db.MaxSize = 0
	if err := db.Update(fill); err != nil {
		t.Errorf("Update after the limit was lifted: %v", err)
	}
	mustView(t, db, func(tx *lightning.Tx) { mustBucket(t, tx, "small") })
}

// bbolt must map the file anew to grow it, and waits for the readers to do so: a reader and a growing
// writer in one goroutine never came to an end.
func TestDB_Update_GrowsBesideAnOpenReader(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustCreate(t, tx, "b"), "k", "old") })
	reader := mustBegin(t, db, false)
	b := mustBucket(t, reader, "b")
	old := b.Get([]byte("k"))
	for i := range 24 {
		mustUpdate(t, db, func(tx *lightning.Tx) {
			mustPut(t, mustBucket(t, tx, "b"), "k", "new")
			mustPut(t, mustBucket(t, tx, "b"), numberedKey(i), strings.Repeat("v", 1<<20))
		})
	}
	if string(old) != "old" {
		t.Errorf("slice of the reader: got %q, want old", old)
	}
	wantValue(t, b, "k", "old")
	mustRollback(t, reader)
}

func TestCompact_KeepsEverything(t *testing.T) {
	for _, txMaxSize := range []int64{0, 1, 64 << 10} {
		t.Run(fmt.Sprintf("txMaxSize=%d", txMaxSize), func(t *testing.T) {
			src, dst := openDB(t, &lightning.Options{PageSize: 8192}), openDB(t, nil)
			mustUpdate(t, src, func(tx *lightning.Tx) {
				a := mustCreate(t, tx, "a")
				if err := a.SetSequence(41); err != nil {
					t.Fatal(err)
				}
				for i := range 300 {
					mustPut(t, a, numberedKey(i), strings.Repeat("v", i*7))
				}
				mustPut(t, a, "empty", "")
				deep := mustNest(t, mustNest(t, a, "n1"), "n2")
				if err := deep.SetSequence(7); err != nil {
					t.Fatal(err)
				}
				mustPut(t, deep, "k", "deep")
				mustCreate(t, tx, "nothing in it")
			})
			if err := lightning.Compact(dst, src, txMaxSize); err != nil {
				t.Fatalf("Compact: %v", err)
			}
			want, got := dumpDB(t, src), dumpDB(t, dst)
			if got != want {
				t.Errorf("contents differ: got %d bytes, want %d bytes\ngot  %.300q\nwant %.300q", len(got), len(want), got, want)
			}
		})
	}
}

func TestCompact_ErrBucketExists(t *testing.T) {
	src, dst := openDB(t, nil), openDB(t, nil)
	for _, db := range []*lightning.DB{src, dst} {
		mustUpdate(t, db, func(tx *lightning.Tx) { mustCreate(t, tx, "b") })
	}
	wantErr(t, "Compact", lightning.Compact(dst, src, 0), lightning.ErrBucketExists)
}

// A compaction that is stopped leaves what it has committed, and src as it was.
func TestCompactContext_Stopped(t *testing.T) {
	src, dst := openDB(t, nil), openDB(t, nil)
	mustUpdate(t, src, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		for i := range 5000 {
			mustPut(t, b, numberedKey(i), "value")
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	stop()
	wantErr(t, "stopped before", lightning.CompactContext(ctx, dst, src, 0), context.Canceled)
	later := &endsLater{Context: t.Context(), asked: 40}
	wantErr(t, "stopped amid", lightning.CompactContext(later, dst, src, 1000), context.Canceled)
	checkDB(t, dst)
	mustView(t, dst, func(tx *lightning.Tx) {
		if b := tx.Bucket([]byte("b")); b == nil || b.Len() == 0 || b.Len() == 5000 {
			t.Error("nothing was copied, or all")
		}
	})
	fresh := openDB(t, nil)
	if err := lightning.CompactContext(t.Context(), fresh, src, 1000); err != nil {
		t.Fatal(err)
	}
	checkDB(t, fresh)
}

// endsLater is a context that ends when it was asked often enough.
type endsLater struct {
	context.Context
	asked int
}

func (c *endsLater) Err() error {
	if c.asked--; c.asked < 0 {
		return context.Canceled
	}
	return nil
}
