//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package fsync

import "golang.org/x/sys/unix"

func flock(fd uintptr, exclusive bool) (busy bool, err error) {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	err = retryEINTR(func() error { return unix.Flock(int(fd), how|unix.LOCK_NB) })
	if err == unix.EWOULDBLOCK {
		return true, nil
	}
	return false, err
}

func funlock(fd uintptr) error {
	return retryEINTR(func() error { return unix.Flock(int(fd), unix.LOCK_UN) })
}
