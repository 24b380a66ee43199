package page

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
)

var seedFlag = flag.Uint64("page.seed", 0, "seed of the random tests of this package; 0 draws one")

// newRand returns a source for a random test, and has the test say how to
// replay it when it fails.
func newRand(t testing.TB) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64() | 1
	}
	t.Logf("replay with -page.seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

var pageSizes = []int{4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10}

const (
	testID    ID   = 77
	testBirth TxID = 1000
)

// entry is what a test knows of a cell.
type entry struct {
	key  []byte // full
	cell []byte
}

func (e entry) long(size int) bool { return len(e.key) > MaxInlineKey(size) }

func byKey(a, b entry) int { return bytes.Compare(a.key, b.key) }

// generator makes keys and cells for pages of one size.
type generator struct {
	*rand.Rand
	size  int
	plain bool // no long keys, big values and buckets
}

func (g *generator) bytes(n int, alphabet string) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[g.IntN(len(alphabet))]
	}
	return b
}

// key returns a key of one of several kinds; kinds share prefixes with each
// other often enough that ties, heads of zeros and short prefixes occur.
func (g *generator) key() []byte {
	const hard = "\x00\x00\x01\xfe\xff"
	tie := bytes.Repeat([]byte("p"), longKnown)
	switch k := g.IntN(16); {
	case k < 3:
		return g.bytes(1+g.IntN(4), hard)
	case k < 7:
		return append([]byte("common/prefix/"), g.bytes(g.IntN(8), hard)...)
	case k < 9:
		return append(tie[:longKnown-4+g.IntN(5)], g.bytes(1+g.IntN(6), hard)...)
	case k < 10:
		return append(tie, g.bytes(g.IntN(MaxInlineKey(g.size)-longKnown+1), hard)...)
	case k < 12 && !g.plain:
		n := MaxInlineKey(g.size) - longKnown + 1 + g.IntN(200)
		return append(tie, g.bytes(n, hard)...)
	case k < 13 && !g.plain:
		return g.bytes(MaxInlineKey(g.size)+1+g.IntN(3000), "ab\xff")
	case k < 14:
		return g.bytes(1+g.IntN(MaxInlineKey(g.size)), "xyz")
	}
	return g.bytes(1+g.IntN(12), "abcdefgh")
}

func (g *generator) ref() Ref {
	r := Ref{ID: ID(2 + g.IntN(1<<20)), Birth: TxID(g.IntN(int(testBirth) + 1))}
	for i := range r.Digest {
		r.Digest[i] = byte(g.IntN(256))
	}
	return r
}

func (g *generator) cellKey(key []byte) Key {
	k := Key{Bytes: key, Long: len(key) > MaxInlineKey(g.size)}
	if k.Long {
		k.Ref = g.ref()
	}
	return k
}

func (g *generator) branchCell(key []byte) []byte {
	return AppendBranchCell(nil, g.cellKey(key), g.ref())
}

func (g *generator) leafCell(key []byte) []byte {
	k := g.cellKey(key)
	kind := g.IntN(10)
	if g.plain {
		kind = 9
	}
	switch kind {
	case 0:
		return AppendBigCell(nil, k, MaxInlineValue(g.size)+1+g.IntN(1<<20), g.ref())
	case 1:
		var b [BucketSize]byte
		PutBucket(b[:], Bucket{Root: g.ref(), Sequence: g.Uint64(), Count: 1 + g.Uint64N(100)})
		return AppendLeafCell(nil, CellBucket, k, b[:])
	case 2:
		return AppendLeafCell(nil, CellBucket, k, g.inlineBucket())
	case 3:
		return AppendLeafCell(nil, 0, k, g.bytes(g.IntN(MaxInlineValue(g.size)+1), "v"))
	}
	return AppendLeafCell(nil, 0, k, g.bytes(g.IntN(100), "v"))
}

// inlineBucket returns the payload of a bucket cell with a few keys inside.
func (g *generator) inlineBucket() []byte {
	in := &generator{g.Rand, g.size, true}
	n := InitNode(make([]byte, g.size), 0)
	var model []entry
	for range g.IntN(6) {
		key := in.key()
		cell := AppendLeafCell(nil, 0, Key{Bytes: key}, in.bytes(in.IntN(20), "w"))
		at, found := slices.BinarySearchFunc(model, entry{key: key}, byKey)
		if found || BucketSize+n.Used()+CellSpace(len(cell)) > MaxInlineValue(g.size) {
			continue
		}
		n.Insert(at, cell, make([]byte, g.size))
		model = slices.Insert(model, at, entry{key, cell})
	}
	payload := make([]byte, BucketSize)
	PutBucket(payload, Bucket{Sequence: g.Uint64(), Count: uint64(n.Count())})
	return n.AppendInline(payload)
}

// newNode returns an empty stamped node. A branch gets its first child.
func (g *generator) newNode(level int) (Node, []entry) {
	n := InitNode(make([]byte, g.size), level)
	Stamp(n, testID, testBirth)
	if level == 0 {
		return n, nil
	}
	first := entry{nil, g.branchCell(nil)}
	n.Insert(0, first.cell, make([]byte, g.size))
	return n, []entry{first}
}

func (g *generator) entry(level int) entry {
	key := g.key()
	if level > 0 {
		return entry{key, g.branchCell(key)}
	}
	return entry{key, g.leafCell(key)}
}

// fill inserts entries until one does not fit, or limit are in.
func (g *generator) fill(level, limit int) (Node, []entry) {
	n, model := g.newNode(level)
	scratch := make([]byte, g.size)
	for range 4 * limit {
		e := g.entry(level)
		at, found := slices.BinarySearchFunc(model, e, byKey)
		if found {
			continue
		}
		if len(model) >= limit || !n.Room(len(e.cell)) {
			break
		}
		n.Insert(at, e.cell, scratch)
		model = slices.Insert(model, at, e)
	}
	return n, model
}

// checkNode fails the test unless n is valid and holds exactly the model.
func checkNode(t testing.TB, n Node, model []entry) {
	t.Helper()
	if err := Validate(n); err != nil {
		t.Fatalf("Validate: %v", err)
	}
	checkCells(t, n, model, len(n))
	checkCopy(t, n, model)
}

// checkCopy wants a copy of n with the cells in the order of their keys at its end,
// and nothing but zeros before.
func checkCopy(t testing.TB, n Node, model []entry) {
	t.Helper()
	c := Node(bytes.Repeat([]byte{0xA5}, len(n)))
	n.CopyTo(c)
	if err := Validate(c); err != nil {
		t.Fatalf("copy: %v", err)
	}
	checkCells(t, c, model, len(n))
	var cells []byte
	for _, e := range model {
		cells = append(cells, e.cell...)
	}
	if !bytes.HasSuffix(c, cells) || c.garbage() != 0 {
		t.Fatalf("the cells of the copy are not in order, or it has %d bytes of garbage", c.garbage())
	}
	free := c[slotsAt+len(model)*slotSize : len(c)-len(cells)]
	if !bytes.Equal(free, make([]byte, len(free))) {
		t.Fatal("the copy has bytes of deleted cells")
	}
}

func checkCells(t testing.TB, n Node, model []entry, size int) {
	t.Helper()
	if n.Count() != len(model) {
		t.Fatalf("%d cells, want %d", n.Count(), len(model))
	}
	used := HeaderSize
	for i, e := range model {
		if !bytes.Equal(n.Raw(i), e.cell) {
			t.Fatalf("cell %d: %x, want %x", i, n.Raw(i), e.cell)
		}
		if n.SpaceOf(i) != CellSpace(len(e.cell)) {
			t.Fatalf("cell %d: space %d, want %d", i, n.SpaceOf(i), CellSpace(len(e.cell)))
		}
		used += CellSpace(len(e.cell))
		known := e.key
		if e.long(size) {
			known = e.key[:longKnown]
		}
		c := n.Cell(i)
		if c.KeyLen() != len(e.key) || !bytes.Equal(c.Known(), known) || c.IsLong() != e.long(size) {
			t.Fatalf("cell %d: key of %d bytes, long %t, %q, want %q", i, c.KeyLen(), c.IsLong(), c.Known(), known)
		}
	}
	if n.Used() != used || n.Free() != len(n)-used {
		t.Fatalf("used %d, free %d, want %d, %d", n.Used(), n.Free(), used, len(n)-used)
	}
}

// checkSearch compares Search with a search of the model.
func checkSearch(t testing.TB, n Node, model []entry, key []byte) {
	t.Helper()
	size := len(n)
	first := n.first()
	want := first + sort.Search(max(0, len(model)-first), func(i int) bool {
		return bytes.Compare(model[first+i].key, key) >= 0
	})
	present := want < len(model) && bytes.Equal(model[want].key, key)
	i, f := n.Search(key)
	if f == NeedLong {
		if i < first || i >= len(model) || !model[i].long(size) || len(key) <= longKnown ||
			!bytes.Equal(key[:longKnown], model[i].key[:longKnown]) {
			t.Fatalf("Search(%q) wants the long key of cell %d without need", key, i)
		}
		return
	}
	if i != want || (f == Present) != present {
		t.Fatalf("Search(%q) = %d, %d, want %d, present %t", key, i, f, want, present)
	}
	if n.IsBranch() {
		return
	}
	if i, f := n.Lookup(key); f == NeedLong || (f == Present) != present || present && i != want {
		t.Fatalf("Lookup(%q) = %d, %d, want %d, present %t", key, i, f, want, present)
	}
}
