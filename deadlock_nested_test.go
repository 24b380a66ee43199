package lightning

import (
	"errors"
	"testing"
)

// A writable transaction inside a function that Update runs waits for itself:
// a hang in bbolt, an error here.
func TestDeadlock_NestedUpdate(t *testing.T) {
	watch(t, "an Update within an Update")
	db, _ := openGate(t, Options{})
	defer mustClose(t, db)
	var deep func(n int, fn func() error) error
	deep = func(n int, fn func() error) error {
		if n == 0 {
			return fn()
		}
		return deep(n-1, fn)
	}
	for name, inner := range map[string]func() error{
		"Update":    func() error { return db.put("inner", 1) },
		"Batch":     func() error { return db.Batch(func(*Tx) error { t.Error("the inner function ran"); return nil }) },
		"Begin":     func() error { _, err := db.Begin(true); return err },
		"in View":   func() error { return db.View(func(*Tx) error { return db.put("inner", 1) }) },
		"far below": func() error { return deep(200, func() error { return db.put("inner", 1) }) },
	} {
		var got error
		err := db.Update(func(tx *Tx) error {
			got = inner()
			return tx.Bucket([]byte("b")).Put([]byte(name), nil)
		})
		if !errors.Is(got, ErrNestedUpdate) || err != nil {
			t.Errorf("%s: inner %v, outer %v; want %v and none", name, got, err, ErrNestedUpdate)
		}
	}
}

// What looks like nesting and is none: it waits and succeeds.
func TestDeadlock_NotNested(t *testing.T) {
	watch(t, "transactions that only look nested")
	db, g := openGate(t, Options{})
	other, _ := openGate(t, Options{})
	defer mustClose(t, db)
	defer mustClose(t, other)
	held, err := other.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	inner := make(chan error, 2)
	err = db.Update(func(*Tx) error {
		go func() { inner <- db.put("a", 1) }() // of another goroutine
		go func() { <-g.waiting; inner <- held.Rollback() }()
		g.waiting <- struct{}{}
		return other.put("b", 1) // of another database, which is busy
	})
	if err := errors.Join(err, <-inner, <-inner); err != nil {
		t.Error(err)
	}
}

// Close inside a transaction would wait for it. Behind a panic it must close.
func TestDeadlock_CloseInTx(t *testing.T) {
	watch(t, "Close inside a transaction")
	db, _ := openGate(t, Options{})
	for name, run := range map[string]func(func(*Tx) error) error{"View": db.View, "Update": db.Update} {
		if err := run(func(*Tx) error { return db.Close() }); !errors.Is(err, ErrCloseInTx) {
			t.Errorf("Close in %s: got %v, want %v", name, err, ErrCloseInTx)
		}
	}
	if err := db.put("after", 1); err != nil {
		t.Errorf("the database is not usable: %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		defer func() {
			if err := db.Close(); err != nil {
				t.Errorf("Close behind a panic: %v", err)
			}
		}()
		_ = db.View(func(*Tx) error { panic("x") })
	}()
	if err := db.put("closed", 1); !errors.Is(err, ErrDatabaseNotOpen) {
		t.Errorf("after Close: got %v, want %v", err, ErrDatabaseNotOpen)
	}
}
