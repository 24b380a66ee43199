package fsync

import (
	"io"
	"os"
	"sync"
	"syscall"
)

// Faults is a File that passes every call on to another File, counts it, and
// fails the calls it was told to fail. A failed call does not reach the
// other File, but for a short write's first bytes and for Close, which
// always closes. All methods are safe for concurrent use. OpOpen and
// OpDirSync never pass through a File and cannot be failed.
type Faults struct {
	file File

	mu  sync.Mutex
	ops [numOps]opFaults
}

// opFaults is what is planned and counted for one operation.
type opFaults struct {
	calls  int
	bytes  int64
	always error
	at     map[int]fault // by the value that calls will have
}

type fault struct {
	err   error
	bytes int // of a write, how many get through before it fails
}

// NewFaults returns a File around f that fails nothing yet.
func NewFaults(f File) *Faults {
	return &Faults{file: f}
}

// Fail makes the nth call of op from now on fail, 1 being the next, with an
// *OpError that wraps err. A nil err stands for syscall.EIO. Faults planned
// for different calls stand side by side.
func (f *Faults) Fail(op Op, nth int, err error) {
	f.plan(op, nth, fault{err: orEIO(err)})
}

// FailAlways makes every call of op fail from now on, like Fail.
func (f *Faults) FailAlways(op Op, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops[op].always = orEIO(err)
}

// ShortWrite makes the nth call of op from now on write its first bytes
// bytes and then fail with an *OpError that wraps io.ErrShortWrite. A call
// that writes no more than that fails as well.
func (f *Faults) ShortWrite(op Op, nth int, bytes int) {
	f.plan(op, nth, fault{err: io.ErrShortWrite, bytes: bytes})
}

// Clear forgets all planned faults. The counts stay.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.ops {
		f.ops[i].always, f.ops[i].at = nil, nil
	}
}

// Calls returns how many calls of op there were, failed ones included.
func (f *Faults) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops[op].calls
}

// Bytes returns how many bytes the calls of op have read or written. Of a
// write that failed in the other File nothing is counted.
func (f *Faults) Bytes(op Op) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops[op].bytes
}

func (f *Faults) plan(op Op, nth int, ft fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := &f.ops[op]
	if o.at == nil {
		o.at = make(map[int]fault)
	}
	o.at[o.calls+nth] = ft
}

// enter counts a call and returns the fault that is due.
func (f *Faults) enter(op Op, off int64) (fault, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := &f.ops[op]
	o.calls++
	ft, ok := o.at[o.calls]
	delete(o.at, o.calls)
	switch {
	case o.always != nil:
		ft = fault{err: o.always}
	case !ok:
		return fault{}, nil
	}
	return ft, &OpError{Op: op, Path: f.file.Name(), Off: off, Err: ft.err}
}

// moved counts bytes read or written.
func (f *Faults) moved(op Op, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops[op].bytes += int64(n)
}

// Name returns the other File's name.
func (f *Faults) Name() string { return f.file.Name() }

// OSFile returns the other File's. What is done through it passes by the
// faults.
func (f *Faults) OSFile() *os.File { return f.file.OSFile() }

// ReadAt implements File.
func (f *Faults) ReadAt(op Op, p []byte, off int64) (int, error) {
	if _, err := f.enter(op, off); err != nil {
		return 0, err
	}
	n, err := f.file.ReadAt(op, p, off)
	f.moved(op, n)
	return n, err
}

// ReadMedium implements File.
func (f *Faults) ReadMedium(op Op, p []byte, off int64) error {
	if _, err := f.enter(op, off); err != nil {
		return err
	}
	err := f.file.ReadMedium(op, p, off)
	if err == nil {
		f.moved(op, len(p))
	}
	return err
}

// WriteAt implements File.
func (f *Faults) WriteAt(op Op, p []byte, off int64) error {
	return f.write(op, [][]byte{p}, off, func(bufs [][]byte) error {
		return f.file.WriteAt(op, bufs[0], off)
	})
}

// WriteAtv implements File.
func (f *Faults) WriteAtv(op Op, bufs [][]byte, off int64) error {
	return f.write(op, bufs, off, func(bufs [][]byte) error {
		return f.file.WriteAtv(op, bufs, off)
	})
}

// write runs do with all of bufs, or with what a short write lets through.
func (f *Faults) write(op Op, bufs [][]byte, off int64, do func([][]byte) error) error {
	ft, fail := f.enter(op, off)
	if fail != nil {
		bufs = prefix(bufs, ft.bytes)
	}
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	if fail != nil && n == 0 {
		return fail
	}
	if err := do(bufs); err != nil {
		return err
	}
	f.moved(op, n)
	return fail
}

// Sync implements File.
func (f *Faults) Sync(op Op) error {
	return f.pass(op, noOffset, func() error { return f.file.Sync(op) })
}

// SyncFull implements File.
func (f *Faults) SyncFull(op Op) error {
	return f.pass(op, noOffset, func() error { return f.file.SyncFull(op) })
}

// Grow implements File.
func (f *Faults) Grow(op Op, size int64) error {
	return f.pass(op, size, func() error { return f.file.Grow(op, size) })
}

// Truncate implements File.
func (f *Faults) Truncate(op Op, size int64) error {
	return f.pass(op, size, func() error { return f.file.Truncate(op, size) })
}

// Size implements File; it counts as OpStat.
func (f *Faults) Size() (int64, error) {
	if _, err := f.enter(OpStat, noOffset); err != nil {
		return 0, err
	}
	return f.file.Size()
}

// Named implements File; it counts as OpStat.
func (f *Faults) Named() (bool, error) {
	if _, err := f.enter(OpStat, noOffset); err != nil {
		return false, err
	}
	return f.file.Named()
}

// Close implements File; it counts as OpClose. The other File is closed even
// when the call is made to fail.
func (f *Faults) Close() error {
	_, fail := f.enter(OpClose, noOffset)
	if err := f.file.Close(); err != nil {
		return err
	}
	return fail
}

// tryLock counts as OpLock, once for each time that Lock tries.
func (f *Faults) tryLock(exclusive bool) (bool, error) {
	if _, err := f.enter(OpLock, noOffset); err != nil {
		return false, err
	}
	l, err := lockerOf(f.file)
	if err != nil || l == nil {
		return false, err
	}
	return l.tryLock(exclusive)
}

// unlock counts as OpUnlock.
func (f *Faults) unlock() error {
	return f.pass(OpUnlock, noOffset, func() error { return Unlock(f.file) })
}

// pass runs do unless a fault is due.
func (f *Faults) pass(op Op, off int64, do func() error) error {
	if _, err := f.enter(op, off); err != nil {
		return err
	}
	return do()
}

// prefix returns the first n bytes of bufs.
func prefix(bufs [][]byte, n int) [][]byte {
	var out [][]byte
	for _, b := range bufs {
		if n <= 0 {
			break
		}
		b = b[:min(n, len(b))]
		out = append(out, b)
		n -= len(b)
	}
	return out
}

func orEIO(err error) error {
	if err == nil {
		return syscall.EIO
	}
	return err
}
