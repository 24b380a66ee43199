package lightning

import (
	"bytes"

	"github.com/lightning-db/lightning/page"
)

// tree is the B+tree of one bucket as one transaction sees it. Pages are
// searched where they are; a change first shadows the path to the leaf
// (copy-on-write, once a transaction) and then edits the copies in place.
type tree struct {
	tx     *Tx
	root   handle    // zero if empty or inline
	inline page.Node // leaf image inside the parent's cell; nil once changed
	count  uint64    // keys
	gen    uint64    // raised by each change, so that cursors notice
	fill   float64   // where splits cut, see Bucket.FillPercent
	above  *tree     // of the bucket that this one is nested in
	depth  int       // buckets around this one, the root among them
}

// step is one level of a path: a node and the index taken in it.
type step struct {
	view
	i int
}

// load returns the branch or leaf at h. level is the level it must have, or
// anyLevel for a root.
func (t *tree) load(h handle, level int) (view, error) {
	if h.n != nil {
		return view{h.n.img(), h.n}, nil
	}
	img, err := t.tx.node(h.ref, level)
	return view{img: img}, err
}

const anyLevel = -1

// maxHeight is how many levels of pages a tree may have. A tree grows by one when
// its root splits, and for that each page below must have split several times: it
// takes more puts than a machine can make to get there. A forged file gets there
// with a page a level, and walks go one call down with each.
const maxHeight = 48

// top returns the root node; its image is nil if the tree is empty.
func (t *tree) top() (view, error) {
	if t.inline != nil {
		return view{img: t.inline}, nil
	}
	if t.root.n != nil { // only in writable transactions, so readers share t
		t.root = t.root.settle()
	}
	if t.root.isZero() {
		return view{}, nil
	}
	v, err := t.load(t.root, anyLevel)
	if err == nil && v.img.Level() >= maxHeight {
		return view{}, t.tx.db.corrupt(uint64(t.root.ref.ID), "tree is taller than any can grow", nil)
	}
	return v, err
}

// child returns child i of the branch v.
func (t *tree) child(v view, i int) (view, error) {
	at := v.img.ChildAt(i)
	level := v.img.Level() - 1
	if v.n == nil {
		if img := t.tx.db.known(v.img[at:], level); img != nil {
			return view{img: img}, nil
		}
	}
	return t.load(v.at(at), level)
}

// seek appends the path to where key is or belongs. The path stays empty in an
// empty tree.
func (t *tree) seek(path []step, key []byte) (_ []step, found bool, err error) {
	v, err := t.top()
	if err != nil || v.img == nil {
		return path, false, err
	}
	for {
		i, found, err := t.search(v, key)
		if err != nil {
			return path, false, err
		}
		if !v.img.IsBranch() {
			return append(path, step{v, i}), found, nil
		}
		if !found {
			i--
		}
		path = append(path, step{v, i})
		if v, err = t.child(v, i); err != nil {
			return path, false, err
		}
	}
}

// find returns the leaf and index of key, if it is found, without keeping the path.
func (t *tree) find(key []byte) (v view, i int, found bool, err error) {
	if v, err = t.top(); err != nil || v.img == nil {
		return v, 0, false, err
	}
	for v.img.IsBranch() {
		if i, found, err = t.search(v, key); err != nil {
			return v, 0, false, err
		}
		if !found {
			i--
		}
		if v, err = t.child(v, i); err != nil {
			return v, 0, false, err
		}
	}
	i, f := v.img.Lookup(key)
	if f == page.NeedLong {
		i, found, err = t.searchLong(v, key)
		return v, i, found, err
	}
	return v, i, f == page.Present, nil
}

// search finds key in one node.
func (t *tree) search(v view, key []byte) (int, bool, error) {
	i, f := v.img.Search(key)
	if f != page.NeedLong {
		return i, f == page.Present, nil
	}
	return t.searchLong(v, key)
}

// searchLong is search for a node in which key ties with a long key's first
// bytes: it compares full keys, fetching extents.
func (t *tree) searchLong(v view, key []byte) (int, bool, error) {
	lo, hi := 0, v.img.Count()
	if v.img.IsBranch() {
		lo = 1
	}
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		k, err := t.key(v, m)
		if err != nil {
			return 0, false, err
		}
		switch c := bytes.Compare(key, k); {
		case c == 0:
			return m, true, nil
		case c > 0:
			lo = m + 1
		default:
			hi = m
		}
	}
	return lo, false, nil
}

// key returns the full key of cell i, in the page or in its extent.
func (t *tree) key(v view, i int) ([]byte, error) {
	c := v.img.Cell(i)
	return t.keyOf(v, &c)
}

// keyOf returns the full key of the cell c of v.
func (t *tree) keyOf(v view, c *page.Cell) ([]byte, error) {
	if !c.IsLong() {
		return c.Known(), nil
	}
	h := v.at(c.KeyRefAt())
	k, err := t.payload(h, page.TypeKey, uint64(c.KeyLen()))
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(k, c.Known()) {
		return nil, t.tx.db.corrupt(uint64(h.ref.ID), "long key does not begin as its cell says", nil)
	}
	return k, nil
}

// valueOf returns the plain value of the cell c of v.
func (t *tree) valueOf(v view, c *page.Cell) ([]byte, error) {
	if !c.IsBig() {
		return c.Value(), nil
	}
	return t.payload(v.at(c.ValueRefAt()), page.TypeValue, uint64(c.ValueLen()))
}

// payload returns the content of the extent of type kind and n bytes at h.
func (t *tree) payload(h handle, kind page.Type, n uint64) ([]byte, error) {
	if h.n != nil {
		h.n.lent = true
		return page.Payload(h.n.buf, n)
	}
	return t.tx.payload(h.ref, kind, n)
}

// own makes every node of the path editable, from the root down.
func (t *tree) own(path []step) error {
	t.gen++
	for d := range path {
		s := &path[d]
		if s.n != nil && s.n.owner == t.tx {
			continue
		}
		if d == 0 && t.inline != nil {
			s.n = t.materialize()
			s.img = s.n.img()
			continue
		}
		h := t.root
		offset := 0
		if d > 0 {
			offset = path[d-1].img.ChildAt(path[d-1].i)
			h = path[d-1].at(offset)
		}
		s.n = t.tx.shadow(s.view, h)
		s.img = s.n.img()
		if d == 0 {
			t.root = handle{n: s.n}
		} else {
			path[d-1].n.point(offset, s.n)
		}
	}
	return nil
}

// materialize turns the inline leaf into a node of its own.
func (t *tree) materialize() *node {
	n := t.tx.newNode(0)
	n.img().AppendFrom(t.inline, 0, t.inline.Count())
	t.inline = nil
	t.root = handle{n: n}
	return n
}

// put stores a plain value under key. Whether key may be put is the caller's
// question; path and found are what seek returned.
func (t *tree) put(path []step, found bool, key, value []byte) error {
	return t.store(path, found, key, func(leaf *node, k page.Key) []byte {
		if len(value) <= page.MaxInlineValue(t.tx.db.pageSize) {
			return page.AppendLeafCell(t.tx.cell[:0], 0, k, value)
		}
		r := leaf.add(t.tx.newExtent(page.TypeValue, value))
		return page.AppendBigCell(t.tx.cell[:0], k, len(value), r)
	})
}

// putBucket stores the header of a nested bucket under key: inline if image is
// not nil, else with its tree at root.
func (t *tree) putBucket(path []step, found bool, key []byte, h page.Bucket, root handle, image []byte) error {
	return t.store(path, found, key, func(leaf *node, k page.Key) []byte {
		h.Root = page.Ref{}
		if image == nil && !root.isZero() {
			h.Root = leaf.refTo(root)
		}
		payload := append(t.tx.bucketCell[:0], make([]byte, page.BucketSize)...)
		page.PutBucket(payload, h)
		t.tx.bucketCell = append(payload, image...)
		return page.AppendLeafCell(t.tx.cell[:0], page.CellBucket, k, t.tx.bucketCell)
	})
}

// store puts the cell that build makes for the leaf at the end of path.
func (t *tree) store(path []step, found bool, key []byte, build func(leaf *node, k page.Key) []byte) error {
	if len(path) == 0 {
		n := t.tx.newNode(0)
		t.root = handle{n: n}
		path = append(path, step{view{n.img(), n}, 0})
	}
	if err := t.own(path); err != nil {
		return err
	}
	last := len(path) - 1
	leaf, i := path[last].n, path[last].i
	k := page.Key{Bytes: key, Long: len(key) > page.MaxInlineKey(t.tx.db.pageSize)}
	if found {
		c := leaf.img().Cell(i)
		if k.Long {
			k.Ref = page.GetRef(leaf.buf[c.KeyRefAt():])
		}
		t.discardValue(view{leaf.img(), leaf}, i)
	} else {
		t.count++
		if k.Long {
			k.Ref = leaf.add(t.tx.newExtent(page.TypeKey, key))
		}
	}
	cell := build(leaf, k)
	t.tx.cell = cell
	if found {
		if leaf.img().ReplaceRoom(i, len(cell)) {
			leaf.img().Replace(i, cell, t.tx.scratch())
			return nil
		}
		leaf.img().Delete(i)
	}
	return t.insert(path, last, i, cell)
}

// discardValue gives up the extent of cell i's value, if it has one.
func (t *tree) discardValue(v view, i int) {
	if c := v.img.Cell(i); c.IsBig() {
		pages := page.ExtentPages(uint64(c.ValueLen()), t.tx.db.pageSize)
		t.tx.discard(v.at(c.ValueRefAt()), pages)
	}
}

// discardCell gives up the extents of cell i's key and value.
func (t *tree) discardCell(v view, i int) {
	t.discardKey(v, i)
	t.discardValue(v, i)
}

func (t *tree) discardKey(v view, i int) {
	if c := v.img.Cell(i); c.IsLong() {
		pages := page.ExtentPages(uint64(c.KeyLen()), t.tx.db.pageSize)
		t.tx.discard(v.at(c.KeyRefAt()), pages)
	}
}
