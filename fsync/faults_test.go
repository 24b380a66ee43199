package fsync

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"testing"
)

func TestFaults_Fail(t *testing.T) {
	f := NewFaults(create(t, t.TempDir()))
	write := func() error { return f.WriteAt(OpPageWrite, []byte("ab"), 0) }
	if err := write(); err != nil {
		t.Fatal(err)
	}
	f.Fail(OpPageWrite, 2, syscall.ENOSPC)
	f.Fail(OpPageWrite, 3, nil)
	for i, want := range []error{nil, syscall.ENOSPC, syscall.EIO, nil} {
		err := write()
		if want == nil && err != nil {
			t.Errorf("call %d: %v", i, err)
		}
		if want != nil {
			wantOpError(t, err, OpPageWrite, want)
		}
	}
	if got := f.Calls(OpPageWrite); got != 5 {
		t.Errorf("Calls = %d, want 5", got)
	}
	if got := f.Bytes(OpPageWrite); got != 6 {
		t.Errorf("Bytes = %d, want 6", got)
	}
	if got := f.Calls(OpMetaWrite); got != 0 {
		t.Errorf("Calls of another operation = %d", got)
	}
}

func TestFaults_ShortWrite(t *testing.T) {
	f := NewFaults(create(t, t.TempDir()))
	f.ShortWrite(OpPageWrite, 1, 5)
	err := f.WriteAtv(OpPageWrite, [][]byte{[]byte("abc"), []byte("def"), []byte("ghi")}, 0)
	wantOpError(t, err, OpPageWrite, io.ErrShortWrite)
	wantContent(t, f, []byte("abcde"))
	f.ShortWrite(OpMetaWrite, 1, 0)
	err = f.WriteAt(OpMetaWrite, []byte("xyz"), 0)
	wantOpError(t, err, OpMetaWrite, io.ErrShortWrite)
	f.ShortWrite(OpMetaWrite, 1, 2)
	err = f.WriteAt(OpMetaWrite, []byte("xyz"), 0)
	wantOpError(t, err, OpMetaWrite, io.ErrShortWrite)
	wantContent(t, f, []byte("xycde"))
	if p, m := f.Bytes(OpPageWrite), f.Bytes(OpMetaWrite); p != 5 || m != 2 {
		t.Errorf("Bytes = %d and %d, want 5 and 2", p, m)
	}
}

// Every call must be failed before it reaches the file, and work again after
// Clear.
func TestFaults_EveryCall(t *testing.T) {
	data := bytes.Repeat([]byte{7}, page)
	f := NewFaults(create(t, t.TempDir()))
	if err := f.WriteAt(OpErase, data, 0); err != nil {
		t.Fatal(err)
	}
	calls := []struct {
		op Op
		do func() error
	}{
		{OpPageRead, func() error { _, err := f.ReadAt(OpPageRead, make([]byte, 1), 0); return err }},
		{OpMetaRead, func() error { return f.ReadMedium(OpMetaRead, make([]byte, page), 0) }},
		{OpMetaWrite, func() error { return f.WriteAt(OpMetaWrite, data, page) }},
		{OpPageWrite, func() error { return f.WriteAtv(OpPageWrite, [][]byte{data}, 2*page) }},
		{OpSync, func() error { return f.Sync(OpSync) }},
		{OpGrowSync, func() error { return f.SyncFull(OpGrowSync) }},
		{OpGrow, func() error { return f.Grow(OpGrow, 8*page) }},
		{OpTruncate, func() error { return f.Truncate(OpTruncate, page) }},
		{OpStat, func() error { _, err := f.Size(); return err }},
		{OpLock, func() error { return Lock(t.Context(), f, true, 0) }},
		{OpUnlock, func() error { return Unlock(f) }},
	}
	injected := errors.New("injected")
	for _, c := range calls {
		f.FailAlways(c.op, injected)
		for range 2 {
			wantOpError(t, c.do(), c.op, injected)
		}
		wantContent(t, f, data)
	}
	f.Clear()
	for _, c := range calls {
		if err := c.do(); err != nil {
			t.Errorf("%s after Clear: %v", c.op, err)
		}
		if got := f.Calls(c.op); got != 3 {
			t.Errorf("%s: %d calls, want 3", c.op, got)
		}
	}
	f.Fail(OpClose, 1, injected)
	wantOpError(t, f.Close(), OpClose, injected)
	wantOpError(t, f.Sync(OpSync), OpSync, os.ErrClosed)
}

func TestFaults_Concurrent(t *testing.T) {
	f := NewFaults(create(t, t.TempDir()))
	const each, failing = 50, 10
	for i := range failing {
		f.Fail(OpPageWrite, 1+i*7, nil)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	failed := 0
	for range 4 {
		wg.Go(func() {
			for range each {
				if err := f.WriteAt(OpPageWrite, []byte("x"), 0); err != nil {
					mu.Lock()
					failed++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if failed != failing || f.Calls(OpPageWrite) != 4*each || f.Bytes(OpPageWrite) != 4*each-failing {
		t.Errorf("%d failed, %d calls, %d bytes", failed, f.Calls(OpPageWrite), f.Bytes(OpPageWrite))
	}
}
