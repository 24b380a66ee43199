package lightning

import (
	"bytes"

	"github.com/lightning-db/lightning/page"
)

// edge is the right edge of a tree, where keys greater than all others are
// appended without a descent: pages are filled one after the other, and each that
// is full hands the next one up to its parent. The tree is whole after each key.
type edge struct {
	tree  *tree
	nodes []*node // by level, the leaf first; all of the transaction's own
	gen   uint64  // of the tree when nodes was right
	limit int     // bytes that a page may use
	fill  float64 // FillPercent that limit was made of
}

// minKids is how many children a branch has at the least when it is left for the
// next one, so that no fill makes branches that decide nothing.
const minKids = 4

// setFill sets how much of its pages the edge uses: all of it, or what
// Bucket.FillPercent says if it is not DefaultFillPercent.
func (e *edge) setFill(fill float64) {
	e.fill = fill
	if fill == DefaultFillPercent {
		fill = 1
	}
	room := e.tree.tx.db.pageSize - page.HeaderSize
	e.limit = page.HeaderSize + int(float64(room)*min(max(fill, 0.1), 1))
}

// serves reports whether the edge is that of b's tree as it is.
func (e *edge) serves(b *Bucket) bool {
	return e.tree == &b.tree && e.gen == b.tree.gen && e.fill == b.FillPercent
}

// isBehind reports whether key is behind the last key of the tree, as far as the
// leaf itself can tell.
func (e *edge) isBehind(key []byte) bool {
	img := e.nodes[0].img()
	c := img.Cell(img.Count() - 1)
	known := c.Known()
	return bytes.Compare(key, known) > 0 && !(c.IsLong() && bytes.HasPrefix(key, known))
}

// take makes the edge that of b's tree if path, which seek returned, ends behind
// the last key; else it returns false and changes nothing.
func (e *edge) take(b *Bucket, path []step) (bool, error) {
	t := &b.tree
	if len(path) == 0 {
		n := t.tx.newNode(0)
		t.root = handle{n: n}
		path = append(path, step{view{n.img(), n}, 0})
	}
	last := len(path) - 1
	if path[last].i < path[last].img.Count() || !rightmost(path[:last]) {
		return false, nil
	}
	if err := t.own(path); err != nil {
		return false, err
	}
	e.nodes = e.nodes[:0]
	for ; last >= 0; last-- {
		e.nodes = append(e.nodes, path[last].n)
	}
	e.tree, e.gen = t, t.gen
	e.setFill(b.FillPercent)
	return true, nil
}

// append stores a plain value under key, which is greater than all keys of the
// tree, whose edge this is.
func (e *edge) append(key, value []byte) error {
	t := e.tree
	size := t.tx.db.pageSize
	k := page.Key{Bytes: key, Long: len(key) > page.MaxInlineKey(size)}
	big := len(value) > page.MaxInlineValue(size)
	leaf := e.nodes[0]
	if img := leaf.img(); img.Count() > 0 && img.Used()+page.LeafSpace(k, len(value), big) > e.limit {
		var err error
		if leaf, err = e.nextLeaf(key); err != nil {
			return err
		}
	}
	if k.Long {
		k.Ref = leaf.add(t.tx.newExtent(page.TypeKey, key))
	}
	if big {
		r := leaf.add(t.tx.newExtent(page.TypeValue, value))
		leaf.img().AppendBig(k, len(value), r, t.tx.scratch())
	} else {
		leaf.img().AppendLeaf(k, value, t.tx.scratch())
	}
	t.count++
	t.gen++ // cursors look again
	e.gen = t.gen
	return nil
}

// nextLeaf leaves the leaf as it is and returns a new one behind it, which key
// will be the first of.
func (e *edge) nextLeaf(key []byte) (*node, error) {
	t := e.tree
	left := view{e.nodes[0].img(), e.nodes[0]}
	last, err := t.key(left, left.img.Count()-1)
	if err != nil {
		return nil, err
	}
	sep := separator{bytes: key[:shortest(last, key)]}
	if sep.long = len(sep.bytes) > page.MaxInlineKey(t.tx.db.pageSize); sep.long {
		sep.extent = handle{n: t.tx.newExtent(page.TypeKey, sep.bytes)}
	}
	leaf := t.tx.newNode(0)
	if err := e.hang(leaf, 1, sep); err != nil {
		return nil, err
	}
	e.nodes[0] = leaf
	return leaf, nil
}

// hang puts kid behind the last child of the branch at the given level, or into a
// new branch behind that if it is full.
func (e *edge) hang(kid *node, level int, sep separator) error {
	t := e.tree
	if level == len(e.nodes) {
		t.grow(e.nodes[level-1], kid, sep)
		e.nodes = append(e.nodes, t.root.n)
		return nil
	}
	n := e.nodes[level]
	if err := t.between(view{n.img(), n}, n.img().Count(), sep.bytes); err != nil {
		return err
	}
	k := page.Key{Bytes: sep.bytes, Long: sep.long}
	if img := n.img(); img.Count() < minKids || img.Used()+page.BranchSpace(k) <= e.limit {
		if k.Long {
			k.Ref = n.refTo(sep.extent)
		}
		img.AppendBranch(k, n.add(kid), t.tx.scratch())
		return nil
	}
	next := t.tx.newNode(level)
	next.img().AppendBranch(page.Key{}, next.add(kid), t.tx.scratch())
	if err := e.hang(next, level+1, sep); err != nil {
		return err
	}
	e.nodes[level] = next
	return nil
}
