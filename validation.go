package lightning

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/mutant"
	"github.com/lightning-db/lightning/page"
)

// validation checks, reading from the medium, every page that is reachable
// from a meta and was born after the newest transaction that the meta knows
// durable (rule C). References carry births, so nothing older is touched.
type validation struct {
	db     *DB
	meta   *page.Meta
	report func(pages int)

	next  []demand         // to be checked in the next round
	seen  map[page.ID]bool // every page has one parent
	pages int

	buf  []byte  // what was read last
	from page.ID // its first page
}

// demand is an extent that must be as its reference says.
type demand struct {
	ref   page.Ref
	pages int
	types []page.Type // allowed
	level int         // anyLevel where it does not matter
}

var (
	treeTypes  = []page.Type{page.TypeBranch, page.TypeLeaf}
	indexTypes = []page.Type{page.TypeSpaceIndex}
	bitsTypes  = []page.Type{page.TypeSpaceLeaf}
	logTypes   = []page.Type{page.TypeSpaceLog}
	valueTypes = []page.Type{page.TypeValue}
	keyTypes   = []page.Type{page.TypeKey}
)

const (
	// readAhead bounds the bytes read at once.
	readAhead = 1 << 20

	// readBehind is how many bytes before the only extent of a round are read with
	// it. A flush puts the pages of a small transaction in a row, each before the
	// one that refers to it, so what the next rounds want is mostly there, and
	// none of them waits for the medium.
	readBehind = 64 << 10
)

func (v *validation) run() error {
	m := v.meta
	v.seen = make(map[page.ID]bool)
	v.want(demand{m.Root.Root, 1, treeTypes, anyLevel})
	v.want(demand{m.Space, 1, indexTypes, anyLevel})
	v.want(demand{m.SpaceLog, 1, logTypes, anyLevel})
	for len(v.next) > 0 {
		round := v.next
		v.next = nil
		slices.SortFunc(round, func(a, b demand) int { return cmp.Compare(a.ref.ID, b.ref.ID) })
		if err := v.check(round); err != nil {
			return err
		}
		v.report(v.pages)
	}
	return nil
}

// want adds an extent if it is unproven.
func (v *validation) want(d demand) {
	if mutant.Is(mutant.ValidateNewest) && d.ref.Birth != v.meta.TxID {
		return
	}
	if !d.ref.IsZero() && d.ref.Birth > v.meta.DurableTx {
		v.next = append(v.next, d)
	}
}

// check reads the extents, neighbours together, and checks each.
func (v *validation) check(round []demand) error {
	size := v.db.pageSize
	first := true
	for _, d := range round {
		if end := uint64(d.ref.ID) + uint64(d.pages); end > uint64(v.meta.End) {
			return v.db.corrupt(uint64(d.ref.ID), "reference past the end of the file", nil)
		}
		if v.seen[d.ref.ID] {
			return v.db.corrupt(uint64(d.ref.ID), "page is referred to twice", nil)
		}
		v.seen[d.ref.ID] = true
	}
	for len(round) > 0 {
		n, pages := 1, round[0].pages
		for n < len(round) && round[n].ref.ID == round[n-1].ref.ID+page.ID(round[n-1].pages) && int64(pages+round[n].pages)*int64(size) <= readAhead {
			pages += round[n].pages
			n++
		}
		start := round[0].ref.ID
		at, err := v.read(start, pages, first && n == len(round))
		if err != nil {
			// No reason to go back to an older state: the page may be good.
			return fmt.Errorf("read unproven pages from %d on: %w", start, err)
		}
		first = false
		for _, d := range round[:n] {
			if err := v.checkOne(d, at[:d.pages*size]); err != nil {
				return err
			}
			at = at[d.pages*size:]
		}
		v.pages += pages
		round = round[n:]
	}
	return nil
}

// read returns the content of the pages, until the next call. alone tells that the
// round has no others.
func (v *validation) read(start page.ID, pages int, alone bool) ([]byte, error) {
	size := v.db.pageSize
	if n := len(v.buf) / size; start >= v.from && int(start-v.from)+pages <= n {
		return v.buf[int(start-v.from)*size:][:pages*size], nil
	}
	if behind := min(page.ID(readBehind/size), max(start, firstFreePage)-firstFreePage); alone && behind > 0 {
		if err := v.fill(start-behind, int(behind)+pages); err == nil {
			return v.buf[int(behind)*size:], nil
		}
		// Whatever is wrong with the neighbours is not asked for.
	}
	err := v.fill(start, pages)
	return v.buf, err
}

// fill reads pages into buf.
func (v *validation) fill(start page.ID, pages int) error {
	n := pages * v.db.pageSize
	v.from, v.buf = start, slices.Grow(v.buf[:0], n)[:n]
	err := v.db.file.ReadMedium(fsync.OpPageRead, v.buf, v.db.offset(start))
	if err != nil {
		v.buf = v.buf[:0]
	}
	return err
}

func (v *validation) checkOne(d demand, b []byte) error {
	id := uint64(d.ref.ID)
	if got := page.Digest(v.db.hasher.Sum(b)); got != d.ref.Digest && !mutant.Is(mutant.NoValidationDigest) {
		return v.db.corruptDigest(id, [24]byte(d.ref.Digest), [24]byte(got))
	}
	if err := page.MatchHeader(b, d.ref, page.TypeOf(b), d.pages); err != nil {
		return v.db.corrupt(id, "header", err)
	}
	if !slices.Contains(d.types, page.TypeOf(b)) {
		return v.db.corrupt(id, fmt.Sprintf("type is %v, want %v", page.TypeOf(b), d.types), nil)
	}
	if d.level != anyLevel && page.LevelOf(b) != d.level {
		return v.db.corrupt(id, fmt.Sprintf("level is %d, want %d", page.LevelOf(b), d.level), nil)
	}
	if err := page.Validate(b); err != nil {
		return v.db.corrupt(id, "structure", err)
	}
	return v.follow(b)
}

// follow asks for the extents that b refers to.
func (v *validation) follow(b []byte) error {
	switch page.TypeOf(b) {
	case page.TypeBranch, page.TypeLeaf:
		n := page.Node(b)
		return refsOf(n, func(at page.RefAt) error {
			v.want(demandFor(n, at, v.db.pageSize))
			return nil
		})
	case page.TypeSpaceIndex:
		x := page.SpaceIndex(b)
		for i := range x.Count() {
			v.want(spaceDemand(x.Entry(i).Ref, page.LevelOf(b)-1))
		}
	case page.TypeSpaceLog:
		prev, _, err := page.SpaceLog(b)
		if err != nil {
			return v.db.corrupt(uint64(page.IDOf(b)), "space log", err)
		}
		v.want(demand{prev, 1, logTypes, anyLevel})
	}
	return nil
}

// demandFor returns what the reference at in the node n asks for.
func demandFor(n page.Node, at page.RefAt, pageSize int) demand {
	d := demand{ref: page.GetRef(n[at.Offset:]), pages: 1, level: anyLevel}
	switch at.Kind {
	case page.RefKey:
		d.types, d.pages = keyTypes, page.ExtentPages(at.Length, pageSize)
	case page.RefValue:
		d.types, d.pages = valueTypes, page.ExtentPages(at.Length, pageSize)
	case page.RefChild:
		d.types, d.level = treeTypes, n.Level()-1
	case page.RefBucket:
		d.types = treeTypes
	}
	return d
}

func spaceDemand(r page.Ref, level int) demand {
	if level == 0 {
		return demand{r, 1, bitsTypes, anyLevel}
	}
	return demand{r, 1, indexTypes, level}
}
