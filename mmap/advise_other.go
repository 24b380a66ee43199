//go:build !unix

package mmap

// canReserve tells that a mapping ends with its file.
const canReserve = false

// There is no such advice here.

func advise([]byte, bool) error { return nil }

func willNeed([]byte) {}

func populate([]byte) error { return nil }

func lockPages([]byte) error { return ErrLockUnsupported }

func unlockPages([]byte) error { return ErrLockUnsupported }
