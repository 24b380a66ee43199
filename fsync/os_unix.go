//go:build unix

package fsync

import (
	"errors"

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

func (f *osFile) Named() (bool, error) {
	var st unix.Stat_t
	var failed error
	err := f.raw.Control(func(fd uintptr) {
		failed = retryEINTR(func() error { return unix.Fstat(int(fd), &st) })
	})
	if err := errors.Join(err, failed); err != nil {
		return false, opError(OpStat, f.name, noOffset, err)
	}
	return st.Nlink > 0, nil
}
