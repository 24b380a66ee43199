package page

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
)

// appendEntry appends a cell with the key of e to n by the method for its kind,
// and returns the entry as it must be in the page.
func (g *generator) appendEntry(n Node, key, scratch []byte) (e entry, ok bool) {
	k := g.cellKey(key)
	if n.IsBranch() {
		child := g.ref()
		e = entry{key, AppendBranchCell(nil, k, child)}
		if ok = n.Room(len(e.cell)); ok {
			n.AppendBranch(k, child, scratch)
		}
		return e, ok && CellSpace(len(e.cell)) == BranchSpace(k)
	}
	if g.IntN(6) == 0 {
		r, size := g.ref(), MaxInlineValue(g.size)+1+g.IntN(1<<24)
		e = entry{key, AppendBigCell(nil, k, size, r)}
		if ok = n.Room(len(e.cell)); ok {
			n.AppendBig(k, size, r, scratch)
		}
		return e, ok && CellSpace(len(e.cell)) == LeafSpace(k, size, true)
	}
	value := g.bytes(g.IntN(300), "v")
	e = entry{key, AppendLeafCell(nil, 0, k, value)}
	if ok = n.Room(len(e.cell)); ok {
		n.AppendLeaf(k, value, scratch)
	}
	return e, ok && CellSpace(len(e.cell)) == LeafSpace(k, len(value), false)
}

// TestNode_Append_Model appends keys in order to pages, some of which had cells
// deleted, and compares each state with what the page must hold.
func TestNode_Append_Model(t *testing.T) {
	for _, size := range pageSizes {
		for level := range 2 {
			t.Run(fmt.Sprintf("size=%d/level=%d", size, level), func(t *testing.T) {
				g := &generator{Rand: newRand(t), size: size}
				scratch := make([]byte, size)
				for round := range 60 {
					g.plain = round%3 == 0
					n, model := g.newNode(level)
					keys := make([][]byte, 0, 200)
					for range cap(keys) {
						keys = append(keys, g.key())
					}
					slices.SortFunc(keys, bytes.Compare)
					keys = keys[g.IntN(len(keys)):] // any kind of key comes first
					for _, key := range slices.CompactFunc(keys, bytes.Equal) {
						e, ok := g.appendEntry(n, key, scratch)
						if !ok {
							break
						}
						model = append(model, e)
						if at := g.IntN(len(model)); at >= n.first() && g.IntN(4) == 0 { // leaves garbage
							n.Delete(at)
							model = slices.Delete(model, at, at+1)
						}
						checkNode(t, n, model)
						checkSearch(t, n, model, key)
						checkSearch(t, n, model, g.key())
						at := n.first() + g.IntN(len(model)+1)
						if at >= len(model) {
							continue
						}
						if known, _ := n.known(at); !bytes.Equal(known, n.Cell(at).Known()) {
							t.Fatalf("cell %d: key %x, want %x", at, known, n.Cell(at).Known())
						}
					}
				}
			})
		}
	}
}

// TestNode_Append_Packs fills a page with garbage in the middle to the last byte.
func TestNode_Append_Packs(t *testing.T) {
	scratch := make([]byte, MinSize)
	n := InitNode(make([]byte, MinSize), 0)
	key := func(i int) Key { return Key{Bytes: []byte(fmt.Sprintf("key-%04d", i))} }
	value := make([]byte, 90)
	space := LeafSpace(key(0), len(value), false)
	i := 0
	for ; n.Free() >= space; i++ {
		n.AppendLeaf(key(i), value, scratch)
	}
	n.DeleteRange(3, 9)
	for ; n.Free() >= space; i++ {
		n.AppendLeaf(key(i), value, scratch)
	}
	if err := Validate(n); err != nil {
		t.Fatal(err)
	}
	if at, found := n.Search(key(i - 1).Bytes); found != Present || at != n.Count()-1 {
		t.Errorf("last key: index %d, %v, want %d", at, found, n.Count()-1)
	}
	if n.garbage() != 0 {
		t.Errorf("%d bytes of garbage in a full page", n.garbage())
	}
}

func TestUvarintLen(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 1<<14 - 1, 1 << 14, 1<<21 - 1, 1 << 21, 1<<28 - 1, 1 << 28, 1<<31 - 1} {
		if got, want := uvarintLen(n), len(binary.AppendUvarint(nil, uint64(n))); got != want {
			t.Errorf("uvarintLen(%d) = %d, want %d", n, got, want)
		}
	}
}

// TestNode_Append_Prefix appends keys whose common prefix shrinks with each.
func TestNode_Append_Prefix(t *testing.T) {
	n := InitNode(make([]byte, MinSize), 0)
	Stamp(n, testID, testBirth)
	scratch := make([]byte, MinSize)
	var model []entry
	for i := 20; i >= 0; i-- {
		k := Key{Bytes: append(bytes.Repeat([]byte("a"), i), 'b')}
		n.AppendLeaf(k, nil, scratch)
		model = append(model, entry{k.Bytes, AppendLeafCell(nil, 0, k, nil)})
		checkNode(t, n, model)
		if want := min(i, 20); len(model) > 1 && n.prefix() != want {
			t.Errorf("prefix of %d bytes after key %q, want %d", n.prefix(), k.Bytes, want)
		}
	}
}

func BenchmarkNode_Append(b *testing.B) {
	n, scratch, value := InitNode(make([]byte, MinSize), 0), make([]byte, MinSize), make([]byte, 100)
	k := Key{Bytes: make([]byte, 16)}
	space := LeafSpace(k, len(value), false)
	for i := 0; b.Loop(); i++ {
		if n.Free() < space {
			n.reset()
		}
		binary.BigEndian.PutUint64(k.Bytes[8:], uint64(i))
		n.AppendLeaf(k, value, scratch)
	}
}
