package lightning

import (
	"bytes"

	"github.com/lightning-db/lightning/page"
)

// insert puts a cell at index i of the node at depth d of the path, all of
// which is editable, and splits upwards as long as nodes are full.
func (t *tree) insert(path []step, d, i int, cell []byte) error {
	n := path[d].n
	if n.img().Room(len(cell)) {
		n.img().Insert(i, cell, t.tx.scratch())
		return nil
	}
	if shifted, err := t.shift(path, d, i, cell); shifted || err != nil {
		return err
	}
	right := t.tx.newNode(n.img().Level())
	t.divide(n, right, i, cell, t.cut(path, d, i, len(cell)))
	t.tx.stats.Split++
	sep, err := t.separator(n, right)
	if err != nil {
		return err
	}
	if d == 0 {
		t.grow(n, right, sep)
		return nil
	}
	parent := path[d-1].n
	k := page.Key{Bytes: sep.bytes, Long: sep.long}
	if k.Long {
		k.Ref = parent.refTo(sep.extent)
	}
	if err := t.between(view{parent.img(), parent}, path[d-1].i+1, sep.bytes); err != nil {
		return err
	}
	t.tx.cell = page.AppendBranchCell(t.tx.cell[:0], k, parent.add(right))
	return t.insert(path, d-1, path[d-1].i+1, t.tx.cell)
}

// cut chooses how many cells, counting the new one, stay left in a split.
func (t *tree) cut(path []step, d, i, cellLen int) int {
	img := path[d].img
	count := img.Count()
	if t.fill != DefaultFillPercent {
		return img.SplitPoint(i, cellLen, min(max(t.fill, 0.1), 1))
	}
	if i < count || !rightmost(path[:d]) {
		return img.SplitPoint(i, cellLen, DefaultFillPercent)
	}
	// Keys arrive in ascending order: leave full pages behind.
	if img.IsBranch() {
		return count - 1
	}
	return count
}

func rightmost(path []step) bool {
	for _, s := range path {
		if s.i != s.img.Count()-1 {
			return false
		}
	}
	return true
}

// divide inserts cell at index i of left and leaves the first cut cells there;
// the rest goes to right, which is empty.
func (t *tree) divide(left, right *node, i int, cell []byte, cut int) {
	l, r := left.img(), right.img()
	keep, at := cut, i-cut
	if i < cut {
		keep = cut - 1
	}
	count := l.Count()
	r.AppendFrom(l, keep, count)
	l.DeleteRange(keep, count)
	if i < cut {
		l.Insert(i, cell, t.tx.scratch())
	} else {
		r.Insert(at, cell, t.tx.scratch())
	}
	right.adopt(0, r.Count(), left)
}

// separator is the key that tells two neighbours apart, on its way to the
// parent.
type separator struct {
	bytes  []byte
	long   bool
	extent handle
}

// separator returns the key that goes between left and right, just split. For
// leaves it is the shortest that tells them apart; for branches it is taken
// out of right's first cell.
func (t *tree) separator(left, right *node) (s separator, err error) {
	lv, rv := view{left.img(), left}, view{right.img(), right}
	first, err := t.key(rv, 0)
	if err != nil {
		return s, err
	}
	if right.img().IsBranch() {
		s.bytes = bytes.Clone(first)
		if c := rv.img.Cell(0); c.IsLong() {
			s.long = true
			s.extent = rv.at(c.KeyRefAt())
		}
		t.clearFirst(right)
		return s, nil
	}
	last, err := t.key(lv, lv.img.Count()-1)
	if err != nil {
		return s, err
	}
	if bytes.Compare(last, first) >= 0 {
		return s, t.tx.db.corrupt(uint64(page.IDOf(lv.img)), "long keys out of order", nil)
	}
	s.bytes = bytes.Clone(first[:shortest(last, first)])
	if s.long = len(s.bytes) > page.MaxInlineKey(t.tx.db.pageSize); s.long {
		s.extent = handle{n: t.tx.newExtent(page.TypeKey, s.bytes)}
	}
	return s, nil
}

// shortest returns how many bytes of b suffice to be greater than a, given a < b.
func shortest(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i + 1
		}
	}
	return n + 1
}

// clearFirst takes the key out of the branch's first cell, where it means
// nothing.
func (t *tree) clearFirst(n *node) {
	img := n.img()
	t.tx.cell = page.AppendBranchCell(t.tx.cell[:0], page.Key{}, img.Child(0))
	img.Replace(0, t.tx.cell, t.tx.scratch())
}

// grow puts a new root over left, the root so far, and right.
func (t *tree) grow(left, right *node, sep separator) {
	root := t.tx.newNode(left.img().Level() + 1)
	img := root.img()
	t.tx.cell = page.AppendBranchCell(t.tx.cell[:0], page.Key{}, root.add(left))
	img.Insert(0, t.tx.cell, t.tx.scratch())
	k := page.Key{Bytes: sep.bytes, Long: sep.long}
	if k.Long {
		k.Ref = root.refTo(sep.extent)
	}
	t.tx.cell = page.AppendBranchCell(t.tx.cell[:0], k, root.add(right))
	img.Insert(1, t.tx.cell, t.tx.scratch())
	t.root = handle{n: root}
}

// between fails if key does not belong at index i of the branch v: a page below
// holds keys outside the range that its parent gives it.
func (t *tree) between(v view, i int, key []byte) error {
	for _, at := range [2]int{i - 1, i} {
		if at < 1 || at >= v.img.Count() {
			continue
		}
		k, err := t.key(v, at)
		if err != nil {
			return err
		}
		if c := bytes.Compare(k, key); c == 0 || (c > 0) != (at == i) {
			return t.tx.db.corrupt(uint64(page.IDOf(v.img)), "keys below are outside their range", nil)
		}
	}
	return nil
}
