//go:build !unix

package fsync

const openNonblock = 0

// calls are kept on Unix only.
type calls struct{}

// Named implements File: open files keep their names here.
func (f *osFile) Named() (bool, error) { return true, nil }
