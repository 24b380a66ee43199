package lightning

import (
	"fmt"
	"runtime/debug"
)

// faultAddr is what the runtime's memory fault errors offer.
type faultAddr interface {
	error
	Addr() uintptr
}

// faultError turns the panic value r into an error if it is a fault of our
// mapping: the file was truncated under us or the device could not deliver.
// It panics with r otherwise.
func (db *DB) faultError(r any) error {
	f, ok := r.(faultAddr)
	if !ok || db.data == nil || !db.data.Contains(f.Addr()) {
		panic(r)
	}
	id := uint64(f.Addr()-db.base) / uint64(db.pageSize)
	return db.corrupt(id, "page could not be read", fmt.Errorf("%w: %w", ErrMapFault, f))
}

// guarded runs fn so that faults of the mapping come back as an error.
func (db *DB) guarded(fn func() error) (err error) {
	defer func(before bool) {
		debug.SetPanicOnFault(before)
		if r := recover(); r != nil {
			err = db.faultError(r)
		}
	}(debug.SetPanicOnFault(true))
	return fn()
}
