package lightning

import (
	"bytes"

	"github.com/lightning-db/lightning/page"
)

// remove deletes the cell at the end of path, which seek found, with its
// extents. A nested bucket's tree is the caller's to give up.
func (t *tree) remove(path []step) error {
	if err := t.own(path); err != nil {
		return err
	}
	last := len(path) - 1
	leaf, i := path[last].n, path[last].i
	t.discardCell(view{leaf.img(), leaf}, i)
	leaf.img().Delete(i)
	t.count--
	return t.rebalance(path, last)
}

// rebalance mends the node at depth d after cells were taken out: an empty
// node goes, a nearly empty one is merged with a neighbour, a root with one
// child gives way to it.
func (t *tree) rebalance(path []step, d int) error {
	n := path[d].n
	if d == 0 {
		return t.lower()
	}
	img := n.img()
	if img.Count() > 0 && img.Used() >= t.tx.db.pageSize/4 {
		return nil
	}
	parent, i := path[d-1].n, path[d-1].i
	t.tx.stats.Rebalance++
	if img.Count() == 0 {
		t.tx.discard(handle{n: n}, 1)
		t.removeChild(parent, i)
		return t.rebalance(path, d-1)
	}
	merged, err := t.merge(parent, i)
	if err != nil || !merged {
		return err
	}
	return t.rebalance(path, d-1)
}

// lower takes away roots that have nothing to decide.
func (t *tree) lower() error {
	for {
		v, err := t.top()
		if err != nil || v.img == nil || v.n == nil {
			return err
		}
		switch {
		case v.img.Count() == 0:
			t.tx.discard(t.root, 1)
			t.root = handle{}
			return nil
		case !v.img.IsBranch() || v.img.Count() > 1:
			return nil
		}
		child := v.at(v.img.ChildAt(0))
		t.tx.discard(t.root, 1)
		t.root = child
	}
}

// removeChild takes child i, already given up, out of the branch.
func (t *tree) removeChild(n *node, i int) {
	v := view{n.img(), n}
	t.discardKey(v, i)
	v.img.Delete(i)
	if i == 0 && v.img.Count() > 0 {
		t.discardKey(v, 0)
		t.clearFirst(n)
	}
}

// merge joins child i of parent with its right or left neighbour if both fit
// into one page with some air left, so that the next put does not split again.
func (t *tree) merge(parent *node, i int) (bool, error) {
	for _, l := range [2]int{i, i - 1} {
		if l < 0 || l+1 >= parent.img().Count() {
			continue
		}
		pv := view{parent.img(), parent}
		left, err := t.child(pv, l)
		if err != nil {
			return false, err
		}
		right, err := t.child(pv, l+1)
		if err != nil {
			return false, err
		}
		need := left.img.Used() + right.img.Used() - page.HeaderSize
		if left.img.IsBranch() {
			need += pv.img.SpaceOf(l + 1)
		}
		if need > t.tx.db.pageSize*7/8 {
			continue
		}
		return true, t.join(parent, l, left, right)
	}
	return false, nil
}

// join moves what child l+1 of parent holds into child l.
func (t *tree) join(parent *node, l int, left, right view) error {
	pv := view{parent.img(), parent}
	if err := t.ascending(pv, l, left, right); err != nil {
		return err
	}
	if left.n == nil || left.n.owner != t.tx {
		at := pv.img.ChildAt(l)
		n := t.tx.shadow(left, pv.at(at))
		parent.point(at, n)
		left = view{n.img(), n}
	}
	start := left.img.Count()
	sepMoves := false
	if left.img.IsBranch() {
		// The separator comes down as the key of right's first child.
		c := pv.img.Cell(l + 1)
		k := page.Key{Long: c.IsLong()}
		full, err := t.key(pv, l+1)
		if err != nil {
			return err
		}
		k.Bytes = full
		if k.Long {
			k.Ref = left.n.refTo(pv.at(c.KeyRefAt()))
			sepMoves = true
		}
		child := left.n.refTo(right.at(right.img.ChildAt(0)))
		t.tx.cell = page.AppendBranchCell(t.tx.cell[:0], k, child)
		left.img.Insert(start, t.tx.cell, t.tx.scratch())
		start++
		t.appendAll(left, right, 1, start)
	} else {
		t.appendAll(left, right, 0, start)
	}
	t.tx.discard(pv.at(pv.img.ChildAt(l+1)), 1)
	if !sepMoves {
		t.discardKey(pv, l+1)
	}
	parent.img().Delete(l + 1)
	return nil
}

// ascending fails if child l of parent and its right neighbour are not in
// order, which no page can tell by itself.
func (t *tree) ascending(parent view, l int, left, right view) error {
	first := 0
	if right.img.IsBranch() {
		first = 1
	}
	keys := make([][]byte, 0, 3)
	for _, at := range []struct {
		v view
		i int
	}{{left, left.img.Count() - 1}, {parent, l + 1}, {right, first}} {
		if at.i >= at.v.img.Count() || (at.v.img.IsBranch() && at.i == 0) {
			continue
		}
		k, err := t.key(at.v, at.i)
		if err != nil {
			return err
		}
		keys = append(keys, k)
	}
	for i := 1; i < len(keys); i++ {
		c := bytes.Compare(keys[i-1], keys[i])
		if c > 0 || (c == 0 && (i == 1 || right.img.IsBranch())) {
			return t.tx.db.corrupt(uint64(parent.at(parent.img.ChildAt(l)).ref.ID), "keys of neighbouring pages are out of order", nil)
		}
	}
	return nil
}

// appendAll appends cells [from, …) of right to left, which holds start cells,
// packing left first if its garbage is in the way.
func (t *tree) appendAll(left, right view, from, start int) {
	left.img.Reserve(right.img.Used(), t.tx.scratch())
	left.img.AppendFrom(right.img, from, right.img.Count())
	left.n.adopt(start, left.img.Count(), right.n)
}
