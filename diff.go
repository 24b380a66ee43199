package lightning

import (
	"bytes"
	"context"
	"errors"

	"github.com/lightning-db/lightning/page"
)

// Difference is a key in which two states differ: the value of a plain key, whether it
// is there, whether it is a bucket, or the sequence of a bucket that is in both.
type Difference struct {
	Path [][]byte // names of the buckets around the key, from the root on
	Key  []byte

	Old, New       []byte // values; nil where there is no plain key
	OldBucket      bool   // the key was a bucket
	NewBucket      bool   // the key is a bucket
	OldSeq, NewSeq uint64 // sequences of the buckets
}

// ErrDiffWritable is returned by Diff for a writable transaction.
var ErrDiffWritable = errors.New("differences are taken between read-only transactions")

// Diff calls fn for every difference between the states that the read-only
// transactions from and to see, in the order of the keys; what is in a bucket that only one
// of them has comes behind the bucket. They may belong to different databases.
// Subtrees whose digests are equal are not read, so that two states of one database, its
// copies and its backups cost what changed between them. Slices are valid until
// their transactions end, Path until fn returns. Diff stops at the first error
// of fn and returns it, or that of ctx when it ends.
func Diff(ctx context.Context, from, to *Tx, fn func(d *Difference) error) error {
	for _, tx := range []*Tx{from, to} {
		if tx.writable {
			return ErrDiffWritable
		}
		if tx.closed.Load() {
			return ErrTxClosed
		}
	}
	d := &differ{ctx: ctx, fn: fn, visits: [2]*visits{from.newVisits(), to.newVisits()}}
	a, b := from.root(), to.root()
	return from.db.guarded(func() error {
		return to.db.guarded(func() error { return d.trees(nil, &a.tree, &b.tree) })
	})
}

// The two sides of a comparison.
const (
	oldSide = 0
	newSide = 1
)

// differ compares two states tree by tree.
type differ struct {
	ctx    context.Context
	fn     func(d *Difference) error
	visits [2]*visits
}

// walker goes through a tree in the order of its keys. It stands at an entry of a
// leaf, or at a child of a branch: a subtree that has not been entered.
type walker struct {
	t      *tree
	seen   *visits
	frames []frame // from the root down
}

// frame is a node on the way to where a walker stands.
type frame struct {
	view
	i   int
	low []byte // no key in the node is less; nil if nothing is known
}

func (d *differ) walker(side int, t *tree) (*walker, error) {
	w := &walker{t: t, seen: d.visits[side]}
	if t == nil {
		return w, nil
	}
	v, err := t.top()
	if err != nil || v.img == nil {
		return w, err
	}
	w.frames = append(w.frames, frame{view: v})
	if t.inline != nil {
		return w, nil
	}
	return w, w.seen.page(t)
}

// at returns where the walker stands, or nil at the end.
func (w *walker) at() *frame {
	for n := len(w.frames); n > 0; n-- {
		if f := &w.frames[n-1]; f.i < f.img.Count() {
			return f
		}
		w.frames = w.frames[:n-1]
	}
	return nil
}

// enter goes from a child of a branch to the first that it holds.
func (w *walker) enter(f *frame) error {
	child, err := w.t.child(f.view, f.i)
	if err != nil {
		return err
	}
	low, err := w.lowest(f)
	if err != nil {
		return err
	}
	f.i++
	w.frames = append(w.frames, frame{view: child, low: low})
	return w.seen.page(w.t)
}

// lowest returns a key that no key of the child at f is less than, or nil.
func (w *walker) lowest(f *frame) ([]byte, error) {
	if f.i == 0 {
		return f.low, nil
	}
	return w.t.key(f.view, f.i)
}

// child returns the reference at which the walker stands.
func (f *frame) child() page.Ref { return page.GetRef(f.img[f.img.ChildAt(f.i):]) }

// trees compares two trees; nil stands for one without keys.
func (d *differ) trees(path [][]byte, a, b *tree) error {
	if a != nil && b != nil && a.inline == nil && b.inline == nil && a.root.ref.Digest == b.root.ref.Digest {
		return nil
	}
	wa, err := d.walker(oldSide, a)
	if err != nil {
		return err
	}
	wb, err := d.walker(newSide, b)
	if err != nil {
		return err
	}
	for {
		if err := d.ctx.Err(); err != nil {
			return err
		}
		fa, fb := wa.at(), wb.at()
		switch {
		case fa == nil && fb == nil:
			return nil
		case fb == nil:
			err = d.alone(path, oldSide, wa, fa)
		case fa == nil:
			err = d.alone(path, newSide, wb, fb)
		case fa.img.IsBranch() && fb.img.IsBranch():
			err = d.subtrees(wa, wb, fa, fb)
		case fa.img.IsBranch():
			err = d.behind(path, newSide, wb, fb, wa, fa)
		case fb.img.IsBranch():
			err = d.behind(path, oldSide, wa, fa, wb, fb)
		default:
			err = d.entries(path, wa, wb, fa, fb)
		}
		if err != nil {
			return err
		}
	}
}

// subtrees passes two equal subtrees by, and enters one of two others: the taller
// one, else the one that begins first, so that what is equal further on meets.
func (d *differ) subtrees(wa, wb *walker, fa, fb *frame) error {
	if fa.child().Digest == fb.child().Digest {
		fa.i++
		fb.i++
		return nil
	}
	if la, lb := fa.img.Level(), fb.img.Level(); la != lb {
		if la > lb {
			return wa.enter(fa)
		}
		return wb.enter(fb)
	}
	ka, err := wa.lowest(fa)
	if err != nil {
		return err
	}
	kb, err := wb.lowest(fb)
	if err != nil {
		return err
	}
	if bytes.Compare(ka, kb) <= 0 {
		return wa.enter(fa)
	}
	return wb.enter(fb)
}

// behind is for w at an entry and other at a subtree: the entry is on one side only if the
// subtree lies behind it; else the subtree has to be entered.
func (d *differ) behind(path [][]byte, side int, w *walker, f *frame, other *walker, subtree *frame) error {
	low, err := other.lowest(subtree)
	if err != nil {
		return err
	}
	key, err := w.t.key(f.view, f.i)
	if err != nil {
		return err
	}
	if low != nil && bytes.Compare(key, low) < 0 {
		return d.alone(path, side, w, f)
	}
	return other.enter(subtree)
}

// alone reports the entry at f, which the other side has not, or enters the
// subtree there.
func (d *differ) alone(path [][]byte, side int, w *walker, f *frame) error {
	if f.img.IsBranch() {
		return w.enter(f)
	}
	diff := &Difference{Path: path}
	nested, err := d.note(diff, side, w, f)
	if err != nil {
		return err
	}
	return d.report(diff, nested)
}

// entries compares two entries of leaves.
func (d *differ) entries(path [][]byte, wa, wb *walker, fa, fb *frame) error {
	ka, err := wa.t.key(fa.view, fa.i)
	if err != nil {
		return err
	}
	kb, err := wb.t.key(fb.view, fb.i)
	if err != nil {
		return err
	}
	switch c := bytes.Compare(ka, kb); {
	case c < 0:
		return d.alone(path, oldSide, wa, fa)
	case c > 0:
		return d.alone(path, newSide, wb, fb)
	}
	if ca, cb := fa.img.Cell(fa.i), fb.img.Cell(fb.i); ca.IsBig() && cb.IsBig() &&
		page.GetRef(fa.img[ca.ValueRefAt():]).Digest == page.GetRef(fb.img[cb.ValueRefAt():]).Digest {
		fa.i++
		fb.i++
		return nil
	}
	diff := &Difference{Path: path}
	was, err := d.note(diff, oldSide, wa, fa)
	if err != nil {
		return err
	}
	is, err := d.note(diff, newSide, wb, fb)
	if err != nil {
		return err
	}
	if was != nil && is != nil && diff.OldSeq == diff.NewSeq {
		return d.trees(nested(diff), was, is)
	}
	if was == nil && is == nil && bytes.Equal(diff.Old, diff.New) {
		return nil
	}
	if err := d.fn(diff); err != nil {
		return err
	}
	return d.inside(diff, was, is)
}

// note takes the entry at f down in diff, steps behind it, and returns the tree of the bucket
// that it is, if it is one.
func (d *differ) note(diff *Difference, side int, w *walker, f *frame) (*tree, error) {
	i := f.i
	f.i++
	var err error
	if diff.Key, err = w.t.key(f.view, i); err != nil {
		return nil, err
	}
	c := f.img.Cell(i)
	if c.IsBucket() {
		b, err := w.t.bucketAt(f.view, i)
		if err != nil {
			return nil, err
		}
		if side == oldSide {
			diff.OldBucket, diff.OldSeq = true, b.sequence
		} else {
			diff.NewBucket, diff.NewSeq = true, b.sequence
		}
		return &b.tree, nil
	}
	if c.IsBig() {
		if err := w.seen.pages(w.t, page.ExtentPages(uint64(c.ValueLen()), w.t.tx.db.pageSize)); err != nil {
			return nil, err
		}
	}
	value, err := w.t.valueOf(f.view, &c)
	if value == nil {
		value = []byte{}
	}
	if side == oldSide {
		diff.Old = value
	} else {
		diff.New = value
	}
	return nil, err
}

// report tells of an entry of one side and, if it is a bucket, of what is in it.
func (d *differ) report(diff *Difference, in *tree) error {
	if err := d.fn(diff); err != nil {
		return err
	}
	if diff.OldBucket {
		return d.inside(diff, in, nil)
	}
	return d.inside(diff, nil, in)
}

// inside compares what is in the buckets of diff.
func (d *differ) inside(diff *Difference, was, is *tree) error {
	if was == nil && is == nil {
		return nil
	}
	return d.trees(nested(diff), was, is)
}

// nested is the path of what is in the bucket that diff speaks of.
func nested(diff *Difference) [][]byte {
	n := len(diff.Path)
	return append(diff.Path[:n:n], diff.Key)
}
