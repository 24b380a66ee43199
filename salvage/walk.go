package salvage

import (
	"bytes"
	"fmt"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

// maxHeight is how many levels a tree can have (docs/FORMAT.md).
const maxHeight = 48

// bounds are keys [lo, hi); nil = open.
type bounds struct {
	lo, hi []byte
	// loose is set where a separator could not be read: the range then has
	// keys that are not its own.
	loose bool
}

func (r bounds) has(key []byte) bool {
	return bytes.Compare(key, r.lo) >= 0 && (r.hi == nil || bytes.Compare(key, r.hi) < 0)
}

// meets reports whether the ranges have keys in common.
func (r bounds) meets(o bounds) bool {
	return (r.hi == nil || bytes.Compare(o.lo, r.hi) < 0) && (o.hi == nil || bytes.Compare(r.lo, o.hi) < 0)
}

// just is the range of one key.
func just(key []byte) bounds {
	return bounds{lo: bytes.Clone(key), hi: append(bytes.Clone(key), 0)}
}

// startingWith is the range of the keys that begin with prefix.
func startingWith(prefix []byte) bounds {
	hi := bytes.Clone(prefix)
	for len(hi) > 0 && hi[len(hi)-1] == 0xff {
		hi = hi[:len(hi)-1]
	}
	if len(hi) == 0 {
		return bounds{lo: bytes.Clone(prefix), loose: true}
	}
	hi[len(hi)-1]++
	return bounds{lo: bytes.Clone(prefix), hi: hi, loose: true}
}

// walker puts what a tree holds into the output.
type walker struct {
	s     *source
	out   *output
	grade Grade
	seen  walk.PageSet // pages of the walk: each has one parent
	bad   walk.PageSet // extents that are not what their parents say

	// Of the first walk, which fills an empty database; nil in those that
	// put into the gaps what is not there.
	lost func(*loss) error
	// Of the others.
	clip  bounds
	saved *Counts
	spend func() bool // reports whether another page may be read

	keys uint64 // saved in the bucket, not those in buckets in it
	err  error  // why the walk ended
}

// loss is a Loss with what is needed to fill it.
type loss struct {
	Loss
	in     bounds
	demand walk.Demand
	node   bool // a branch or leaf is missing, not an extent of one key
}

// claim returns the extent that d asks for, if nothing else of the walk has its pages.
func (w *walker) claim(d walk.Demand) ([]byte, error) {
	if err := w.s.ctx.Err(); err != nil {
		w.err = err
		return nil, err
	}
	if w.bad.Has(d.Ref.ID) {
		return nil, &walk.Fault{Page: d.Ref.ID, Problem: "is damaged"}
	}
	last := min(d.Ref.ID+page.ID(d.Pages), w.s.pages)
	for id := d.Ref.ID; id < last; id++ {
		if w.seen.Has(id) {
			return nil, &walk.Fault{Page: id, Problem: "page is referred to twice"}
		}
	}
	if w.spend != nil && !w.spend() {
		return nil, &walk.Fault{Page: d.Ref.ID, Problem: "too many pages read"}
	}
	b, err := w.s.extent(d)
	if err != nil {
		w.bad.Add(d.Ref.ID)
		return nil, err
	}
	for id := d.Ref.ID; id < last; id++ {
		w.seen.Add(id)
	}
	return b, nil
}

// lose notes that the keys in r of the bucket at p are lost with the extent d.
func (w *walker) lose(p *Path, r bounds, d walk.Demand, node bool, why error) {
	if w.err != nil || w.lost == nil {
		return
	}
	l := &loss{in: r, demand: d, node: node, Loss: Loss{
		Bucket: p, Lower: r.lo, Upper: r.hi, Page: uint64(d.Ref.ID), Pages: d.Pages, Reason: why.Error(),
	}}
	w.err = w.lost(l)
}

// bucket saves the bucket in which the output is.
func (w *walker) bucket(p *Path, h page.Bucket, inline page.Node) {
	w.keys = 0
	switch {
	case inline != nil:
		w.inline(inline)
	case !h.Root.IsZero():
		w.tree(p, walk.Tree(h.Root), bounds{})
	}
	counted := p.above != nil || w.grade == Verified // a root that was searched for has no header
	if w.lost != nil && counted && w.keys != h.Count && len(w.s.report.Damaged) < MaxListed {
		b := &Bucket{Path: p, Keys: h.Count}
		b.Saved[w.grade] = w.keys
		w.s.report.Damaged = append(w.s.report.Damaged, b)
	}
}

func (w *walker) inline(n page.Node) {
	for i := 0; i < n.Count() && w.err == nil; i++ {
		c := n.Cell(i)
		w.put(c.Known(), c.Value())
	}
}

// tree saves the subtree at d, whose keys lie in r.
func (w *walker) tree(p *Path, d walk.Demand, r bounds) {
	if w.err != nil || !r.meets(w.clip) {
		return
	}
	b, err := w.claim(d)
	if err != nil {
		w.lose(p, r, d, true, err)
		return
	}
	n := page.Node(b)
	switch {
	case n.Level() >= maxHeight:
		w.lose(p, r, d, true, fmt.Errorf("page %d: tree of more than %d levels", d.Ref.ID, maxHeight))
	case n.IsBranch():
		w.branch(p, d, n, r)
	default:
		w.leaf(p, d, n, r)
	}
}

// again returns the node that was read for d. It need not be in memory all the
// time that what is below it is saved: trees and buckets can be deep.
func (w *walker) again(p *Path, d walk.Demand, r bounds) page.Node {
	if w.err != nil {
		return nil
	}
	b, err := w.s.extent(d)
	if err != nil { // it was good a moment ago
		w.lose(p, r, d, true, err)
		return nil
	}
	return page.Node(b)
}

func (w *walker) branch(p *Path, d walk.Demand, n page.Node, r bounds) {
	count := n.Count()
	within := bounds{lo: r.lo, loose: r.loose} // of the child
	for i := 0; i < count; i++ {
		if n == nil {
			rest := bounds{lo: within.lo, hi: r.hi, loose: within.loose}
			if n = w.again(p, d, rest); n == nil {
				return
			}
		}
		next := bounds{lo: r.hi, hi: r.hi, loose: r.loose} // what the separator above the child is, at least and at most
		if i+1 < count {
			next = w.separator(n, i+1)
			if bytes.Compare(next.lo, within.lo) < 0 || r.hi != nil && bytes.Compare(next.lo, r.hi) >= 0 {
				w.lose(p, bounds{within.lo, r.hi, true}, d, false, fmt.Errorf("page %d: separators are out of order", d.Ref.ID))
				return
			}
		}
		within.hi, within.loose = next.hi, within.loose || next.loose
		at := page.RefAt{Kind: page.RefChild, Offset: n.ChildAt(i)}
		child := walk.Child(n, at, w.s.pageSize)
		n = nil
		w.tree(p, child, within)
		if w.err != nil {
			return
		}
		within = bounds{lo: next.lo, loose: next.loose}
	}
}

// separator returns the key of cell i of a branch as bounds: lo and hi are equal
// if it is known, else it lies between them.
func (w *walker) separator(n page.Node, i int) bounds {
	key, err := w.key(n, i)
	if err != nil {
		c := n.Cell(i)
		return startingWith(c.Known())
	}
	key = bytes.Clone(key)
	return bounds{lo: key, hi: key}
}

// key returns the key of cell i, from its own extent if it is long.
func (w *walker) key(n page.Node, i int) ([]byte, error) {
	c := n.Cell(i)
	if !c.IsLong() {
		return c.Known(), nil
	}
	key, err := w.payload(n, page.RefAt{Kind: page.RefKey, Offset: c.KeyRefAt(), Length: uint64(c.KeyLen())})
	if err == nil && !bytes.HasPrefix(key, c.Known()) {
		err = fmt.Errorf("page %d: long key %d does not begin as its cell says", page.IDOf(n), i)
	}
	return key, err
}

func (w *walker) payload(n page.Node, at page.RefAt) ([]byte, error) {
	b, err := w.claim(walk.Child(n, at, w.s.pageSize))
	if err != nil {
		return nil, err
	}
	return page.Payload(b, at.Length)
}

func (w *walker) leaf(p *Path, d walk.Demand, n page.Node, r bounds) {
	var before []byte
	for i, count := 0, n.Count(); i < count && w.err == nil; i++ {
		if n == nil {
			if n = w.again(p, d, bounds{lo: before, hi: r.hi, loose: true}); n == nil {
				return
			}
		}
		c := n.Cell(i)
		key, err := w.key(n, i)
		if err != nil {
			w.lose(p, startingWith(c.Known()), keyDemand(n, c, w.s.pageSize), false, err)
			continue
		}
		if !r.has(key) || before != nil && bytes.Compare(before, key) >= 0 {
			w.lose(p, just(key), d, false, fmt.Errorf("page %d: key %d is not where it belongs", d.Ref.ID, i))
			continue
		}
		before = append(before[:0], key...)
		if !w.clip.has(key) {
			continue
		}
		if c.IsBucket() {
			payload := bytes.Clone(c.Value())
			n = nil
			w.nested(p, d, bytes.Clone(key), payload)
			continue
		}
		w.value(p, d, n, c, key)
	}
}

func keyDemand(n page.Node, c page.Cell, pageSize int) walk.Demand {
	return walk.Child(n, page.RefAt{Kind: page.RefKey, Offset: c.KeyRefAt(), Length: uint64(c.KeyLen())}, pageSize)
}

// value saves the value of the cell c.
func (w *walker) value(p *Path, d walk.Demand, n page.Node, c page.Cell, key []byte) {
	if p.above == nil || len(key) > lightning.MaxKeySize {
		w.lose(p, just(key), d, false, fmt.Errorf("page %d: a value in the root, or its key is too long", d.Ref.ID))
		return
	}
	if !c.IsBig() {
		w.put(key, c.Value())
		return
	}
	at := page.RefAt{Kind: page.RefValue, Offset: c.ValueRefAt(), Length: uint64(c.ValueLen())}
	value, err := w.payload(n, at)
	if err != nil {
		w.lose(p, just(key), walk.Child(n, at, w.s.pageSize), false, err)
		return
	}
	w.put(key, value)
}

// put saves a key; what is there already is better.
func (w *walker) put(key, value []byte) {
	if w.lost == nil && w.out.has(key) {
		return
	}
	if err := w.out.put(key, value); err != nil {
		w.err = err
		return
	}
	w.count()
}

func (w *walker) count() {
	w.keys++
	w.s.report.Saved[w.grade]++
	if w.saved != nil {
		w.saved[w.grade]++
	}
}

// nested saves the bucket of the given name.
func (w *walker) nested(in *Path, d walk.Demand, name, payload []byte) {
	p := in.below(name)
	if p.depth > lightning.MaxBucketDepth {
		w.lose(in, just(name), d, false, lightning.ErrBucketDepth)
		return
	}
	if w.lost == nil && w.out.has(name) {
		return
	}
	h := page.GetBucket(payload)
	if err := w.out.enter(name, h.Sequence); err != nil {
		w.err = err
		return
	}
	w.s.report.Buckets++
	w.count()
	clip, keys := w.clip, w.keys
	w.clip = bounds{}
	w.bucket(p, h, page.InlineOf(payload))
	w.clip, w.keys = clip, keys
	w.out.leave()
}
