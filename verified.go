package lightning

import (
	"slices"
	"sync/atomic"

	"github.com/lightning-db/lightning/internal/mutant"
	"github.com/lightning-db/lightning/page"
)

// verifiedSet remembers which extents this process has found good, one bit for
// the first page of each. Readers set bits without locks; the flush clears a
// bit before the page is written again. One bit a page: 32 KiB of memory for
// each GiB of 4 KiB pages.
type verifiedSet struct {
	chunks atomic.Pointer[[]*verifiedChunk]
}

const verifiedChunkPages = 1 << 15

type verifiedChunk [verifiedChunkPages / 32]atomic.Uint32

// reach makes room for pages [0, end). It is called before they are referred
// to, by one goroutine at a time.
func (v *verifiedSet) reach(end page.ID) {
	var chunks []*verifiedChunk
	if p := v.chunks.Load(); p != nil {
		chunks = *p
	}
	need := int((uint64(end) + verifiedChunkPages - 1) / verifiedChunkPages)
	if len(chunks) >= need {
		return
	}
	chunks = slices.Clone(chunks)
	for len(chunks) < need {
		chunks = append(chunks, new(verifiedChunk))
	}
	v.chunks.Store(&chunks)
}

func (v *verifiedSet) word(id page.ID) *atomic.Uint32 {
	p := v.chunks.Load()
	i := uint64(id) / verifiedChunkPages
	if p == nil || i >= uint64(len(*p)) {
		return nil
	}
	return &(*p)[i][uint64(id)%verifiedChunkPages/32]
}

func (v *verifiedSet) has(id page.ID) bool {
	w := v.word(id)
	return w != nil && w.Load()>>(uint64(id)%32)&1 != 0
}

func (v *verifiedSet) set(id page.ID) {
	if w := v.word(id); w != nil {
		w.Or(1 << (uint64(id) % 32))
	}
}

func (v *verifiedSet) clear(id page.ID) {
	if w := v.word(id); w != nil && !mutant.Is(mutant.KeepVerified) {
		w.And(^uint32(1 << (uint64(id) % 32)))
	}
}

// trusting reports whether a page that was found good is trusted from then on.
func (db *DB) trusting() bool { return db.verify != VerifyAlways && db.failed.Load() == nil }

// extent returns the extent at r, of the given number of pages, from the map.
// It is checked against its digest when this process first touches it: every
// byte that a read returns has passed here. The type is the caller's question.
func (db *DB) extent(r page.Ref, pages int) ([]byte, error) {
	end := uint64(r.ID) + uint64(pages)
	if end > db.filePages.Load() {
		return nil, db.corrupt(uint64(r.ID), "reference past the end of the file", nil)
	}
	b, ok := db.data.At(int64(r.ID)*int64(db.pageSize), pages*db.pageSize)
	if !ok {
		return nil, db.corrupt(uint64(r.ID), "extent is not mapped", ErrInvalidMapping)
	}
	if !db.verified.has(r.ID) || !db.trusting() {
		if err := db.examine(r, b, pages); err != nil {
			return nil, err
		}
		db.verified.set(r.ID)
	} else if page.BirthOf(b) != r.Birth || page.PagesOf(b) != pages {
		return nil, db.corrupt(uint64(r.ID), "page is not what its parent says", nil)
	}
	return b, nil
}

// known is extent for the node of the given level that the reference at the
// start of ref leads to, if nothing but its header needs to be looked at; else it returns
// nil and extent says what is wrong, if anything is.
func (db *DB) known(ref []byte, level int) page.Node {
	id, birth := page.PlaceOf(ref)
	if uint64(id) >= db.filePages.Load() || !db.verified.has(id) || !db.trusting() {
		return nil
	}
	b, ok := db.data.At(int64(id)*int64(db.pageSize), db.pageSize)
	if !ok || !page.IsNode(b, level, birth) {
		return nil
	}
	return page.Node(b)
}

// examine checks the bytes b of an extent against the reference: digest,
// header and structure, in this order.
//
// The structure of a node that this process wrote is not looked at: its digest says
// that it is as it was written. A forged file cannot claim that for its pages. All
// that it can refer to was born before it was opened, because no page is older than
// one that it refers to: page.Validate holds that, and nothing is followed
// from a page that did not pass. The tag invariants looks all the same.
func (db *DB) examine(r page.Ref, b []byte, pages int) error {
	proven := false
	if db.verify != VerifyNever {
		got := page.Digest(db.hasher.Sum(b))
		if proven = got == r.Digest; !proven && !mutant.Is(mutant.NoPageDigest) {
			return db.corruptDigest(uint64(r.ID), [24]byte(r.Digest), [24]byte(got))
		}
	}
	if err := page.MatchHeader(b, r, page.TypeOf(b), pages); err != nil {
		return db.corrupt(uint64(r.ID), "header", err)
	}
	if t := page.TypeOf(b); proven && r.Birth > db.found && (t == page.TypeBranch || t == page.TypeLeaf) && !invariants {
		return nil
	}
	if err := page.Validate(b); err != nil {
		return db.corrupt(uint64(r.ID), "structure", err)
	}
	return nil
}
