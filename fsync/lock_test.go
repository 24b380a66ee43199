package fsync

import (
	"context"
	"os"
	"testing"
	"time"
)

// reopen opens the file of f once more.
func reopen(t *testing.T, f File) File {
	t.Helper()
	g, err := Open(f.Name(), os.O_RDWR, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func lock(t *testing.T, f File, exclusive bool) {
	t.Helper()
	if err := Lock(t.Context(), f, exclusive, 0); err != nil {
		t.Fatal(err)
	}
}

func wantLocked(t *testing.T, f File, exclusive bool) {
	t.Helper()
	err := Lock(t.Context(), f, exclusive, time.Millisecond)
	wantOpError(t, err, OpLock, ErrLockTimeout)
}

func TestLock_Exclusive(t *testing.T) {
	a := create(t, t.TempDir())
	b := reopen(t, a)
	lock(t, a, true)
	wantLocked(t, b, true)
	wantLocked(t, b, false)
	if err := Unlock(a); err != nil {
		t.Fatal(err)
	}
	lock(t, b, true)
	wantLocked(t, a, false)
	if err := Unlock(a); err != nil {
		t.Errorf("Unlock without a lock = %v", err)
	}
	wantLocked(t, a, false)
}

func TestLock_Shared(t *testing.T) {
	a := create(t, t.TempDir())
	b := reopen(t, a)
	lock(t, a, false)
	lock(t, b, false)
	wantLocked(t, reopen(t, a), true)
}

func TestLock_ReleasedByClose(t *testing.T) {
	a := create(t, t.TempDir())
	b := reopen(t, a)
	lock(t, a, true)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	lock(t, b, true)
}

func TestLock_Waits(t *testing.T) {
	a := create(t, t.TempDir())
	b := reopen(t, a)
	lock(t, a, true)
	waiting := NewFaults(b)
	got := make(chan error, 1)
	go func() { got <- Lock(context.Background(), waiting, true, 0) }()
	for waiting.Calls(OpLock) < 3 { // it has met the lock and tries again
		time.Sleep(time.Millisecond)
	}
	if err := Unlock(a); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	wantLocked(t, a, true)
}

func TestLock_Context(t *testing.T) {
	a := create(t, t.TempDir())
	b := reopen(t, a)
	lock(t, a, true)
	waiting := NewFaults(b)
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan error, 1)
	go func() { got <- Lock(ctx, waiting, true, 0) }()
	for waiting.Calls(OpLock) < 2 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	wantOpError(t, <-got, OpLock, context.Canceled)
}

// wrapped hides everything of a File but the interface.
type wrapped struct{ File }

// memory has no file beneath.
type memory struct{ File }

func (memory) OSFile() *os.File { return nil }

func TestLock_ForeignFile(t *testing.T) {
	a := create(t, t.TempDir())
	b := reopen(t, a)
	lock(t, wrapped{a}, true)
	wantLocked(t, b, true)
	if err := Unlock(wrapped{a}); err != nil {
		t.Fatal(err)
	}
	lock(t, b, true)
	lock(t, memory{a}, true) // would wait for ever
	lock(t, NewFaults(memory{a}), true)
	if err := Unlock(memory{a}); err != nil {
		t.Error(err)
	}
}
