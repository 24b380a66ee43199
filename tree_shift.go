package lightning

import (
	"github.com/lightning-db/lightning/page"
)

// shift makes room in the full leaf at depth d by moving cells to a neighbour
// below the same parent, and puts the cell at index i of the leaf into whichever
// of the two it belongs to. It reports false, and has changed nothing, where no
// neighbour has room to spare. Leaves of keys put in random order are four fifths
// full by it, not two thirds: the idea of the B*-tree (Knuth, TAOCP 6.2.4).
func (t *tree) shift(path []step, d, i int, cell []byte) (bool, error) {
	if d == 0 || path[d].img.IsBranch() || t.fill != DefaultFillPercent {
		return false, nil
	}
	at := path[d-1].i
	if i == path[d].img.Count() && rightmost(path[:d]) {
		return false, nil // keys arrive in ascending order: leave full pages behind
	}
	for _, by := range [2]int{1, -1} {
		p := pair{full: path[d].n, parent: path[d-1].n, l: min(at, at+by), leftFull: by > 0}
		if at+by < 0 || at+by >= p.parent.img().Count() {
			continue
		}
		var err error
		if p.other, err = t.child(view{p.parent.img(), p.parent}, at+by); err != nil {
			return false, err
		}
		keep, fits := p.cut(i, len(cell))
		if !fits {
			continue
		}
		return true, t.move(path[:d], p, keep, i, cell)
	}
	return false, nil
}

// pair is a full leaf and a neighbour.
type pair struct {
	full     *node
	other    view
	parent   *node
	l        int  // index in parent of the left one of the two
	leftFull bool // the full one is the left one
}

// spare is the part of a page that must be free for cells to be moved there.
const spare = 1. / 5

// cut returns how many cells stay left so that both leaves are about equally
// full, counting those of the full leaf and the new one among them at index i; false if that
// is not worth it.
func (p *pair) cut(i, cellLen int) (keep int, fits bool) {
	img := p.full.img()
	size := len(img)
	free := p.other.img.Free()
	if float64(free) < spare*float64(size) {
		return 0, false
	}
	give := func(v int) int { // space of the v-th cell, the new one counted
		switch {
		case v < i:
			return img.SpaceOf(v)
		case v == i:
			return page.CellSpace(cellLen)
		}
		return img.SpaceOf(v - 1)
	}
	count := img.Count() + 1
	used := img.Used() + page.CellSpace(cellLen)
	moved, n := 0, 0
	for n < count-1 && (used-moved > size || used-moved > p.other.img.Used()+moved) {
		v := n
		if p.leftFull {
			v = count - 1 - n
		}
		moved += give(v)
		n++
	}
	if moved > free || used-moved > size {
		return 0, false
	}
	if p.leftFull {
		return count - n, true
	}
	return n, true
}

// move brings the cells over, of which keep, the new one at index i counted,
// stay in or go to the left leaf, and gives the parent a new separator. path leads to
// the parent.
func (t *tree) move(path []step, p pair, keep, i int, cell []byte) error {
	pv := view{p.parent.img(), p.parent}
	sides := [2]view{{p.full.img(), p.full}, p.other}
	if !p.leftFull {
		sides[0], sides[1] = sides[1], sides[0]
	}
	if err := t.ascending(pv, p.l, sides[0], sides[1]); err != nil {
		return err
	}
	other := p.other.n
	if other == nil || other.owner != t.tx {
		at := p.l
		if p.leftFull {
			at++
		}
		offset := pv.img.ChildAt(at)
		other = t.tx.shadow(p.other, pv.at(offset))
		p.parent.point(offset, other)
	}
	t.tx.stats.Rebalance++
	if p.leftFull {
		t.moveTail(p.full, other, keep, i, cell)
		return t.partAt(path, p.l, p.full, other)
	}
	t.moveHead(p.full, other, keep, i, cell)
	return t.partAt(path, p.l, other, p.full)
}

// moveTail moves the last cells of from to the front of to, but for the first
// keep; the new cell at index i is counted. References of the cell are from's.
func (t *tree) moveTail(from, to *node, keep, i int, cell []byte) {
	src, dst := from.img(), to.img()
	cut := keep
	if i < keep {
		cut--
	}
	n := src.Count() - cut
	for j := range n {
		dst.Insert(j, src.Raw(cut+j), t.tx.scratch())
	}
	src.DeleteRange(cut, cut+n)
	if i < keep {
		src.Insert(i, cell, t.tx.scratch())
	} else {
		dst.Insert(i-cut, cell, t.tx.scratch())
		n++
	}
	to.adopt(0, n, from)
}

// moveHead moves the first cells of from, keep of them if the new cell at index i is
// counted, to the end of to. References of the cell are from's.
func (t *tree) moveHead(from, to *node, keep, i int, cell []byte) {
	src, dst := from.img(), to.img()
	cut := keep
	if i < keep {
		cut--
	}
	start := dst.Count()
	dst.Reserve(src.Used()+page.CellSpace(len(cell)), t.tx.scratch())
	dst.AppendFrom(src, 0, cut)
	src.DeleteRange(0, cut)
	if i < keep {
		dst.Insert(start+i, cell, t.tx.scratch())
	} else {
		src.Insert(i-cut, cell, t.tx.scratch())
	}
	to.adopt(start, dst.Count(), from)
}

// partAt replaces the separator between children l and l+1 of the branch at the
// end of path, whose cells have changed.
func (t *tree) partAt(path []step, l int, left, right *node) error {
	parent := path[len(path)-1].n
	sep, err := t.separator(left, right)
	if err != nil {
		return err
	}
	pv := view{parent.img(), parent}
	k := page.Key{Bytes: sep.bytes, Long: sep.long}
	if k.Long {
		k.Ref = parent.refTo(sep.extent)
	}
	child := pv.img.Child(l + 1)
	t.discardKey(pv, l+1)
	pv.img.Delete(l + 1)
	if err := t.between(pv, l+1, sep.bytes); err != nil {
		return err
	}
	t.tx.cell = page.AppendBranchCell(t.tx.cell[:0], k, child)
	return t.insert(path, len(path)-1, l+1, t.tx.cell)
}
