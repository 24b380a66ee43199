package lightning

import (
	"errors"
	"slices"

	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/mutant"
	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

// validation checks, reading from the medium, every page that is reachable
// from a meta and was born after the newest transaction that the meta knows
// durable (rule C). References carry births, so nothing older is touched.
type validation struct {
	db  *DB
	buf []byte // what was read last
}

func (v *validation) run(m *page.Meta, report func(pages int)) error {
	w := walk.Walk{
		Meta: m, Since: m.DurableTx, PageSize: v.db.pageSize, Hasher: v.db.hasher, Read: v.read, Progress: report,
		OnlyNewest: mutant.Is(mutant.ValidateNewest),
	}
	return v.db.fault(w.Run())
}

// fault turns what a walk found wrong into a *CorruptionError.
func (db *DB) fault(err error) error {
	var f *walk.Fault
	switch {
	case !errors.As(err, &f):
		return err
	case f.Want != f.Got:
		return db.corruptDigest(uint64(f.Page), [24]byte(f.Want), [24]byte(f.Got))
	}
	return db.corrupt(uint64(f.Page), f.Problem, f.Err)
}

// read returns the content of the pages. An error is no reason to go back to an
// older state: the pages may be good.
func (v *validation) read(start page.ID, pages int) ([]byte, error) {
	n := pages * v.db.pageSize
	v.buf = slices.Grow(v.buf[:0], n)[:n]
	return v.buf, v.db.file.ReadMedium(fsync.OpPageRead, v.buf, v.db.offset(start))
}
