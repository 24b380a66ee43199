package lightning

import (
	"github.com/lightning-db/lightning/page"
)

// node is an extent that is not written yet: a branch or leaf being edited in
// place, a big value or a long key. It has no page number: the flush that
// writes it chooses one. Until then pages above refer to it by its index in
// their kids.
type node struct {
	buf   []byte   // image; edited only by owner, frozen once sealed
	pages int      // length of buf
	kids  []*node  // what pending references in buf mean, by index; may hold stale entries
	owner *Tx      // transaction that made it, the only one that may edit it
	group *group   // group it was sealed into; nil while owner runs
	ref   page.Ref // final once group.flushed
	few   [1]*node // first storage of kids
	lent  bool     // of an extent: the user holds slices of buf
}

func (n *node) img() page.Node { return page.Node(n.buf) }

// isPage reports whether the node is a branch or leaf; else it is an extent with
// a value or key, which is never edited.
func (n *node) isPage() bool { return page.TypeOf(n.buf) <= page.TypeLeaf }

// takeBack ends the use of a node that nobody refers to. The buffer of an extent
// lives on if the user holds slices of it; those of pages were never handed
// out, see Tx.keep, or have ended with their transaction.
func (db *DB) takeBack(n *node) {
	switch {
	case n.buf == nil:
	case n.isPage():
		db.buffers.put(n.buf)
	case !n.lent:
		db.extents.put(n.buf)
	}
	n.buf, n.kids, n.few = nil, nil, [1]*node{}
}

// final reports whether the node is written and its reference known.
func (n *node) final() bool { return n.group != nil && n.group.flushed.Load() }

// handle is where a tree goes on: a page of the file or a node not yet written.
// The zero handle is an empty tree.
type handle struct {
	ref page.Ref
	n   *node
}

func (h handle) isZero() bool { return h.n == nil && h.ref.IsZero() }

// settle replaces a node that has been written by its page, so that memory is
// given back and the page is read through the map.
func (h handle) settle() handle {
	if h.n != nil && h.n.final() {
		return handle{ref: h.n.ref}
	}
	return h
}

// view is an image together with the node that it belongs to, if it is dirty.
type view struct {
	img page.Node
	n   *node
}

// at returns the handle for the reference at the given offset of the image.
func (v view) at(offset int) handle {
	r := page.GetRef(v.img[offset:])
	if i, ok := r.Pending(); ok {
		return handle{n: v.n.kids[i]}.settle()
	}
	return handle{ref: r}
}

// point makes the reference at the given offset of n's image lead to kid.
func (n *node) point(offset int, kid *node) {
	if i, ok := page.GetRef(n.buf[offset:]).Pending(); ok {
		n.kids[i] = kid
		return
	}
	page.PutRef(n.buf[offset:], n.add(kid))
}

// add returns a reference for use in n's image that leads to kid.
func (n *node) add(kid *node) page.Ref {
	n.kids = append(n.kids, kid)
	return page.PendingRef(len(n.kids) - 1)
}

// refTo returns a reference for use in n's image that leads to h.
func (n *node) refTo(h handle) page.Ref {
	if h.n != nil {
		return n.add(h.n)
	}
	return h.ref
}

// adopt makes n the owner of the pending references in its cells [from, to),
// which were copied from an image whose references src keeps.
func (n *node) adopt(from, to int, src *node) {
	if src == nil || len(src.kids) == 0 {
		return
	}
	img := n.img()
	for at := range img.Pending(from, to) {
		k, _ := page.GetRef(img[at:]).Pending()
		page.PutRef(img[at:], n.refTo(handle{n: src.kids[k]}.settle()))
	}
}

// newNode returns an empty branch (level > 0) or leaf of the transaction.
func (tx *Tx) newNode(level int) *node {
	n := &node{buf: tx.db.buffers.get(), owner: tx}
	n.kids = n.few[:0]
	clear(n.buf)
	page.InitNode(n.buf, level)
	tx.track(n)
	return n
}

// newExtent returns a dirty extent of type t with a copy of the payload.
func (tx *Tx) newExtent(t page.Type, payload []byte) *node {
	pages := page.ExtentPages(uint64(len(payload)), tx.db.pageSize)
	n := &node{buf: tx.db.extents.get(pages * tx.db.pageSize), owner: tx}
	copy(page.InitExtent(n.buf, t, len(payload), tx.db.pageSize), payload)
	tx.track(n)
	return n
}

func (tx *Tx) track(n *node) {
	tx.nodes = append(tx.nodes, n)
	tx.stats.NodeCount++
	tx.stats.PageCount++
	tx.stats.PageAlloc += int64(len(n.buf))
	n.pages = len(n.buf) / tx.db.pageSize
}

// shadow returns an editable copy of v, which stands at h and is given up.
func (tx *Tx) shadow(v view, h handle) *node {
	n := &node{buf: tx.db.buffers.get(), owner: tx}
	n.kids = n.few[:0]
	copy(n.buf, v.img)
	tx.track(n)
	n.adopt(0, v.img.Count(), v.n)
	tx.discard(h, 1)
	return n
}

// extent is a run of pages given up by a transaction.
type extent struct {
	id    page.ID
	pages int
	birth page.TxID
}

// discard gives up the extent of the given number of pages at h.
func (tx *Tx) discard(h handle, pages int) {
	h = h.settle()
	switch {
	case h.n == nil:
		tx.freed = append(tx.freed, extent{h.ref.ID, pages, h.ref.Birth})
	case h.n.owner == tx:
		h.n.owner = nil // no longer reachable; seal leaves it out
		tx.db.takeBack(h.n)
	default:
		tx.replaced = append(tx.replaced, h.n)
	}
}
