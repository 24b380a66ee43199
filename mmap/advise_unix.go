//go:build unix

package mmap

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// canReserve tells that a mapping may reach past the end of its file.
const canReserve = true

// advise tells the kernel the order of reads to come.
func advise(b []byte, random bool) error {
	advice := unix.MADV_NORMAL
	if random {
		advice = unix.MADV_RANDOM
	}
	return madvise(b, advice)
}

// willNeed wants b, which begins with a page of the system, in memory soon.
func willNeed(b []byte) { _ = unix.Madvise(b, unix.MADV_WILLNEED) }

func madvise(b []byte, advice int) error {
	if err := unix.Madvise(b, advice); err != nil {
		return fmt.Errorf("advise on mapped pages: %w", err)
	}
	return nil
}

func lockPages(b []byte) error {
	if err := unix.Mlock(b); err != nil {
		return fmt.Errorf("lock mapped pages: %w", err)
	}
	return nil
}

func unlockPages(b []byte) error {
	if err := unix.Munlock(b); err != nil {
		return fmt.Errorf("unlock mapped pages: %w", err)
	}
	return nil
}
