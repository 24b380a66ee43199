//go:build unix && !linux

package mmap

import "golang.org/x/sys/unix"

func populate(b []byte) error { return madvise(b, unix.MADV_WILLNEED) }
