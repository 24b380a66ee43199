package lightning

import (
	"math"

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
	s, err := tx.spaceOf(snap)
	if err != nil {
		return err
	}
	free, err := s.free.isFree(uint64(info.ID))
	if err != nil {
		return s.mapError(err)
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
	if page.IDOf(b) != page.ID(info.ID) || page.BirthOf(b) > snap.meta.TxID || page.PagesOf(b) > math.MaxInt32 {
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

// spaceOf returns the space map of the snapshot, kept while the transaction
// sees the same one.
func (tx *Tx) spaceOf(snap *snapshot) (*space, error) {
	if tx.pageMap != nil && tx.pageMapOf == snap {
		return tx.pageMap, nil
	}
	s, err := openSpace(tx.db, &snap.meta)
	if err != nil {
		return nil, err
	}
	tx.pageMap, tx.pageMapOf = s, snap
	return s, nil
}
