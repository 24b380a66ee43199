package lightning

import (
	"math"
	"sync"

	"github.com/lightning-db/lightning/page"
)

// Page describes the page with the given number in the newest state that the
// transaction can see, or returns nil past the end. Types are "meta",
// "branch", "leaf", "value", "key", "freelist" (the map of free pages), "free",
// and "overflow" for what follows the first page of an extent.
func (tx *Tx) Page(id int) (*PageInfo, error) {
	snap, release, err := tx.pin()
	if err != nil {
		return nil, err
	}
	defer release()
	if id < 0 || uint64(id) >= uint64(snap.meta.End) {
		return nil, nil
	}
	info := &PageInfo{ID: id, Type: "meta"}
	if id < 2 {
		return info, nil
	}
	err = tx.db.guarded(func() error { return tx.describe(info, snap) })
	return info, err
}

func (tx *Tx) describe(info *PageInfo, snap *snapshot) error {
	db := tx.db
	free, err := tx.isFree(snap, uint64(info.ID))
	if err != nil {
		return err
	}
	if free {
		info.Type = "free"
		return nil
	}
	b, ok := db.data.At(db.offset(page.ID(info.ID)), db.pageSize)
	if !ok {
		return db.corrupt(uint64(info.ID), "page is not mapped", ErrInvalidMapping)
	}
	info.Type = "overflow"
	if page.IDOf(b) != page.ID(info.ID) || page.BirthOf(b) > snap.meta.TxID || page.PagesOf(b) < 1 || page.PagesOf(b) > math.MaxInt32 {
		return nil
	}
	switch t := page.TypeOf(b); t {
	case page.TypeBranch, page.TypeLeaf:
		info.Type, info.Count = t.String(), page.Node(b).Count()
	case page.TypeValue, page.TypeKey:
		info.Type, info.OverflowCount = t.String(), page.PagesOf(b)-1
	case page.TypeSpaceLeaf, page.TypeSpaceIndex, page.TypeSpaceLog:
		info.Type = "freelist"
	}
	return nil
}

// pageLookup is the space map of one state, loaded for Tx.Page.
type pageLookup struct {
	of    *snapshot
	mu    sync.Mutex // guards space, which loads bitmaps as they are asked for
	space *space
}

// isFree reports whether the snapshot has the page free. The space map is kept
// while the transaction sees the same snapshot.
func (tx *Tx) isFree(snap *snapshot, id uint64) (bool, error) {
	l := tx.lookup.Load()
	if l == nil || l.of != snap {
		s, err := openSpace(tx.db, &snap.meta)
		if err != nil {
			return false, err
		}
		l = &pageLookup{of: snap, space: s}
		tx.lookup.Store(l)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	free, err := l.space.free.isFree(id)
	if err != nil {
		return false, l.space.mapError(err)
	}
	return free, nil
}
