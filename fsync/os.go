package fsync

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
)

// osFile is a File on a file of the operating system.
type osFile struct {
	name   string
	f      *os.File
	raw    syscall.RawConn // keeps the descriptor open while a call uses it
	calls  calls
	medium medium      // how ReadMedium gets past the page cache
	locked atomic.Bool // the lock between processes is held
}

// newOSFile takes f over; it closes f when it returns an error.
func newOSFile(name string, f *os.File) (*osFile, error) {
	of, err := wrapOSFile(name, f)
	if err != nil {
		return nil, errors.Join(err, opError(OpClose, name, noOffset, f.Close()))
	}
	return of, nil
}

func wrapOSFile(name string, f *os.File) (*osFile, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, opError(OpOpen, name, noOffset, err)
	}
	if err := checkRegular(name, fi); err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, opError(OpOpen, name, noOffset, err)
	}
	return &osFile{name: name, f: f, raw: raw}, nil
}

func (f *osFile) Name() string     { return f.name }
func (f *osFile) OSFile() *os.File { return f.f }

func (f *osFile) ReadAt(op Op, p []byte, off int64) (int, error) {
	n, err := f.f.ReadAt(p, off)
	if err == io.EOF {
		return n, io.EOF // callers of an io.ReaderAt compare with ==
	}
	return n, opError(op, f.name, off, err)
}

func (f *osFile) ReadMedium(op Op, p []byte, off int64) error {
	if off < 0 {
		return opError(op, f.name, off, errNegativeOffset)
	}
	return opError(op, f.name, off, f.medium.read(f, p, off))
}

func (f *osFile) WriteAt(op Op, p []byte, off int64) error {
	_, err := f.f.WriteAt(p, off) // goes on after short writes and EINTR
	return opError(op, f.name, off, err)
}

func (f *osFile) WriteAtv(op Op, bufs [][]byte, off int64) error {
	if off < 0 {
		return opError(op, f.name, off, errNegativeOffset)
	}
	return opError(op, f.name, off, f.writev(bufs, off))
}

func (f *osFile) Sync(op Op) error {
	return opError(op, f.name, noOffset, f.syncData())
}

func (f *osFile) SyncFull(op Op) error {
	return opError(op, f.name, noOffset, f.f.Sync())
}

func (f *osFile) Grow(op Op, size int64) error {
	fi, err := f.f.Stat()
	if err != nil {
		return opError(op, f.name, noOffset, err)
	}
	if fi.Size() >= size {
		return nil
	}
	return opError(op, f.name, fi.Size(), f.extend(fi.Size(), size))
}

func (f *osFile) Truncate(op Op, size int64) error {
	return opError(op, f.name, size, f.f.Truncate(size))
}

func (f *osFile) Size() (int64, error) {
	fi, err := f.f.Stat()
	if err != nil {
		return 0, opError(OpStat, f.name, noOffset, err)
	}
	return fi.Size(), nil
}

func (f *osFile) Close() error {
	var unlockErr error
	if f.locked.Load() {
		// Closing alone would leave the lock with a child process that was
		// forked and has not yet executed its program.
		unlockErr = f.unlock()
	}
	return errors.Join(unlockErr, f.medium.close(), opError(OpClose, f.name, noOffset, f.f.Close()))
}

// control runs fn on the descriptor, which cannot be closed meanwhile.
func (f *osFile) control(fn func(fd uintptr) error) error {
	return control(f.raw, fn)
}

func control(raw syscall.RawConn, fn func(fd uintptr) error) error {
	var err error
	if raw.Control(func(fd uintptr) { err = fn(fd) }) != nil {
		return os.ErrClosed // the one way to fail, but package os has no name for it
	}
	return err
}

// readFull fills p through the page cache.
func (f *osFile) readFull(p []byte, off int64) error {
	n, err := f.f.ReadAt(p, off)
	if err == io.EOF && n < len(p) {
		return io.ErrUnexpectedEOF
	}
	if err == io.EOF {
		return nil
	}
	return err
}

var errNegativeOffset = errors.New("negative offset")
