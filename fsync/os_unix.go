//go:build unix

package fsync

import "golang.org/x/sys/unix"

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
