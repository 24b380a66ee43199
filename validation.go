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
	db   *DB
	buf  []byte  // what was read last
	from page.ID // its first page
}

// readBehind is how many bytes before an extent are read with it when nothing
// else is waiting to be read. A flush puts the pages of a small transaction in a
// row, each before the one that refers to it, so what is asked for next is mostly
// there, and does not wait for the medium.
const readBehind = 64 << 10

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
func (v *validation) read(start page.ID, pages int, alone bool) ([]byte, error) {
	size := v.db.pageSize
	if n := len(v.buf) / size; start >= v.from && int(start-v.from)+pages <= n {
		return v.buf[int(start-v.from)*size:][:pages*size], nil
	}
	if behind := min(page.ID(readBehind/size), max(start, firstFreePage)-firstFreePage); alone && behind > 0 {
		if err := v.fill(start-behind, int(behind)+pages); err == nil {
			return v.buf[int(behind)*size:], nil
		}
		// Whatever is wrong with the neighbours is not asked for.
	}
	err := v.fill(start, pages)
	return v.buf, err
}

// fill reads pages into buf.
func (v *validation) fill(start page.ID, pages int) error {
	n := pages * v.db.pageSize
	v.from, v.buf = start, slices.Grow(v.buf[:0], n)[:n]
	err := v.db.file.ReadMedium(fsync.OpPageRead, v.buf, v.db.offset(start))
	if err != nil {
		v.buf = v.buf[:0]
	}
	return err
}
