package lightning_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	lightning "github.com/lightning-db/lightning"
)

func TestTx_ID_RisesByOnePerCommit(t *testing.T) {
	db := openDB(t, nil)
	want := 1
	wantIDs := func() {
		t.Helper()
		mustView(t, db, func(tx *lightning.Tx) {
			if got := tx.ID(); got != want {
				t.Errorf("ID of a read tx: got %d, want %d", got, want)
			}
		})
		tx := mustBegin(t, db, true)
		if got := tx.ID(); got != want+1 {
			t.Errorf("ID of a write tx: got %d, want %d", got, want+1)
		}
		mustRollback(t, tx)
	}
	wantIDs()
	for i := range 6 {
		mustUpdate(t, db, func(tx *lightning.Tx) {
			want++
			if got := tx.ID(); got != want {
				t.Errorf("ID in Update: got %d, want %d", got, want)
			}
			if i%2 == 0 {
				mustCreate(t, tx, numberedKey(i))
			}
		})
		wantIDs()
		if err := db.Update(func(tx *lightning.Tx) error {
			mustCreate(t, tx, "gone")
			return errors.New("refused")
		}); err == nil {
			t.Error("Update: got nil, want the function's error")
		}
		wantIDs()
	}
	db = reopen(t, db, nil)
	wantIDs()
}

func TestTx_Closed(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustCreate(t, tx, "b") })
	ends := map[string]func(tx *lightning.Tx){
		"committed":   func(tx *lightning.Tx) { mustCommit(t, tx) },
		"rolled back": func(tx *lightning.Tx) { mustRollback(t, tx) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			tx := mustBegin(t, db, true)
			b := mustBucket(t, tx, "b")
			c := b.Cursor()
			end(tx)
			if got := tx.ID(); got != -1 {
				t.Errorf("ID: got %d, want -1", got)
			}
			k := []byte("k")
			_, errCreate := tx.CreateBucket(k)
			_, errCreateIf := tx.CreateBucketIfNotExists(k)
			_, errNest := b.CreateBucket(k)
			_, errNestIf := b.CreateBucketIfNotExists(k)
			_, errNext := b.NextSequence()
			for what, err := range map[string]error{
				"Commit":                         tx.Commit(),
				"Rollback":                       tx.Rollback(),
				"CreateBucket":                   errCreate,
				"CreateBucketIfNotExists":        errCreateIf,
				"DeleteBucket":                   tx.DeleteBucket(k),
				"MoveBucket":                     tx.MoveBucket(k, nil, b),
				"ForEach":                        tx.ForEach(func([]byte, *lightning.Bucket) error { return nil }),
				"Bucket.Put":                     b.Put(k, k),
				"Bucket.Delete":                  b.Delete(k),
				"Bucket.CreateBucket":            errNest,
				"Bucket.CreateBucketIfNotExists": errNestIf,
				"Bucket.DeleteBucket":            b.DeleteBucket(k),
				"Bucket.MoveBucket":              b.MoveBucket(k, b),
				"Bucket.NextSequence":            errNext,
				"Bucket.SetSequence":             b.SetSequence(1),
				"Bucket.ForEach":                 b.ForEach(func(_, _ []byte) error { return nil }),
				"Bucket.ForEachBucket":           b.ForEachBucket(func([]byte) error { return nil }),
				"Cursor.Delete":                  c.Delete(),
			} {
				wantErr(t, what, err, lightning.ErrTxClosed)
			}
			_, err := tx.Page(0)
			wantErr(t, "Page", err, lightning.ErrTxClosed)
		})
	}
}

func TestTx_Commit_ErrTxNotWritable_StaysOpen(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustCreate(t, tx, "b"), "k", "v") })
	tx := mustBegin(t, db, false)
	wantErr(t, "Commit of a read tx", tx.Commit(), lightning.ErrTxNotWritable)
	wantValue(t, mustBucket(t, tx, "b"), "k", "v")
	mustRollback(t, tx)
	wantErr(t, "Rollback again", tx.Rollback(), lightning.ErrTxClosed)
}

// etcd asks for the size and the statistics of a transaction after it has committed it.
func TestTx_SizeAndStats_AfterCommit(t *testing.T) {
	db := openDB(t, nil)
	tx := mustBegin(t, db, true)
	if tx.DB() != db || !tx.Writable() {
		t.Errorf("DB %p, Writable %v: want %p and true", tx.DB(), tx.Writable(), db)
	}
	b := mustCreate(t, tx, "b")
	for i := range 1000 {
		mustPut(t, b, numberedKey(i), strings.Repeat("v", 100))
	}
	mustCommit(t, tx)
	stats := tx.Stats()
	if stats.GetWrite() == 0 || stats.GetSpill() == 0 || stats.GetPageCount() == 0 {
		t.Errorf("Stats: got %+v, want writes, spilled and allocated pages", stats)
	}
	mustView(t, db, func(read *lightning.Tx) {
		if got := read.Size(); got < 1000*100 || got%int64(db.Info().PageSize) != 0 {
			t.Errorf("Size of a read tx: got %d, want whole pages that hold the data", got)
		}
		if read.Writable() {
			t.Error("Writable of a read tx: got true, want false")
		}
	})
}

// etcd reports the size of the database after the commit of its long write transaction.
func TestTx_Size_AfterCommit_DoesNotPanic(t *testing.T) {
	db := openDB(t, nil)
	tx := mustBegin(t, db, true)
	mustCreate(t, tx, "b")
	mustCommit(t, tx)
	if got := tx.Size(); got <= 0 {
		t.Errorf("Size: got %d, want the size of the database", got)
	}
}

func TestTx_OnCommit_Order(t *testing.T) {
	db := openDB(t, nil)
	var got []int
	mustUpdate(t, db, func(tx *lightning.Tx) {
		for i := range 5 {
			tx.OnCommit(func() { got = append(got, i) })
		}
		mustCreate(t, tx, "b")
	})
	if want := []int{0, 1, 2, 3, 4}; !reflect.DeepEqual(got, want) {
		t.Errorf("order: got %v, want %v", got, want)
	}
}

func TestTx_OnCommit_NestedUpdate(t *testing.T) {
	db := openDB(t, nil)
	calls := 0
	tx := mustBegin(t, db, true)
	mustCreate(t, tx, "outer")
	tx.OnCommit(func() {
		calls++
		mustUpdate(t, db, func(inner *lightning.Tx) {
			mustBucket(t, inner, "outer")
			mustCreate(t, inner, "inner")
			inner.OnCommit(func() { calls++ })
		})
		mustView(t, db, func(read *lightning.Tx) { mustBucket(t, read, "inner") })
	})
	mustCommit(t, tx)
	if calls != 2 {
		t.Errorf("handlers called: got %d, want 2", calls)
	}
}

func TestTx_OnCommit_NeverWithoutACommit(t *testing.T) {
	db := openDB(t, nil)
	bad := func() { t.Error("the handler ran without a commit") }
	for _, writable := range []bool{true, false} {
		tx := mustBegin(t, db, writable)
		tx.OnCommit(bad)
		mustRollback(t, tx)
	}
	refused := errors.New("refused")
	wantErr(t, "Update", db.Update(func(tx *lightning.Tx) error { tx.OnCommit(bad); return refused }), refused)
	recovered(func() { db.Update(func(tx *lightning.Tx) error { tx.OnCommit(bad); panic("stop") }) })
	mustView(t, db, func(tx *lightning.Tx) { tx.OnCommit(bad) })
}

func TestTx_CreateBucket_Errors(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		mustPut(t, b, "plain", "v")
		mustPut(t, tx.Cursor().Bucket(), "plain", "v")
		for name, want := range map[string]error{
			"":      lightning.ErrBucketNameRequired,
			"b":     lightning.ErrBucketExists,
			"plain": lightning.ErrIncompatibleValue,
		} {
			_, err := tx.CreateBucket([]byte(name))
			wantErr(t, fmt.Sprintf("CreateBucket(%q)", name), err, want)
		}
		mustNest(t, b, "b")
		for name, want := range map[string]error{
			"":      lightning.ErrBucketNameRequired,
			"b":     lightning.ErrBucketExists,
			"plain": lightning.ErrIncompatibleValue,
		} {
			_, err := b.CreateBucket([]byte(name))
			wantErr(t, fmt.Sprintf("Bucket.CreateBucket(%q)", name), err, want)
			if name == "b" {
				want = nil
			}
			_, err = b.CreateBucketIfNotExists([]byte(name))
			wantErr(t, fmt.Sprintf("CreateBucketIfNotExists(%q)", name), err, want)
		}
		_, err := tx.CreateBucket(nil)
		wantErr(t, "CreateBucket(nil)", err, lightning.ErrBucketNameRequired)
		_, err = tx.CreateBucketIfNotExists(nil)
		wantErr(t, "CreateBucketIfNotExists(nil)", err, lightning.ErrBucketNameRequired)
		wantValue(t, b, "plain", "v")
	})
	mustView(t, db, func(tx *lightning.Tx) {
		_, err := tx.CreateBucket(nil)
		wantErr(t, "CreateBucket in a read tx", err, lightning.ErrTxNotWritable)
		_, err = tx.CreateBucketIfNotExists([]byte("b"))
		wantErr(t, "CreateBucketIfNotExists in a read tx", err, lightning.ErrTxNotWritable)
		wantErr(t, "DeleteBucket in a read tx", tx.DeleteBucket(nil), lightning.ErrTxNotWritable)
	})
}

func TestTx_Bucket_SameHandleInAWritableTx(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		child := mustNest(t, b, "child")
		again, err := tx.CreateBucketIfNotExists([]byte("b"))
		if err != nil || again != b || tx.Bucket([]byte("b")) != b {
			t.Errorf("the same bucket: got %p and %p (error %v), want %p", again, tx.Bucket([]byte("b")), err, b)
		}
		if got := b.Bucket([]byte("child")); got != child {
			t.Errorf("the same nested bucket: got %p, want %p", got, child)
		}
		if b.Tx() != tx || b.Cursor().Bucket() != b || !b.Writable() {
			t.Error("Tx, Cursor().Bucket() or Writable of the bucket is wrong")
		}
	})
}

func TestTx_Bucket_Absent(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		mustPut(t, b, "plain", "v")
		for _, name := range []string{"", "missing", "plain"} {
			if got := b.Bucket([]byte(name)); got != nil {
				t.Errorf("Bucket.Bucket(%q): got %p, want nil", name, got)
			}
			if got := tx.Bucket([]byte(name)); got != nil {
				t.Errorf("Tx.Bucket(%q): got %p, want nil", name, got)
			}
		}
		if got := tx.Bucket(nil); got != nil {
			t.Errorf("Tx.Bucket(nil): got %p, want nil", got)
		}
	})
}

func TestTx_DeleteBucket(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		if err := b.SetSequence(9); err != nil {
			t.Fatal(err)
		}
		nested := mustNest(t, mustNest(t, b, "n1"), "n2")
		for i := range 500 {
			mustPut(t, b, numberedKey(i), "v")
			mustPut(t, nested, numberedKey(i), strings.Repeat("v", 50))
		}
		mustPut(t, tx.Cursor().Bucket(), "plain", "v")
	})
	mustUpdate(t, db, func(tx *lightning.Tx) {
		wantErr(t, "DeleteBucket(missing)", tx.DeleteBucket([]byte("missing")), lightning.ErrBucketNotFound)
		wantErr(t, "DeleteBucket(plain)", tx.DeleteBucket([]byte("plain")), lightning.ErrIncompatibleValue)
		if err := tx.DeleteBucket(nil); err == nil {
			t.Error("DeleteBucket(nil): got nil, want an error")
		}
		if err := tx.DeleteBucket([]byte("b")); err != nil {
			t.Errorf("DeleteBucket: %v", err)
		}
		if tx.Bucket([]byte("b")) != nil {
			t.Error("the bucket is still there")
		}
		wantErr(t, "DeleteBucket again", tx.DeleteBucket([]byte("b")), lightning.ErrBucketNotFound)
		b := mustCreate(t, tx, "b")
		if k, _ := b.Cursor().First(); k != nil || b.Sequence() != 0 {
			t.Errorf("created again: got first key %q and sequence %d, want an empty bucket", k, b.Sequence())
		}
	})
	checkDB(t, db)
}

func TestTx_Root_HoldsPlainKeys(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		mustCreate(t, tx, "b")
		mustPut(t, tx.Cursor().Bucket(), "a", "1")
		mustPut(t, tx.Cursor().Bucket(), "c", "3")
	})
	db = reopen(t, db, nil)
	mustView(t, db, func(tx *lightning.Tx) {
		var got []string
		err := tx.ForEach(func(name []byte, b *lightning.Bucket) error {
			got = append(got, fmt.Sprintf("%s bucket=%v", name, b != nil))
			return nil
		})
		want := []string{"a bucket=false", "b bucket=true", "c bucket=false"}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ForEach: got %v (error %v), want %v", got, err, want)
		}
		wantValue(t, tx.Cursor().Bucket(), "a", "1")
		if k, v := tx.Cursor().Seek([]byte("b")); string(k) != "b" || v != nil {
			t.Errorf("Seek(b) in the root: got %q, %q, want b and nil", k, v)
		}
	})
}

func TestTx_ForEach_StopsAtAnError(t *testing.T) {
	db := openDB(t, nil)
	stop := errors.New("stop")
	mustUpdate(t, db, func(tx *lightning.Tx) {
		for _, name := range []string{"c", "a", "b"} {
			mustCreate(t, tx, name)
		}
		var seen []string
		err := tx.ForEach(func(name []byte, b *lightning.Bucket) error {
			seen = append(seen, string(name))
			if b == nil {
				t.Errorf("ForEach(%s): got a nil bucket", name)
			}
			if string(name) == "b" {
				return stop
			}
			return nil
		})
		if err != stop || !reflect.DeepEqual(seen, []string{"a", "b"}) {
			t.Errorf("ForEach: got %v after %v, want stop after [a b]", err, seen)
		}
	})
}

func TestTx_Inspect(t *testing.T) {
	db := openDB(t, nil)
	want := lightning.BucketStructure{Name: "root", KeyN: 1, Children: []lightning.BucketStructure{
		{Name: "a", KeyN: 2, Children: []lightning.BucketStructure{{Name: "x"}, {Name: "y", KeyN: 1}}},
		{Name: "b"},
	}}
	mustUpdate(t, db, func(tx *lightning.Tx) {
		mustPut(t, tx.Cursor().Bucket(), "plain", "v")
		a := mustCreate(t, tx, "a")
		mustPut(t, a, "1", "v")
		mustPut(t, a, "2", "")
		mustNest(t, a, "x")
		mustPut(t, mustNest(t, a, "y"), "k", "v")
		mustCreate(t, tx, "b")
		if got := tx.Inspect(); !reflect.DeepEqual(got, want) {
			t.Errorf("Inspect in the same tx: got %+v, want %+v", got, want)
		}
	})
	mustView(t, db, func(tx *lightning.Tx) {
		if got := tx.Inspect(); !reflect.DeepEqual(got, want) {
			t.Errorf("Inspect: got %+v, want %+v", got, want)
		}
		b := want.Children[0]
		b.Name = "root"
		if got := mustBucket(t, tx, "a").Inspect(); !reflect.DeepEqual(got, b) {
			t.Errorf("Bucket.Inspect: got %+v, want %+v", got, b)
		}
	})
}
