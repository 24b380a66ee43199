//go:build !unix

package fsync

const openNonblock = 0

// Named implements File: open files keep their names here.
func (f *osFile) Named() (bool, error) { return true, nil }
