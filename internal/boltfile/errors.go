package boltfile

import (
	"errors"
	"fmt"
)

var (
	// ErrNotBolt is returned by Open for a file without a meta of bbolt.
	ErrNotBolt = errors.New("not a bbolt file")
	// ErrVersion is returned by Open for a file of another version of bbolt's
	// format than 2.
	ErrVersion = errors.New("the version of the bbolt file is not supported")
	// ErrByteOrder is returned by Open for a file that was written on a
	// big-endian machine.
	ErrByteOrder = errors.New("the bbolt file was written on a big-endian machine: migrate it on one of that kind, by export and import")
	// ErrInUse is returned by Open when a writer holds the file's lock.
	ErrInUse = errors.New("the bbolt file is open in another process")
	// ErrPosition is returned by Walk when a bucket of the position is not there.
	ErrPosition = errors.New("the bbolt file has no bucket at the position to go on from")
)

// DamageError says that the file is not what bbolt writes.
type DamageError struct {
	Path   string // of the file
	Page   uint64 // number of the page
	Reason string // what is wrong, in words
}

// Error names the file, the page and the fault.
func (e *DamageError) Error() string {
	return fmt.Sprintf("bbolt file %s is damaged: page %d: %s", e.Path, e.Page, e.Reason)
}
