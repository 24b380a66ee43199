package lightning

// visits bounds a walk by the number of pages that there are: in a forged file
// branches and buckets may share pages, and the walk would take time out of all
// proportion to the file.
type visits struct {
	tx   *Tx
	left uint64
	over bool // more pages were visited than there are
}

func (tx *Tx) newVisits() *visits {
	v := &visits{tx: tx, left: tx.db.filePages.Load()}
	if tx.writing != nil {
		v.left += uint64(len(tx.nodes))
	}
	return v
}

// page counts one page of t.
func (v *visits) page(t *tree) error { return v.pages(t, 1) }

// pages counts n pages of t.
func (v *visits) pages(t *tree, n int) error {
	if v.left < uint64(n) {
		v.over = true
		return v.tx.fail(v.tx.db.corrupt(uint64(t.root.ref.ID), "pages are referred to more than once", nil))
	}
	v.left -= uint64(n)
	return nil
}

// bucket counts the first page of b, if it has pages of its own.
func (v *visits) bucket(b *Bucket) error {
	if b.tree.inline != nil || b.tree.root.isZero() {
		return nil
	}
	return v.page(&b.tree)
}

// walk calls fn for every branch and leaf, parents first.
func (t *tree) walk(fn func(v view) error) error {
	v, err := t.top()
	if err != nil || v.img == nil {
		return err
	}
	return t.walkFrom(v, fn)
}

func (t *tree) walkFrom(v view, fn func(v view) error) error {
	if err := fn(v); err != nil || !v.img.IsBranch() {
		return err
	}
	for i := range v.img.Count() {
		child, err := t.child(v, i)
		if err != nil {
			return err
		}
		if err := t.walkFrom(child, fn); err != nil {
			return err
		}
	}
	return nil
}

// discardAll gives up every page of the tree and of the buckets nested in it.
// children are the nested buckets that the transaction has opened: they know
// better than their cells where their trees are.
func (t *tree) discardAll(children *openBuckets) error {
	v, err := t.top()
	if err != nil || v.img == nil || t.inline != nil {
		return err
	}
	return t.discardNode(t.root, v, children)
}

func (t *tree) discardNode(h handle, v view, children *openBuckets) error {
	if db := t.tx.db; uint64(len(t.tx.freed)) > db.filePages.Load() {
		return db.corrupt(uint64(h.ref.ID), "pages are referred to more than once", nil)
	}
	for i := range v.img.Count() {
		if v.img.IsBranch() {
			at := v.at(v.img.ChildAt(i))
			child, err := t.load(at, v.img.Level()-1)
			if err != nil {
				return err
			}
			if err := t.discardNode(at, child, children); err != nil {
				return err
			}
		} else if err := t.discardBucket(v, i, children); err != nil {
			return err
		}
		t.discardCell(v, i)
	}
	t.tx.discard(h, 1)
	return nil
}

// discardBucket gives up the pages of the nested bucket in cell i, if it is one.
func (t *tree) discardBucket(v view, i int, children *openBuckets) error {
	if c := v.img.Cell(i); !c.IsBucket() {
		return nil
	}
	if len(children.all()) > 0 {
		name, err := t.key(v, i)
		if err != nil {
			return err
		}
		if b := children.get(name); b != nil {
			if err := t.admit(handle{}); err != nil {
				return err
			}
			return b.tree.discardAll(b.children)
		}
	}
	b, err := t.bucketAt(v, i)
	if err != nil {
		return err
	}
	return b.tree.discardAll(nil)
}

// removeRange deletes the keys in [from, to); nil leaves a side open. It fails
// with ErrIncompatibleValue, before any change, if a nested bucket is among
// them.
func (t *tree) removeRange(from, to []byte) error {
	v, err := t.top()
	if err != nil || v.img == nil {
		return err
	}
	if err := t.refuseBuckets(v, from, to, t.tx.newVisits()); err != nil {
		return err
	}
	root := []step{{v, 0}}
	if err := t.own(root); err != nil {
		return err
	}
	if err := t.cutRange(root[0].n, from, to, t.tx.newVisits()); err != nil {
		return err
	}
	return t.lower()
}

// span returns the cells of v that can hold keys in [from, to): [lo, hi).
func (t *tree) span(v view, from, to []byte) (lo, hi int, err error) {
	hi = v.img.Count()
	found := false
	if from != nil {
		if lo, found, err = t.search(v, from); err != nil {
			return 0, 0, err
		}
		if v.img.IsBranch() && !found {
			lo--
		}
	}
	if to != nil {
		// In a branch the child before the first separator >= to is the last.
		if hi, _, err = t.search(v, to); err != nil {
			return 0, 0, err
		}
	}
	return lo, hi, nil
}

// refuseBuckets fails if a nested bucket lies in the range.
func (t *tree) refuseBuckets(v view, from, to []byte, seen *visits) error {
	if err := seen.page(t); err != nil {
		return err
	}
	lo, hi, err := t.span(v, from, to)
	if err != nil {
		return err
	}
	for i := lo; i < hi; i++ {
		if !v.img.IsBranch() {
			if c := v.img.Cell(i); c.IsBucket() {
				return ErrIncompatibleValue
			}
			continue
		}
		child, err := t.child(v, i)
		if err != nil {
			return err
		}
		f, e := from, to
		if i > lo {
			f = nil
		}
		if i < hi-1 {
			e = nil
		}
		if err := t.refuseBuckets(child, f, e, seen); err != nil {
			return err
		}
	}
	return nil
}

// cutRange deletes the keys in [from, to) below the editable node n.
func (t *tree) cutRange(n *node, from, to []byte, seen *visits) error {
	v := view{n.img(), n}
	lo, hi, err := t.span(v, from, to)
	if err != nil {
		return err
	}
	if !v.img.IsBranch() {
		for i := lo; i < hi; i++ {
			t.discardCell(v, i)
		}
		v.img.DeleteRange(lo, hi)
		t.count -= uint64(hi - lo)
		return nil
	}
	for i := hi - 1; i >= lo; i-- {
		f, e := from, to
		if i > lo {
			f = nil
		}
		if i < hi-1 {
			e = nil
		}
		empty, err := t.cutChild(n, i, f, e, seen)
		if err != nil {
			return err
		}
		if empty {
			t.removeChild(n, i)
		}
	}
	return nil
}

// cutChild deletes the keys in [from, to) below child i of n and reports
// whether nothing was left, in which case the child is given up.
func (t *tree) cutChild(n *node, i int, from, to []byte, seen *visits) (bool, error) {
	nv := view{n.img(), n}
	at := nv.img.ChildAt(i)
	h := nv.at(at)
	v, err := t.load(h, nv.img.Level()-1)
	if err != nil {
		return false, err
	}
	if from == nil && to == nil {
		keys, err := t.countKeys(v, seen)
		if err != nil {
			return false, err
		}
		t.count -= keys
		return true, t.discardNode(h, v, nil)
	}
	child := v.n
	if child == nil || child.owner != t.tx {
		child = t.tx.shadow(v, h)
		n.point(at, child)
	}
	if err := t.cutRange(child, from, to, seen); err != nil {
		return false, err
	}
	if child.img().Count() > 0 {
		return false, nil
	}
	t.tx.discard(handle{n: child}, 1)
	return true, nil
}

func (t *tree) countKeys(v view, seen *visits) (n uint64, err error) {
	err = t.walkFrom(v, func(v view) error {
		if !v.img.IsBranch() {
			n += uint64(v.img.Count())
		}
		return seen.page(t)
	})
	return n, err
}
