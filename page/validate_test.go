package page

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// samplePages returns valid extents of every type for the page size.
func samplePages(g *generator) map[string][]byte {
	leaf, _ := g.fill(0, 40)
	branch, _ := g.fill(1, 40)
	few, _ := g.fill(0, 3)
	empty, _ := g.newNode(0)
	value := make([]byte, 2*g.size)
	copy(InitExtent(value, TypeValue, g.size+5, g.size), "value")
	key := make([]byte, g.size)
	copy(InitExtent(key, TypeKey, g.size/2, g.size), "key")
	bits := make([]byte, g.size)
	copy(InitSpaceLeaf(bits), "\x0f\xf0")
	index := make([]byte, g.size)
	InitSpaceIndex(index, 1, []SpaceEntry{{g.ref(), 5, 3}, {}, {g.ref(), 1, 1}})
	log := make([]byte, g.size)
	InitSpaceLog(log, g.ref(), AppendSpaceRecord(nil, SpaceRecord{2, 3, true}))
	pages := map[string][]byte{
		"leaf": leaf, "branch": branch, "few": few, "empty": empty, "value": value,
		"key": key, "space leaf": bits, "space index": index, "space log": log,
	}
	for _, b := range pages {
		Stamp(b, testID, testBirth)
	}
	return pages
}

// exercise reads and edits the extent b in every way there is if it is valid,
// and reports whether it is. Nothing may panic, and edits must keep it valid.
func exercise(t testing.TB, g *generator, b []byte) bool {
	if Validate(b) != nil {
		return false
	}
	switch TypeOf(b) {
	case TypeBranch, TypeLeaf:
		readNode(g, Node(b))
		if len(b) == g.size {
			editNode(t, g, Node(b))
		}
	case TypeSpaceIndex:
		x := SpaceIndex(b)
		for i := range x.Count() {
			x.Entry(i)
		}
	case TypeSpaceLog:
		if _, records, err := SpaceLog(b); err == nil {
			last := 0
			if err := ReadSpaceLog(records, func(SpaceRecord) error { last++; return nil }); err == nil && last == 0 && len(records) > 0 {
				t.Errorf("log of %d bytes without a record", len(records))
			}
		}
	case TypeSpaceLeaf:
		if len(SpaceBits(b)) != len(b)-HeaderSize {
			t.Errorf("bitmap of %d bytes", len(SpaceBits(b)))
		}
	default:
		n := le.Uint64(b[offLength:])
		if p, err := Payload(b, n); err != nil || uint64(len(p)) != n {
			t.Errorf("payload of %d bytes, %v, want %d", len(p), err, n)
		}
	}
	return true
}

func readNode(g *generator, n Node) {
	var buf [3]RefAt
	for i := range n.Count() {
		c := n.Cell(i)
		n.Search(c.Known())
		n.Raw(i)
		n.SpaceOf(i)
		for _, at := range n.Refs(i, &buf) {
			if _, ok := at.Type(n.Level()); !ok && at.Kind != RefBucket {
				panic("reference without a type")
			}
			GetRef(n[at.Offset:])
		}
		if c.IsLong() {
			GetRef(n[c.KeyRefAt():])
			n.Search(append(bytes.Clone(c.Known()), 'x'))
		}
		if n.IsBranch() {
			n.Child(i)
		} else if !c.IsBig() {
			c.Value()
		}
		if c.IsBucket() {
			GetBucket(c.Value())
			if inline := InlineOf(c.Value()); inline != nil {
				readNode(g, inline)
				InitNode(make([]byte, g.size), 0).AppendFrom(inline, 0, inline.Count())
			}
		}
	}
	n.Search(nil)
	n.Search([]byte{0})
	n.Search(bytes.Repeat([]byte{0xff}, 3*longKnown))
	for range 3 {
		n.Search(g.key())
	}
}

// editNode edits copies of n.
func editNode(t testing.TB, g *generator, n Node) {
	valid := func(what string, b Node) {
		if err := Validate(b); err != nil {
			t.Fatalf("%s made a valid page invalid: %v\n%x", what, err, []byte(n))
		}
	}
	scratch := make([]byte, g.size)
	e := g.entry(n.Level())
	insertInto(t, g, n, e, valid)
	count, first := n.Count(), n.first()
	if count <= first {
		return
	}
	b := Node(bytes.Clone(n))
	b.pack(scratch)
	valid("pack", b)
	i := first + g.IntN(count-first)
	b = Node(bytes.Clone(n))
	b.Delete(i)
	valid("Delete", b)
	b = Node(bytes.Clone(n))
	b.DeleteRange(i, count)
	valid("DeleteRange", b)
	b.Reserve(n.Used()-b.Used(), scratch)
	b.AppendFrom(n, i, count)
	valid("AppendFrom", b)
	if c := n.Cell(i); !c.IsLong() {
		key := bytes.Clone(c.Known())
		cell := AppendLeafCell(nil, 0, Key{Bytes: key}, g.bytes(g.IntN(200), "r"))
		if n.IsBranch() {
			cell = AppendBranchCell(nil, Key{Bytes: key}, Ref{ID: 2})
		}
		b = Node(bytes.Clone(n))
		if b.ReplaceRoom(i, len(cell)) {
			b.Replace(i, cell, scratch)
			valid("Replace", b)
		}
	}
}

// insertInto puts e into a copy of n, or into one of the parts if it is full.
func insertInto(t testing.TB, g *generator, n Node, e entry, valid func(string, Node)) {
	// The reference must not be younger than the page.
	var cell []byte
	k := Key{Bytes: e.key, Long: e.long(g.size), Ref: Ref{ID: 2}}
	if n.IsBranch() {
		cell = AppendBranchCell(nil, k, Ref{ID: 2})
	} else {
		cell = AppendLeafCell(nil, 0, k, g.bytes(g.IntN(MaxInlineValue(g.size)), "i"))
	}
	at, f := n.Search(e.key)
	if f != Absent {
		return
	}
	b := Node(bytes.Clone(n))
	scratch := make([]byte, g.size)
	if b.Room(len(cell)) {
		b.Insert(at, cell, scratch)
		valid("Insert", b)
		return
	}
	cut := n.SplitPoint(at, len(cell), g.Float64())
	keep := cut
	if at < cut {
		keep--
	}
	right := InitNode(make([]byte, g.size), n.Level())
	Stamp(right, IDOf(n), BirthOf(n))
	right.AppendFrom(n, keep, n.Count())
	b.DeleteRange(keep, n.Count())
	target, i := b, at
	if at >= cut {
		target, i = right, at-cut
	}
	if cut < 1 || cut > n.Count() || !target.Room(len(cell)) {
		t.Fatalf("split at %d of %d leaves no room for cell %d of %d bytes", cut, n.Count(), at, len(cell))
	}
	target.Insert(i, cell, scratch)
	valid("the left part of a split", b)
	if n.IsBranch() {
		right.Replace(0, AppendBranchCell(nil, Key{}, right.Child(0)), scratch)
	}
	valid("the right part of a split", right)
}

// Every byte of valid extents is changed, one at a time. What is still valid
// then can be read and edited.
func TestValidate_DamagedBytes(t *testing.T) {
	g := &generator{Rand: newRand(t), size: MinSize}
	for name, b := range samplePages(g) {
		t.Run(name, func(t *testing.T) {
			if !exercise(t, g, b) {
				t.Fatalf("sample is not valid: %v", Validate(b))
			}
			rejected := 0
			for i := range b {
				for _, flip := range []byte{0xff, 1 << g.IntN(8)} {
					b[i] ^= flip
					if !exercise(t, g, b) {
						rejected++
					}
					b[i] ^= flip
				}
			}
			if rejected == 0 { // a bitmap has no structure but its type
				t.Error("no change was noticed")
			}
		})
	}
}

// Several fields lie at once, with the values that overflow.
func TestValidate_HostileFields(t *testing.T) {
	g := &generator{Rand: newRand(t), size: MinSize}
	pages := samplePages(g)
	values := []uint32{0, 1, 2, 40, 41, MinSize - 1, MinSize, MinSize + 1, 1<<16 - 1, 1 << 16, 1<<31 - 1, 1 << 31, 1<<32 - 1}
	for range 4000 {
		for _, name := range []string{"leaf", "branch", "few", "space index", "space log"} {
			b := bytes.Clone(pages[name])
			for range 1 + g.IntN(3) {
				at := []int{0, 2, offCount, offHeap, offGarbage, offPrefix, HeaderSize + 4*g.IntN(20), g.IntN(len(b) - 4)}[g.IntN(8)]
				le.PutUint32(b[at:], values[g.IntN(len(values))])
			}
			exercise(t, g, b)
		}
	}
}

// twoCells returns a leaf with two cells of the given bytes and nothing else.
func twoCells(a, b []byte) Node {
	n := InitNode(make([]byte, MinSize), 0)
	Stamp(n, testID, testBirth)
	n.Insert(0, a, make([]byte, MinSize))
	n.Insert(1, b, make([]byte, MinSize))
	return n
}

// threeCells is twoCells with one more.
func threeCells(a, b, c []byte) Node {
	n := twoCells(a, b)
	n.Insert(2, c, make([]byte, MinSize))
	return n
}

func TestValidate_Errors(t *testing.T) {
	const size = MinSize
	short := func(key string) Key { return Key{Bytes: []byte(key)} }
	plain := func(key string) []byte { return AppendLeafCell(nil, 0, short(key), []byte("v")) }
	raw := func(flags byte, keyLen, valueLen uint64, rest int) []byte {
		b := binary.AppendUvarint([]byte{flags}, keyLen)
		return append(binary.AppendUvarint(b, valueLen), make([]byte, rest)...)
	}
	long := Key{Bytes: bytes.Repeat([]byte("z"), MaxInlineKey(size)+1), Ref: Ref{ID: 9}, Long: true}
	bucket := func(h Bucket, more ...byte) []byte {
		var b [BucketSize]byte
		PutBucket(b[:], h)
		return AppendLeafCell(nil, CellBucket, short("b"), append(b[:], more...))
	}
	inline := func(cell []byte, count uint64) []byte {
		n := InitNode(make([]byte, size), 0)
		n.Insert(0, cell, make([]byte, size))
		return bucket(Bucket{Count: count}, n.AppendInline(nil)...)
	}
	with := func(n Node, change func(Node)) Node { change(n); return n }
	ab := func() Node { return twoCells(plain("a"), plain("b")) }
	branch := func(level int) Node {
		n := InitNode(make([]byte, size), level)
		Stamp(n, testID, testBirth)
		return n
	}

	for _, c := range []struct {
		name, want string
		page       Node
	}{
		{"no bytes", "extent of 0 bytes", nil},
		{"no type", "unknown type none", make(Node, size)},
		{"inline as a page", "unknown type inline", with(ab(), func(n Node) { n[offType] = byte(TypeInline) })},
		{"page too large", "leaf of", InitNode(make([]byte, 2*MaxSize), 0)},
		{"leaf at level 1", "leaf at level 1", with(ab(), func(n Node) { n[offLevel] = 1 })},
		{"branch at level 0", "branch at level 0", with(ab(), func(n Node) { n[offType] = byte(TypeBranch) })},
		{"branch without children", "without children", branch(1)},
		{"count", "slots", with(ab(), func(n Node) { le.PutUint32(n[offCount:], 5000) })},
		{"heap", "heap at", with(ab(), func(n Node) { le.PutUint32(n[offHeap:], size+1) })},
		{"heap in slots", "heap at", with(ab(), func(n Node) { le.PutUint32(n[offHeap:], HeaderSize) })},
		{"garbage", "garbage", with(ab(), func(n Node) { le.PutUint32(n[offGarbage:], 1) })},
		{"offset", "outside the heap", with(ab(), func(n Node) { n.setSlot(0, n.head(0), HeaderSize) })},
		{"overlap", "overlaps", with(twoCells(plain("a"), plain("b")), func(n Node) { n.setSlot(1, n.head(0), n.offset(0)) })},
		{"head", "head", with(ab(), func(n Node) { n.setHead(1, 7) })},
		{"prefix", "shorter than the prefix", with(ab(), func(n Node) { n.setHead(0, 0); n[offPrefix] = 2 })},
		{"prefix differs", "prefix differs", with(ab(), func(n Node) { n.setHead(0, 0); n.setHead(1, 0); n[offPrefix] = 1 })},
		{"order", "out of order", twoCells(plain("b"), plain("a"))},
		{"twice", "out of order", twoCells(plain("a"), plain("a"))},
		{"order around a long key", "out of order", threeCells(
			plain(strings.Repeat("z", longKnown)+"b"), AppendLeafCell(nil, 0, long, []byte("v")), plain(strings.Repeat("z", longKnown)+"a"))},
		{"empty key", "empty key", twoCells(raw(0, 0, 0, 0), plain("b"))},
		{"value past the end", "bytes at offset", with(ab(), func(n Node) { n[n.offset(0)+2] = 100 })},
		{"flags", "flags 0x8", twoCells(append([]byte{8}, plain("a")[1:]...), plain("b"))},
		{"big bucket", "flags 0x6", twoCells(plain("a"), raw(6, 1, 5000, 1+RefSize))},
		{"long key", "flags 0x1 with a key", twoCells(plain("\x00"), append(AppendLeafCell([]byte{}, 0, long, nil)[:1], raw(0, 400, 0, RefSize+longKnown)[1:]...))},
		{"key not long", "with a key of 513", twoCells(raw(0, 513, 0, 513), plain("b"))},
		{"value not big", "with a value of 1025", twoCells(plain("\x00"), raw(0, 1, 1025, 1026))},
		{"value too small", "with a value of 10 ", twoCells(plain("\x00"), raw(CellBigValue, 1, 10, 1+RefSize))},
		{"value too large", "no value length", twoCells(plain("\x00"), raw(CellBigValue, 1, 1<<31, 1+RefSize))},
		{"reference to a meta", "reference to page 1", twoCells(plain("a"), AppendBigCell(nil, short("b"), 5000, Ref{ID: 1}))},
		{"reference to nothing", "reference to page 0", twoCells(plain("a"), AppendBigCell(nil, short("b"), 5000, Ref{}))},
		{"pending reference", "reference to page", twoCells(plain("a"), AppendBigCell(nil, short("b"), 5000, PendingRef(3)))},
		{"younger reference", "after its parent", twoCells(plain("a"), AppendBigCell(nil, short("b"), 5000, Ref{ID: 3, Birth: testBirth + 1}))},
		{"bucket header", "bucket header of", twoCells(plain("a"), AppendLeafCell(nil, CellBucket, short("b"), make([]byte, BucketSize-1)))},
		{"bucket without root", "bucket of 3 keys", twoCells(plain("a"), bucket(Bucket{Count: 3}))},
		{"bucket without keys", "bucket of 0 keys", twoCells(plain("a"), bucket(Bucket{Root: Ref{ID: 4}}))},
		{"bucket twice", "both inline and at page", twoCells(plain("a"), bucket(Bucket{Root: Ref{ID: 4}, Count: 1}, 0))},
		{"inline too short", "without a leaf", twoCells(plain("a"), bucket(Bucket{}, 3))},
		{"inline of another type", "without a leaf", twoCells(plain("a"), bucket(Bucket{}, make([]byte, HeaderSize)...))},
		{"inline count", "says 2", twoCells(plain("a"), inline(plain("x"), 2))},
		{"inline bucket in an inline bucket", "bucket inside", twoCells(plain("a"), inline(bucket(Bucket{}), 1))},
		{"reference in an inline bucket", "reference inside", twoCells(plain("a"), inline(AppendBigCell(nil, short("x"), 5000, Ref{ID: 3}), 1))},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := Validate(c.page); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Validate = %v, want %q", err, c.want)
			}
		})
	}
}

func TestValidate_AcceptsAllSizes(t *testing.T) {
	for _, size := range pageSizes {
		g := &generator{Rand: newRand(t), size: size}
		for name, b := range samplePages(g) {
			if !exercise(t, g, b) {
				t.Errorf("%d: %s: %v", size, name, Validate(b))
			}
		}
	}
}

func TestNode_Refs(t *testing.T) {
	g := &generator{Rand: newRand(t), size: MinSize}
	long := g.cellKey(bytes.Repeat([]byte("l"), 600))
	ref, child := g.ref(), g.ref()
	var header [BucketSize]byte
	PutBucket(header[:], Bucket{Root: ref, Count: 1})
	cells := [][]byte{
		AppendLeafCell(nil, 0, Key{Bytes: []byte("a")}, []byte("v")),
		AppendLeafCell(nil, CellBucket, Key{Bytes: []byte("b")}, header[:]),
		AppendLeafCell(nil, CellBucket, Key{Bytes: []byte("c")}, make([]byte, BucketSize)),
		AppendBigCell(nil, long, 9000, ref),
	}
	leaf := InitNode(make([]byte, MinSize), 0)
	for i, cell := range cells {
		leaf.Insert(i, cell, make([]byte, MinSize))
	}
	branch := InitNode(make([]byte, MinSize), 2)
	branch.Insert(0, AppendBranchCell(nil, Key{}, ref), make([]byte, MinSize))
	branch.Insert(1, AppendBranchCell(nil, long, child), make([]byte, MinSize))

	type found struct {
		kind   RefKind
		length uint64
		ref    Ref
		typ    Type
		typed  bool
	}
	for _, c := range []struct {
		name string
		n    Node
		i    int
		want []found
	}{
		{"plain", leaf, 0, nil},
		{"bucket", leaf, 1, []found{{RefBucket, 0, ref, 0, false}}},
		{"empty bucket", leaf, 2, nil},
		{"long key and big value", leaf, 3, []found{{RefKey, 600, long.Ref, TypeKey, true}, {RefValue, 9000, ref, TypeValue, true}}},
		{"child", branch, 0, []found{{RefChild, 0, ref, TypeBranch, true}}},
		{"child and separator", branch, 1, []found{{RefChild, 0, child, TypeBranch, true}, {RefKey, 600, long.Ref, TypeKey, true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var buf [3]RefAt
			var got []found
			for _, at := range c.n.Refs(c.i, &buf) {
				typ, typed := at.Type(c.n.Level())
				got = append(got, found{at.Kind, at.Length, GetRef(c.n[at.Offset:]), typ, typed})
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("Refs = %+v, want %+v", got, c.want)
			}
		})
	}
	if typ, _ := (RefAt{Kind: RefChild}).Type(1); typ != TypeLeaf {
		t.Errorf("child of level 1 is a %v", typ)
	}
	c := leaf.Cell(3)
	if GetRef(leaf[c.KeyRefAt():]) != long.Ref || GetRef(leaf[c.ValueRefAt():]) != ref || fmt.Sprint(c.IsBig(), c.ValueLen()) != "true 9000" {
		t.Error("cell with long key and big value is read wrongly")
	}
}
