//go:build unix

package fsync

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// openNonblock keeps an open from waiting for the other end of a FIFO. It
// has no effect on regular files.
const openNonblock = unix.O_NONBLOCK

func retryEINTR(fn func() error) error {
	for {
		if err := fn(); err != unix.EINTR {
			return err
		}
	}
}

// calls are the system calls of a commit. Each keeps what it passes to the
// kernel, so that making it again does not allocate.
type calls struct {
	write, sync, stat call
}

// call is a system call on a descriptor that cannot be closed meanwhile.
type call struct {
	mu   sync.Mutex
	run  func(fd uintptr)
	fn   func(c *call, fd int) error
	err  error
	bufs [][]byte
	off  int64
	n    int
	st   unix.Stat_t
}

// makeLocked makes the call fn. The caller holds mu.
func (c *call) makeLocked(raw syscall.RawConn, fn func(c *call, fd int) error) error {
	if c.run == nil {
		c.run = func(fd uintptr) {
			for c.err = unix.EINTR; c.err == unix.EINTR; {
				c.err = c.fn(c, int(fd))
			}
		}
	}
	c.fn = fn
	if raw.Control(c.run) != nil {
		return os.ErrClosed // the one way to fail
	}
	return c.err
}

func (f *osFile) Named() (bool, error) {
	c := &f.calls.stat
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.makeLocked(f.raw, fstat); err != nil {
		return false, opError(OpStat, f.name, noOffset, err)
	}
	return c.st.Nlink > 0, nil
}

func fstat(c *call, fd int) error { return unix.Fstat(fd, &c.st) }
