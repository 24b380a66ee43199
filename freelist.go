package lightning

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/lightning-db/lightning/internal/mutant"
	"github.com/lightning-db/lightning/page"
)

// space accounts for every page of the file: in use, free and reusable, or
// free but still seen by a reader or by the state a crash would fall back to.
// It is used under the flush lock only.
type space struct {
	db   *DB
	free *freeMap

	// Freed pages that may not be reused yet (rule A), disjoint from each other.
	fresh   []freedExtent               // not looked at since their commit
	pinned  []freedExtent               // in the durable state as of pinnedAt
	blocked map[page.TxID][]freedExtent // seen by the reader of that snapshot

	pinnedAt page.TxID

	fold bool // what is on disk is not this map: the next edit writes all of it

	editing    spaceEdit     // of the flush under way
	candidates []freedExtent // storage for advance

	// What is on disk: bitmaps as of some transaction and the log since.
	entries []page.SpaceEntry // bitmaps by chunk
	top     page.Ref          // root of the index over them
	index   []extent          // pages of the index
	log     []page.Ref        // log pages, oldest first
	inline  []byte            // newest part of the log, kept in the meta page
}

// freedExtent is an extent that transaction freedBy gave up.
type freedExtent struct {
	extent
	freedBy page.TxID
}

func newSpace(db *DB) *space {
	s := &space{db: db, blocked: make(map[page.TxID][]freedExtent)}
	s.free = newFreeMap(page.SpaceChunk(db.pageSize), s.loadChunk)
	return s
}

// openSpace reads the space map of the state m: the index of bitmaps and the
// log. Bitmaps are read when first needed.
func openSpace(db *DB, m *page.Meta) (*space, error) {
	s := newSpace(db)
	s.free.setEnd(uint64(m.End))
	s.top = m.Space
	if !m.Space.IsZero() {
		if err := s.readIndex(m, m.Space, anyLevel); err != nil {
			return nil, err
		}
	}
	for i, e := range s.entries {
		if !e.Ref.IsZero() {
			s.free.describe(i, e.Free, e.MaxRun)
		}
	}
	if s.free.err != nil {
		return nil, s.mapError(s.free.err)
	}
	log, err := s.readLog(m)
	if err != nil {
		return nil, err
	}
	// Records above the end of the file were undone by later ones, unless a
	// bitmap tells of that range, too.
	limit := max(uint64(m.End), uint64(len(s.entries))*uint64(page.SpaceChunk(db.pageSize)))
	above := int64(0) // pages free past limit
	err = page.ReadSpaceLog(append(log, m.Inline...), func(r page.SpaceRecord) error {
		stop := uint64(r.Start) + r.Pages
		if stop > 1<<46 {
			return fmt.Errorf("space log names pages %d+%d", r.Start, r.Pages)
		}
		if stop > limit {
			n := int64(stop - max(uint64(r.Start), limit))
			if !r.Freed {
				n = -n
			}
			above += n
		}
		if uint64(r.Start) < limit {
			s.free.replay(uint64(r.Start), min(r.Pages, limit-uint64(r.Start)), r.Freed)
		}
		return s.free.err
	})
	if err != nil {
		return nil, db.corrupt(0, "space log", err)
	}
	if above != 0 {
		return nil, db.corrupt(0, fmt.Sprintf("space log leaves %d pages free past the end of the file", above), nil)
	}
	s.inline = m.Inline
	if s.free.freePages() != m.SpaceFree {
		return nil, db.corrupt(0, fmt.Sprintf("space map has %d free pages, the meta page says %d", s.free.freePages(), m.SpaceFree), nil)
	}
	return s, nil
}

func (s *space) readIndex(m *page.Meta, r page.Ref, level int) error {
	b, err := s.db.extent(r, 1)
	if err != nil {
		return err
	}
	if page.TypeOf(b) != page.TypeSpaceIndex || (level != anyLevel && page.LevelOf(b) != level) {
		return s.db.corrupt(uint64(r.ID), "not the space index expected here", nil)
	}
	s.index = append(s.index, extent{r.ID, 1, r.Birth})
	x, level := page.SpaceIndex(b), page.LevelOf(b)
	for i := range x.Count() {
		e := x.Entry(i)
		if level > 1 {
			if e.Ref.IsZero() {
				return s.db.corrupt(uint64(r.ID), "space index without a child", nil)
			}
			if err := s.readIndex(m, e.Ref, level-1); err != nil {
				return err
			}
			continue
		}
		if uint64(len(s.entries))*uint64(page.SpaceChunk(s.db.pageSize)) > 2*uint64(m.End)+1<<20 {
			return s.db.corrupt(uint64(r.ID), "space index reaches far past the end of the file", nil)
		}
		s.entries = append(s.entries, e)
	}
	return nil
}

// readLog returns the log pages' records, oldest first.
func (s *space) readLog(m *page.Meta) ([]byte, error) {
	var parts [][]byte
	for r := m.SpaceLog; !r.IsZero(); {
		if len(s.log) >= int(m.LogPages) {
			return nil, s.db.corrupt(uint64(r.ID), "space log is longer than the meta page says", nil)
		}
		b, err := s.db.extent(r, 1)
		if err != nil {
			return nil, err
		}
		if page.TypeOf(b) != page.TypeSpaceLog {
			return nil, s.db.corrupt(uint64(r.ID), "not a page of the space log", nil)
		}
		prev, records, err := page.SpaceLog(b)
		if err != nil {
			return nil, s.db.corrupt(uint64(r.ID), "space log", err)
		}
		s.log = append(s.log, r)
		parts = append(parts, records)
		r = prev
	}
	if len(s.log) != int(m.LogPages) {
		return nil, s.db.corrupt(uint64(m.SpaceLog.ID), "space log is shorter than the meta page says", nil)
	}
	slices.Reverse(s.log)
	slices.Reverse(parts)
	return bytes.Join(parts, nil), nil
}

// loadChunk reads one bitmap for the free map.
func (s *space) loadChunk(chunk int) ([]byte, error) {
	r := s.entries[chunk].Ref
	b, err := s.db.extent(r, 1)
	if err != nil {
		return nil, err
	}
	if page.TypeOf(b) != page.TypeSpaceLeaf {
		return nil, s.db.corrupt(uint64(r.ID), "not a bitmap of free pages", nil)
	}
	return page.SpaceBits(b), nil
}

// advance makes freed pages reusable as far as rule A allows: durable is the
// newest transaction known durable, written the newest whose meta was written,
// readers are the snapshots of the open readers in ascending order.
func (s *space) advance(durable, written page.TxID, readers []page.TxID) error {
	candidates := append(reuse(s.candidates), s.fresh...)
	s.fresh = reuse(s.fresh)
	if durable != s.pinnedAt {
		candidates = append(candidates, s.pinned...)
		s.pinned, s.pinnedAt = reuse(s.pinned), durable
	}
	for snap, list := range s.blocked {
		if _, open := slices.BinarySearch(readers, snap); !open {
			candidates = append(candidates, list...)
			delete(s.blocked, snap)
		}
	}
	s.candidates = candidates
	for i, f := range candidates {
		if !reusable(f, durable, written) {
			s.pinned = append(s.pinned, f)
			continue
		}
		if snap, seen := seenBy(f, readers); seen {
			s.blocked[snap] = append(s.blocked[snap], f)
			continue
		}
		if err := s.free.makeReady(uint64(f.id), uint64(f.pages)); err != nil {
			s.fresh = append(s.fresh, candidates[i:]...)
			return err
		}
	}
	return nil
}

// reusable is the durability half of rule A: the state that a crash would fall
// back to does not hold the extent.
func reusable(f freedExtent, durable, written page.TxID) bool {
	return f.freedBy <= durable || (f.birth > durable && f.freedBy <= written) || mutant.Is(mutant.ReuseAtOnce)
}

// seenBy is the readers' half of rule A: it returns the newest open snapshot
// in [birth, freedBy).
func seenBy(f freedExtent, readers []page.TxID) (page.TxID, bool) {
	i, _ := slices.BinarySearch(readers, f.freedBy)
	if i == 0 || readers[i-1] < f.birth || mutant.Is(mutant.ReuseUnderReader) {
		return 0, false
	}
	return readers[i-1], true
}
