// Package walk visits what a committed state consists of: every extent that
// is reachable from its meta page, or every one that was born after an older state.
//
// A page is never changed in place, so whatever refers to a page that is newer than
// some state is itself newer: references to older pages need not be followed.
// The order of a walk depends on the bytes it meets and on nothing else, and a
// page comes after the reference to it. So what one walk writes down, another walk can read
// back, knowing what to expect before each page.
//
// Reading order: demand.go (what a reference asks for), walk.go.
package walk

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/lightning-db/lightning/arch"
	"github.com/lightning-db/lightning/internal/mutant"
	"github.com/lightning-db/lightning/page"
)

// Walk is a walk over the state of a meta page. Its fields are not changed
// while it runs.
type Walk struct {
	Meta     *page.Meta
	Since    page.TxID // extents born until then are not visited
	PageSize int
	Hasher   *arch.Hasher

	// Read returns the content of pages, which is looked at until the next call.
	Read func(start page.ID, pages int) ([]byte, error)
	// Visit is told of each extent that is as its reference says; nil = nobody.
	Visit func(d Demand, b []byte) error
	// Older is told of each extent born until Since that is referred to; nil = nobody.
	Older func(d Demand) error
	// Heal is told of each extent that cannot be read or is not as its reference says,
	// and why. It returns bytes that are, or nil: then the extent and what
	// lies below it are left out. nil = the walk ends with the cause.
	Heal func(d Demand, cause error) ([]byte, error)
	// Progress is told how many pages were visited so far, now and then; nil = nobody.
	Progress func(pages int)
	// OnlyNewest leaves out what the meta's own transaction did not write: a
	// defect, for the test that looks for it.
	OnlyNewest bool

	next  []Demand // to be visited
	seen  PageSet  // every page has one parent
	pages int

	extents [][]byte      // read at once
	sums    []arch.Digest // of extents
}

const (
	// maxRead bounds the bytes read at once.
	maxRead = 1 << 20

	// maxRound is how many extents are visited in the order of the file. More
	// make longer runs, and take memory with the references that they hold. It
	// is part of the format of increments (docs/FORMAT.md).
	maxRound = 1024
)

// Run walks. It returns a *Fault for an extent that is not as its reference
// says, and the errors of Read, Visit and Older.
func (w *Walk) Run() error {
	w.seen = make(PageSet)
	for _, d := range []Demand{Tree(w.Meta.Root.Root), SpaceTop(w.Meta.Space), SpaceLog(w.Meta.SpaceLog)} {
		if err := w.want(d, 0); err != nil {
			return err
		}
	}
	var round []Demand
	for len(w.next) > 0 {
		n := min(len(w.next), maxRound)
		round = append(round[:0], w.next[len(w.next)-n:]...)
		w.next = w.next[:len(w.next)-n]
		slices.SortFunc(round, func(a, b Demand) int { return cmp.Compare(a.Ref.ID, b.Ref.ID) })
		if err := w.visit(round); err != nil {
			return err
		}
		if w.Progress != nil {
			w.Progress(w.pages)
		}
	}
	return nil
}

// Visited reports whether the page is part of an extent that was visited.
func (w *Walk) Visited(id page.ID) bool { return w.seen.Has(id) }

// want adds an extent that the given page refers to, unless it is zero or too old.
func (w *Walk) want(d Demand, parent page.ID) error {
	d.Parent = parent
	switch {
	case d.Ref.IsZero() || w.OnlyNewest && d.Ref.Birth != w.Meta.TxID:
		return nil
	case d.Ref.ID > w.Meta.End || uint64(d.Pages) > uint64(w.Meta.End-d.Ref.ID):
		return &Fault{Page: d.Ref.ID, Problem: "reference past the end of the file"}
	case d.Ref.Birth <= w.Since:
		if w.Older != nil {
			return w.Older(d)
		}
		return nil
	}
	w.next = append(w.next, d)
	return nil
}

// visit reads the extents, neighbours together, and visits each.
func (w *Walk) visit(round []Demand) error {
	for i, d := range round {
		if i > 0 && d.Ref.ID < round[i-1].Ref.ID+page.ID(round[i-1].Pages) {
			return &Fault{Page: d.Ref.ID, Problem: "page is referred to twice"}
		}
	}
	for len(round) > 0 {
		n, pages := 1, round[0].Pages
		for n < len(round) && round[n].Ref.ID == round[n-1].Ref.ID+page.ID(round[n-1].Pages) && (pages+round[n].Pages)*w.PageSize <= maxRead {
			pages += round[n].Pages
			n++
		}
		b, err := w.read(round[0].Ref.ID, pages)
		if err != nil && w.Heal == nil {
			return err
		}
		// Only now: a reference can speak of more pages than anybody has.
		for id := round[0].Ref.ID; id < round[0].Ref.ID+page.ID(pages); id++ {
			if !w.seen.Add(id) {
				return &Fault{Page: id, Problem: "page is referred to twice"}
			}
		}
		if err != nil {
			if err := w.apart(round[:n], err); err != nil {
				return err
			}
			round = round[n:]
			continue
		}
		w.extents = w.extents[:0]
		for _, d := range round[:n] {
			size := d.Pages * w.PageSize
			w.extents = append(w.extents, b[:size:size])
			b = b[size:]
		}
		w.sums = slices.Grow(w.sums[:0], n)[:n]
		w.Hasher.SumMany(w.extents, w.sums)
		for i, d := range round[:n] {
			if err := w.one(d, w.extents[i], page.Digest(w.sums[i])); err != nil {
				return err
			}
		}
		round = round[n:]
	}
	return nil
}

func (w *Walk) read(start page.ID, pages int) ([]byte, error) {
	b, err := w.Read(start, pages)
	if err != nil {
		return nil, fmt.Errorf("read %d pages from page %d on: %w", pages, start, err)
	}
	return b, nil
}

// apart visits extents, which could not be read together, one by one.
func (w *Walk) apart(extents []Demand, cause error) error {
	for _, d := range extents {
		var b []byte
		err := cause
		if len(extents) > 1 {
			b, err = w.read(d.Ref.ID, d.Pages)
		}
		if err != nil {
			if b, err = w.Heal(d, err); err != nil {
				return err
			}
			if b == nil {
				continue
			}
		}
		if err := w.one(d, b, page.Digest(w.Hasher.Sum(b))); err != nil {
			return err
		}
	}
	return nil
}

// good returns a *Fault if b, which has the digest got, is not what d asks for.
func good(d Demand, b []byte, got page.Digest) error {
	if got != d.Ref.Digest && !mutant.Is(mutant.NoValidationDigest) {
		return &Fault{Page: d.Ref.ID, Want: d.Ref.Digest, Got: got, Problem: "bytes do not match their digest"}
	}
	return d.Match(b)
}

// one visits the extent b, which has the digest got.
func (w *Walk) one(d Demand, b []byte, got page.Digest) error {
	err := good(d, b, got)
	if err != nil && w.Heal != nil {
		if b, err = w.Heal(d, err); err != nil || b == nil {
			return err
		}
		err = good(d, b, page.Digest(w.Hasher.Sum(b)))
	}
	if err != nil {
		return err
	}
	if err := w.follow(b); err != nil {
		return err
	}
	w.pages += d.Pages
	if w.Visit != nil {
		return w.Visit(d, b)
	}
	return nil
}

// follow asks for the extents that b refers to.
func (w *Walk) follow(b []byte) error {
	own := page.IDOf(b)
	switch page.TypeOf(b) {
	case page.TypeBranch, page.TypeLeaf:
		n := page.Node(b)
		var buf [3]page.RefAt
		for i := range n.Count() {
			for _, at := range n.Refs(i, &buf) {
				if err := w.want(Child(n, at, w.PageSize), own); err != nil {
					return err
				}
			}
		}
	case page.TypeSpaceIndex:
		x := page.SpaceIndex(b)
		for i := range x.Count() {
			if err := w.want(SpaceChild(x.Entry(i).Ref, page.LevelOf(b)), own); err != nil {
				return err
			}
		}
	case page.TypeSpaceLog:
		prev, _, err := page.SpaceLog(b)
		if err != nil {
			return &Fault{Page: own, Problem: "space log", Err: err}
		}
		return w.want(SpaceLog(prev), own)
	}
	return nil
}

// PageSet is a set of page numbers; make makes an empty one. It takes memory where it has some only: a
// forged meta may speak of a file of any length.
type PageSet map[page.ID]*[64]uint64

// Add adds id and reports whether it is new.
func (s PageSet) Add(id page.ID) bool {
	chunk := s[id>>12]
	if chunk == nil {
		chunk = new([64]uint64)
		s[id>>12] = chunk
	}
	word, bit := &chunk[id>>6&63], uint64(1)<<(id&63)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// Has reports whether id is in the set.
func (s PageSet) Has(id page.ID) bool {
	chunk := s[id>>12]
	return chunk != nil && chunk[id>>6&63]>>(id&63)&1 != 0
}
