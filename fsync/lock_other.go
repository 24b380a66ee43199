//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package fsync

import "errors"

// These platforms have no lock that belongs to an open file.

func flock(uintptr, bool) (bool, error) { return false, errors.ErrUnsupported }

func funlock(uintptr) error { return nil }
