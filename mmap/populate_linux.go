package mmap

import "golang.org/x/sys/unix"

// populate maps the pages of b at once; kernels before 5.14 only read ahead.
func populate(b []byte) error {
	if unix.Madvise(b, unix.MADV_POPULATE_READ) == nil {
		return nil
	}
	return madvise(b, unix.MADV_WILLNEED)
}
