package fsync

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// maxIovecs is how many buffers one pwritev takes.
const maxIovecs = 1024

// syncData does not sync times and the like; the size it does.
func (f *osFile) syncData() error {
	c := &f.calls.sync
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.makeLocked(f.raw, fdatasync)
}

func fdatasync(c *call, fd int) error { return unix.Fdatasync(fd) }

// extend allocates the bytes from old to size.
func (f *osFile) extend(old, size int64) error {
	err := f.control(func(fd uintptr) error {
		return retryEINTR(func() error { return unix.Fallocate(int(fd), 0, old, size-old) })
	})
	switch err {
	case nil:
		return nil
	case unix.EOPNOTSUPP, unix.ENOSYS:
		return f.f.Truncate(size)
	}
	// A full disk leaves part of the range allocated: give it back.
	return errors.Join(err, f.f.Truncate(old))
}

func (f *osFile) writev(bufs [][]byte, off int64) error {
	if len(bufs) == 1 {
		_, err := f.f.WriteAt(bufs[0], off)
		return err
	}
	return writeAll(bufs, off, f.pwritev, f.f.WriteAt)
}

// writeAll writes all buffers from off on, by calls of writev that may each
// write less than they were given.
func writeAll(
	bufs [][]byte, off int64,
	writev func(bufs [][]byte, off int64) (int, error),
	writeAt func(p []byte, off int64) (int, error),
) error {
	for len(bufs) > 0 {
		batch := bufs[:min(len(bufs), maxIovecs)]
		n, err := writev(batch, off)
		if err != nil {
			return err
		}
		off += int64(n)
		done := 0
		for ; done < len(batch) && n >= len(batch[done]); done++ {
			n -= len(batch[done])
		}
		bufs = bufs[done:]
		if done == len(batch) {
			continue
		}
		// Short: finish the buffer that was cut, then go on behind it.
		// That also brings out the error that cut it.
		rest := batch[done][n:]
		if _, err := writeAt(rest, off); err != nil {
			return err
		}
		off += int64(len(rest))
		bufs = bufs[1:]
	}
	return nil
}

// pwritev is one system call.
func (f *osFile) pwritev(bufs [][]byte, off int64) (n int, err error) {
	c := &f.calls.write
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bufs, c.off = bufs, off
	err = c.makeLocked(f.raw, pwritev)
	n, c.bufs = c.n, nil
	if err == nil && n == 0 && len(bufs[0]) > 0 {
		err = io.ErrShortWrite
	}
	return n, err
}

func pwritev(c *call, fd int) (err error) {
	c.n, err = unix.Pwritev(fd, c.bufs, c.off)
	return err
}
