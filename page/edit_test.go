package page

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

// stepper edits a node and the sorted slice that it must equal.
type stepper struct {
	*generator
	t       *testing.T
	level   int
	n       Node
	model   []entry
	scratch []byte
	splits  int
}

func TestNode_Edit_Model(t *testing.T) {
	for _, size := range pageSizes {
		for level := range 2 {
			t.Run(fmt.Sprintf("size=%d/level=%d", size, level), func(t *testing.T) {
				g := &generator{Rand: newRand(t), size: size}
				n, model := g.newNode(level)
				s := &stepper{generator: g, t: t, level: level, n: n, model: model, scratch: make([]byte, size)}
				for range 1500 {
					s.step()
					checkNode(t, s.n, s.model)
					checkSearch(t, s.n, s.model, g.key())
					if len(s.model) > 0 {
						checkSearch(t, s.n, s.model, s.model[g.IntN(len(s.model))].key)
					}
				}
				if size == MinSize && s.splits == 0 {
					t.Error("the page was never split")
				}
				if s.n.Level() != level || IDOf(s.n) != testID || BirthOf(s.n) != testBirth {
					t.Error("editing changed the header's level, place or birth")
				}
			})
		}
	}
}

func (s *stepper) step() {
	switch k := s.IntN(20); {
	case k < 11:
		s.insert()
	case k < 14:
		s.replace()
	case k < 17:
		s.remove(1)
	case k < 18:
		s.remove(s.IntN(8))
	case k < 19:
		s.partAndJoin()
	default:
		s.inline()
	}
}

func (s *stepper) insert() {
	e := s.entry(s.level)
	at, found := slices.BinarySearchFunc(s.model, e, byKey)
	if found {
		return
	}
	if s.n.Room(len(e.cell)) {
		s.n.Insert(at, e.cell, s.scratch)
		s.model = slices.Insert(s.model, at, e)
		return
	}
	fill := []float64{0.1, 0.5, 0.9, 1}[s.IntN(4)]
	left, right := splitNode(s.t, s.n, s.model, at, e, fill)
	s.splits++
	s.model = slices.Insert(s.model, at, e)
	if s.IntN(2) == 0 {
		s.n, s.model = left, s.model[:left.Count()]
		return
	}
	s.n, s.model = right, s.model[left.Count():]
	s.clearFirst()
}

func (s *stepper) replace() {
	first := s.n.first()
	if len(s.model) <= first {
		return
	}
	i := first + s.IntN(len(s.model)-first)
	e := entry{key: s.model[i].key}
	if s.level > 0 {
		e.cell = s.branchCell(e.key)
	} else {
		e.cell = s.leafCell(e.key)
	}
	if s.n.ReplaceRoom(i, len(e.cell)) {
		s.n.Replace(i, e.cell, s.scratch)
		s.model[i] = e
	}
}

// remove deletes n cells. A branch keeps one at the least.
func (s *stepper) remove(n int) {
	n = min(n, len(s.model)-s.n.first())
	if n <= 0 {
		return
	}
	from := s.IntN(len(s.model) - n + 1)
	if n == 1 {
		s.n.Delete(from)
	} else {
		s.n.DeleteRange(from, from+n)
	}
	s.model = slices.Delete(s.model, from, from+n)
	s.clearFirst()
}

// clearFirst does what a tree does when a branch has got a new first cell.
func (s *stepper) clearFirst() {
	if s.level == 0 || len(s.model) == 0 {
		return
	}
	cell := AppendBranchCell(nil, Key{}, s.n.Child(0))
	s.n.Replace(0, cell, s.scratch)
	s.model[0] = entry{nil, cell}
}

// partAndJoin moves the upper cells to a node of their own and back.
func (s *stepper) partAndJoin() {
	first := s.n.first()
	if len(s.model) <= first {
		return
	}
	cut := first + s.IntN(len(s.model)-first)
	right := InitNode(make([]byte, s.size), s.level)
	Stamp(right, testID, testBirth)
	right.AppendFrom(s.n, cut, len(s.model))
	s.n.DeleteRange(cut, len(s.model))
	if s.level == 0 {
		checkNode(s.t, s.n, s.model[:cut])
		checkNode(s.t, right, s.model[cut:])
	}
	s.n.Reserve(right.Used()-HeaderSize, s.scratch)
	s.n.AppendFrom(right, 0, right.Count())
}

// inline makes an inline image of the plain cells of a leaf.
func (s *stepper) inline() {
	if s.level > 0 {
		return
	}
	small := InitNode(make([]byte, s.size), 0)
	var model []entry
	payload := make([]byte, BucketSize)
	for i, e := range s.model {
		if c := s.n.Cell(i); c.Flags != 0 || BucketSize+small.Used()+CellSpace(len(e.cell)) > MaxInlineValue(s.size) {
			continue
		}
		small.AppendFrom(s.n, i, i+1)
		model = append(model, e)
	}
	checkNode(s.t, small, model)
	PutBucket(payload, Bucket{Count: uint64(len(model))})
	payload = small.AppendInline(payload)
	if err := validateBucket(payload, s.size); err != nil {
		s.t.Fatalf("inline bucket: %v", err)
	}
	image := InlineOf(payload)
	checkCells(s.t, image, model, s.size)
	if image.Free() != 0 {
		s.t.Fatalf("inline image with %d free bytes", image.Free())
	}
	for _, e := range model {
		checkSearch(s.t, image, model, e.key)
	}
	checkSearch(s.t, image, model, s.key())
	back := InitNode(make([]byte, s.size), 0)
	back.AppendFrom(image, 0, image.Count())
	checkNode(s.t, back, model)
}

// splitNode splits n, which has no room for e, as a tree does, and checks that
// both parts fit and are not empty. In a branch the first cell of the right
// part still has its key.
func splitNode(t testing.TB, n Node, model []entry, at int, e entry, fill float64) (left, right Node) {
	t.Helper()
	cut := n.SplitPoint(at, len(e.cell), fill)
	if cut < 1 || cut > len(model) {
		t.Fatalf("SplitPoint = %d of %d cells", cut, len(model)+1)
	}
	all := slices.Insert(slices.Clone(model), at, e)
	parts := [2][]entry{all[:cut], all[cut:]}
	var space [2]int
	for p, cells := range parts {
		for _, c := range cells {
			space[p] += CellSpace(len(c.cell))
		}
		if space[p] > len(n)-HeaderSize {
			t.Fatalf("part %d of a split at %d takes %d bytes of %d", p, cut, space[p], len(n)-HeaderSize)
		}
	}
	scratch := make([]byte, len(n))
	keep := cut
	if at < cut {
		keep--
	}
	left = Node(bytes.Clone(n))
	right = InitNode(make([]byte, len(n)), n.Level())
	Stamp(right, testID, testBirth)
	right.AppendFrom(n, keep, n.Count())
	left.DeleteRange(keep, n.Count())
	target, i := left, at
	if at >= cut {
		target, i = right, at-cut
	}
	if !target.Room(len(e.cell)) {
		t.Fatalf("no room for the new cell in its part")
	}
	target.Insert(i, e.cell, scratch)
	checkNode(t, left, parts[0])
	checkCells(t, right, parts[1], len(n))
	return left, right
}

func TestNode_SplitPoint_AllMixes(t *testing.T) {
	for _, size := range pageSizes[:2] {
		for level := range 2 {
			t.Run(fmt.Sprintf("size=%d/level=%d", size, level), func(t *testing.T) {
				g := &generator{Rand: newRand(t), size: size}
				for round := range 300 {
					splitRound(t, g, level, round)
				}
			})
		}
	}
}

// splitRound fills a page with cells of a few lengths, the smallest and the
// largest legal ones among them, and splits it at every place.
func splitRound(t *testing.T, g *generator, level, round int) {
	kinds := []int{1, 2, MaxInlineKey(g.size) / 2, MaxInlineKey(g.size) - 8, MaxInlineKey(g.size), MaxInlineKey(g.size) + 8}
	lens := [2]int{kinds[round%6], kinds[round/6%6]}
	n, model := g.newNode(level)
	scratch := make([]byte, g.size)
	for next := 0; ; next += 3 {
		e := splitEntry(g, level, next, lens[g.IntN(2)])
		if !n.Room(len(e.cell)) {
			break
		}
		n.Insert(len(model), e.cell, scratch)
		model = append(model, e)
	}
	first := n.first()
	stride := 1 + len(model)/6
	for at := first; at <= len(model); at += stride {
		for _, keyLen := range []int{1, MaxInlineKey(g.size)} {
			e := splitEntry(g, level, 3*(at-first)-1, keyLen)
			if n.Room(len(e.cell)) {
				continue
			}
			for _, fill := range []float64{0.1, 0.5, 1} {
				splitNode(t, n, model, at, e, fill)
			}
		}
	}
}

// splitEntry returns entry number i (from -1) with a key of about keyLen bytes; in
// leaves the value is empty or as long as a page holds.
func splitEntry(g *generator, level, i, keyLen int) entry {
	key := []byte{byte((i + 1) >> 16), byte((i + 1) >> 8), byte(i + 1)}
	key = append(key, make([]byte, max(0, keyLen-len(key)))...)
	if level > 0 {
		return entry{key, g.branchCell(key)}
	}
	value := make([]byte, g.IntN(2)*MaxInlineValue(g.size))
	return entry{key, AppendLeafCell(nil, 0, g.cellKey(key), value)}
}

// A page with an inline key of more than 64 bytes before a long key that
// begins with the same 64 bytes was taken for damaged: what is known of the
// long key is a prefix of the key before it, and so compares as smaller.
func TestValidate_InlineKeyBeforeLongKey(t *testing.T) {
	const size = MinSize
	tie := bytes.Repeat([]byte("k"), longKnown)
	keys := [][]byte{
		tie,
		append(bytes.Clone(tie), "abc"...),
		append(append(bytes.Clone(tie), "abd"...), make([]byte, size)...),
		append(append(bytes.Clone(tie), "abe"...), make([]byte, size)...),
		append(bytes.Clone(tie), "abf"...),
	}
	g := &generator{Rand: newRand(t), size: size}
	n, model := g.newNode(0)
	for i, key := range keys {
		e := entry{key, AppendLeafCell(nil, 0, g.cellKey(key), nil)}
		n.Insert(i, e.cell, make([]byte, size))
		model = append(model, e)
		checkNode(t, n, model)
	}
	// The other way round it cannot be: a key of just those 64 bytes comes
	// before every long key that begins with them.
	bad, _ := g.newNode(0)
	for i, e := range []entry{model[2], model[0]} {
		bad.Insert(i, e.cell, make([]byte, size))
	}
	if err := Validate(bad); err == nil {
		t.Error("Validate accepts a long key before the key that it begins with")
	}
}

// Leaves that are sound but hold each other's keys, as only a forger makes
// them, ended the process when they were merged: a key in the middle was
// shorter than the prefix of first and last.
func TestNode_AppendFrom_Unordered(t *testing.T) {
	cell := func(key string) []byte { return AppendLeafCell(nil, 0, Key{Bytes: []byte(key)}, nil) }
	left := twoCells(cell("common1"), cell("x"))
	right := twoCells(cell("a"), cell("common2"))
	left.AppendFrom(right, 0, right.Count())
	if err := Validate(left); err == nil {
		t.Error("Validate accepts keys out of order")
	}
	for _, key := range []string{"a", "common1", "common2", "x"} {
		left.Search([]byte(key))
	}
	left.pack(make([]byte, MinSize))
}

func TestNode_Read_NoAllocation(t *testing.T) {
	g := &generator{Rand: newRand(t), size: MinSize}
	leaf, model := g.fill(0, 60)
	branch, seps := g.fill(1, 60)
	var sink int
	var refs [3]RefAt
	allocs := testing.AllocsPerRun(100, func() {
		for _, e := range model {
			i, _ := leaf.Search(e.key)
			c := leaf.Cell(min(i, leaf.Count()-1))
			sink += len(c.Known()) + c.KeyLen() + len(leaf.Refs(0, &refs))
		}
		for i, e := range seps {
			at, f := branch.Search(e.key)
			r := branch.Child(i)
			sink += at + int(f) + int(r.Birth)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations in Search, Cell, Refs and Child", allocs)
	}
	if sink == 0 {
		t.Error("nothing was read")
	}
}
