package salvage

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sort"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

// orphan is a leaf that nothing refers to.
type orphan struct {
	id    page.ID
	birth page.TxID
}

// findOrphans returns, for each loss, the leaves whose keys all lie in it and in no
// other, youngest first.
func (u *run) findOrphans() ([][]orphan, error) {
	found := make([][]orphan, len(u.losses))
	at := newStabbing(u.losses)
	if at == nil {
		return found, nil
	}
	r := u.s.report
	err := u.s.scan(func(id page.ID, b []byte) error {
		if u.seen.Has(id) || u.bad.Has(id) || page.TypeOf(b) != page.TypeLeaf || !wholeNode(id, b) {
			return nil
		}
		n := page.Node(b)
		if n.Count() == 0 {
			return nil
		}
		first, last := n.Cell(0), n.Cell(n.Count()-1)
		fits := at.find(first.Known(), last.Known(), page.BirthOf(b), !onlyBuckets(n))
		switch len(fits) {
		case 0:
		case 1:
			r.OrphanPages++
			found[fits[0]] = append(found[fits[0]], orphan{id, page.BirthOf(b)})
		default:
			r.OrphanPages++
			r.AmbiguousPages++
		}
		return nil
	})
	for _, list := range found {
		slices.SortFunc(list, func(a, b orphan) int { return cmp.Compare(b.birth, a.birth) })
	}
	return found, err
}

// onlyBuckets reports whether the leaf could be one of the root.
func onlyBuckets(n page.Node) bool {
	for i := range n.Count() {
		if c := n.Cell(i); !c.IsBucket() {
			return false
		}
	}
	return true
}

// adopt saves what the orphan o holds for the gap l. Its big values and buckets
// are those of the digests that it holds.
func (u *run) adopt(w *walker, l *loss, o orphan) {
	if !u.spend() {
		return
	}
	b := make([]byte, u.s.pageSize)
	if u.s.read(o.id, b) != nil || !wholeNode(o.id, b) || page.BirthOf(b) != o.birth {
		return
	}
	d := walk.Demand{Ref: page.Ref{ID: o.id, Birth: o.birth}, Pages: 1}
	if u.s.hasher != nil {
		d.Ref.Digest = page.Digest(u.s.hasher.Sum(b))
	}
	d.Types, d.Level = []page.Type{page.TypeLeaf}, 0
	w.tree(l.Bucket, d, l.in)
}

// stabbing finds the losses that a range of keys lies in: a binary tree in the
// order of lower bounds, each node with the highest upper bound below it.
type stabbing struct {
	losses []*loss
	order  []int    // of losses, by lower bound
	top    [][]byte // highest upper bound of the subtree; nil = open
}

func newStabbing(losses []*loss) *stabbing {
	s := &stabbing{losses: losses}
	for i, l := range losses {
		if l.node {
			s.order = append(s.order, i)
		}
	}
	if len(s.order) == 0 {
		return nil
	}
	sort.SliceStable(s.order, func(a, b int) bool {
		return bytes.Compare(losses[s.order[a]].in.lo, losses[s.order[b]].in.lo) < 0
	})
	s.top = make([][]byte, len(s.order))
	s.build(0, len(s.order))
	return s
}

// build sets top for the subtree of order[from:to], whose root is in its middle.
func (s *stabbing) build(from, to int) []byte {
	mid := (from + to) / 2
	top := s.losses[s.order[mid]].in.hi
	for _, half := range [2][2]int{{from, mid}, {mid + 1, to}} {
		if half[0] < half[1] {
			if t := s.build(half[0], half[1]); top != nil && (t == nil || bytes.Compare(t, top) > 0) {
				top = t
			}
		}
	}
	s.top[mid] = top
	return top
}

// find returns losses that have the keys from first to last and a page not
// older than birth, two at the most; not those of the root if the keys have values.
func (s *stabbing) find(first, last []byte, birth page.TxID, values bool) (fits []int) {
	steps := 0
	var look func(from, to int)
	look = func(from, to int) {
		if from >= to || len(fits) > 1 || steps > maxSteps {
			return
		}
		steps++
		mid := (from + to) / 2
		if top := s.top[mid]; top != nil && bytes.Compare(last, top) >= 0 {
			return
		}
		look(from, mid)
		l := s.losses[s.order[mid]]
		if bytes.Compare(l.in.lo, first) > 0 {
			return // and so are all to the right
		}
		if l.in.has(last) && l.demand.Ref.Birth >= birth && len(fits) < 2 && !(values && l.Bucket.depth == 0) {
			fits = append(fits, s.order[mid])
		}
		look(mid+1, to)
	}
	look(0, len(s.order))
	return fits
}

// maxSteps bounds a search: births can make it look at losses that do not fit.
const maxSteps = 4096

// findRoot returns the newest page that looks whole and that no page of its
// kind refers to: the root, if the last commit was written in full.
func (s *source) findRoot() (best page.Ref, err error) {
	births := make([]page.TxID, s.pages) // of nodes; transactions that write begin at 2
	if err := s.scan(func(id page.ID, b []byte) error {
		if wholeNode(id, b) {
			births[id] = page.BirthOf(b)
		}
		return nil
	}); err != nil {
		return best, err
	}
	children := walk.PageSet{}
	if err := s.scan(func(id page.ID, b []byte) error {
		if births[id] == 0 {
			return nil
		}
		n := page.Node(b)
		var buf [3]page.RefAt
		for i := range n.Count() {
			for _, at := range n.Refs(i, &buf) {
				if r, birth := page.PlaceOf(n[at.Offset:]); r < s.pages && births[r] == birth {
					children.Add(r)
				}
			}
		}
		return nil
	}); err != nil {
		return best, err
	}
	for id, birth := range births {
		if birth > best.Birth && !children.Has(page.ID(id)) {
			best = page.Ref{ID: page.ID(id), Birth: birth}
		}
	}
	if best.IsZero() {
		return best, fmt.Errorf("%s: %w: no page looks like a root", s.report.Source, lightning.ErrInvalid)
	}
	if s.hasher != nil {
		b := make([]byte, s.pageSize)
		if err := s.read(best.ID, b); err != nil {
			return best, err
		}
		best.Digest = page.Digest(s.hasher.Sum(b))
	}
	return best, nil
}
