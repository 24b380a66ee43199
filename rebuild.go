package lightning

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

// SpaceReport is what RebuildSpace found and did. Numbers are pages, the two
// meta pages not among them.
type SpaceReport struct {
	Used    uint64 // reached from the root: data
	Free    uint64 // free now
	Lost    uint64 // were neither in use nor free; not known if Damage is set
	Clashes uint64 // were in use and on the map of free pages; not known if Damage is set
	Damage  error  // why the map could not be read, nil if it could
	Rebuilt bool   // a new map was committed; false if the old one is right
	TxID    uint64 // the newest transaction now
}

// RebuildSpace makes a new map of free pages for the database at path, where the map is
// damaged or wrong: Open for writing fails with ErrChecksum, or Check finds pages that are
// neither in use nor free, or both. It verifies all data first, reading from the medium, and
// commits, as one transaction without changes, a map that says that all other pages
// are free. A map that is right is left alone, and nothing is written.
//
// The new map goes behind the end of the states that the file holds, so a crash
// leaves the file as it was or with the new map. Damaged data is not for it: it fails with a
// *CorruptionError then and changes nothing. It also fails with an *OpenError as Open does, with
// ErrDatabaseReadOnly where nobody may write, and with the error of ctx.
//
// Nobody else may have the file open. Options are those of Open; Durability is
// Sync, and OnRecovery is told of the pages verified in StageIndexReconstruction. It takes
// a few bits of memory for each page of the file.
func RebuildSpace(ctx context.Context, path string, options *Options) (*SpaceReport, error) {
	o := *DefaultOptions
	if options != nil {
		o = *options
	}
	if o.ReadOnly {
		return nil, openError(path, fmt.Errorf("rebuild the map of free pages: %w", ErrDatabaseReadOnly))
	}
	if _, err := os.Stat(path); err != nil {
		return nil, openError(path, err) // Open would create it
	}
	o.Durability, o.NoSync, o.NoGrowSync = Sync, false, false
	db := newDB(path, &o)
	r := &spaceRebuild{ctx: ctx}
	err := db.begin(&recovery{db: db, rebuild: r}, 0)
	if err != nil {
		return nil, err
	}
	end := db.release // as it is: Close would write the meta page
	if r.report.Rebuilt {
		if err = db.UpdateContext(ctx, func(*Tx) error { return nil }); err == nil {
			end = db.Close
		}
	}
	m := &db.published.Load().meta
	r.report.Free, r.report.TxID = m.SpaceFree, uint64(m.TxID)
	if err := errors.Join(err, end()); err != nil {
		return nil, err
	}
	return &r.report, nil
}

// spaceRebuild judges the map of free pages of the state that Open chose, and
// makes a new one if it is not right.
type spaceRebuild struct {
	ctx    context.Context
	report SpaceReport
	tree   *walk.Walk // over what is not the map
}

// load returns the map that is to be used from here on.
func (b *spaceRebuild) load(r *recovery) (*space, error) {
	db, m := r.db, r.chosen.meta
	if m.Flags&page.MetaReadOnly != 0 {
		return nil, ErrDatabaseReadOnly
	}
	b.tree = b.walk(r, withoutMap(m))
	if err := b.tree.Run(); err != nil {
		return nil, fmt.Errorf("the data is damaged, not only the map of free pages: %w", db.fault(err))
	}
	s, err := b.judge(r)
	if err == nil && b.report.Lost == 0 && b.report.Clashes == 0 {
		return s, nil
	}
	if err != nil && !errors.Is(err, ErrChecksum) {
		return nil, err
	}
	b.report.Damage, b.report.Rebuilt = err, true
	return b.make(r)
}

// walk returns a walk over the state m, as the medium has it.
func (b *spaceRebuild) walk(r *recovery, m *page.Meta) *walk.Walk {
	v := &validation{db: r.db}
	return &walk.Walk{
		Meta: m, PageSize: r.db.pageSize, Hasher: r.db.hasher,
		Read: func(start page.ID, pages int) ([]byte, error) {
			if err := b.ctx.Err(); err != nil {
				return nil, err
			}
			return v.read(start, pages)
		},
		Older: func(d walk.Demand) error {
			return &walk.Fault{Page: d.Ref.ID, Problem: "born before the first transaction"}
		},
		Progress: func(pages int) { r.report(StageIndexReconstruction, pages) },
	}
}

// judge reads the map and counts the pages that it and the data do not agree
// on. It fails with ErrChecksum if the map cannot be read.
func (b *spaceRebuild) judge(r *recovery) (*space, error) {
	db, m := r.db, r.chosen.meta
	own := *m
	own.Root = page.Bucket{}
	w := b.walk(r, &own)
	if err := w.Run(); err != nil {
		return nil, db.fault(err)
	}
	s, err := openSpace(db, m)
	if err != nil {
		return nil, err
	}
	next := uint64(firstFreePage)
	used := func(stop uint64) { // pages [next, stop) are not free
		for ; next < stop; next++ {
			data, mapped := b.tree.Visited(page.ID(next)), w.Visited(page.ID(next))
			switch {
			case data && mapped:
				b.report.Clashes++
			case !data && !mapped:
				b.report.Lost++
			}
		}
	}
	err = s.free.forEachFree(func(start, n uint64) bool {
		used(start)
		for ; next < start+n; next++ {
			if b.tree.Visited(page.ID(next)) || w.Visited(page.ID(next)) {
				b.report.Clashes++
			}
		}
		return b.ctx.Err() == nil
	})
	if err != nil {
		return nil, s.mapError(err)
	}
	used(uint64(m.End))
	b.report.Used = b.count(m.End)
	return s, b.ctx.Err()
}

// count returns how many pages below end hold data.
func (b *spaceRebuild) count(end page.ID) (n uint64) {
	for id := page.ID(firstFreePage); id < end; id++ {
		if b.tree.Visited(id) {
			n++
		}
	}
	return n
}

// make returns a map on which all is free that holds no data. None of it can be
// taken by the transaction that writes the map: it goes behind the end of
// both states that a crash could fall back to, whose own maps nobody knows.
func (b *spaceRebuild) make(r *recovery) (*space, error) {
	db := r.db
	end := r.chosen.meta.End
	if other := r.slots[1-r.chosen.slot].meta; other != nil && int64(other.End)*int64(db.pageSize) <= r.size {
		end = max(end, other.End)
	}
	s := newSpace(db)
	s.fold = true
	s.free.setEnd(uint64(end))
	for from := page.ID(firstFreePage); from < end; {
		if b.tree.Visited(from) {
			from++
			continue
		}
		to := from + 1
		for to < end && !b.tree.Visited(to) {
			to++
		}
		if err := s.free.release(uint64(from), uint64(to-from)); err != nil {
			return nil, s.mapError(err)
		}
		if err := b.ctx.Err(); err != nil {
			return nil, err
		}
		from = to
	}
	b.report.Used = uint64(end) - firstFreePage - s.free.freePages()
	return s, s.free.err
}

// withoutMap returns m as if it had no map of free pages.
func withoutMap(m *page.Meta) *page.Meta {
	data := *m
	data.Space, data.SpaceLog = page.Ref{}, page.Ref{}
	return &data
}
