package page

import "bytes"

// Node is the image of a branch or leaf page, or of an inline bucket's leaf.
//
//	header | slots → … free … ← heap of cells
//
// Slot i is {head u32, offset u16}. The head holds the four bytes of key i
// that follow the page's common prefix, as a big-endian number padded with
// zeros, so that a binary search reads the slots alone until heads are equal.
// The prefix is not stored: every key of the page begins with it. Cells hold
// the full key once. In a branch, cell 0 has the empty key and stands for
// everything below separator 1; it takes no part in the prefix.
//
// Methods other than Validate trust a page that passed it.
type Node []byte

const (
	slotSize  = 6
	slotsAt   = HeaderSize
	headBytes = 4

	// flagLong: some cell of the page has (or had) a long key, of which only
	// longKnown bytes are at hand; the prefix then stays below maxLongPrefix
	// so that every head is exact.
	flagLong      = 1
	longKnown     = 64
	maxLongPrefix = longKnown - headBytes
)

// MaxInlineKey returns the length in bytes of the longest key that cells of a
// page hold themselves; longer ones live in an extent of their own.
func MaxInlineKey(pageSize int) int { return pageSize / 8 }

// MaxInlineValue returns the length in bytes of the longest value that cells
// of a leaf hold themselves; longer ones live in an extent of their own.
func MaxInlineValue(pageSize int) int { return pageSize / 4 }

// InitNode makes b an empty branch (level > 0) or leaf (level 0) page.
func InitNode(b []byte, level int) Node {
	t := TypeLeaf
	if level > 0 {
		t = TypeBranch
	}
	initHeader(b, t, level, 1)
	le.PutUint32(b[offHeap:], uint32(len(b)))
	return Node(b)
}

// Count returns the number of cells.
func (n Node) Count() int { return int(le.Uint32(n[offCount:])) }

// Level returns 0 for a leaf and the height above the leaves for a branch.
func (n Node) Level() int { return LevelOf(n) }

// IsBranch reports whether the node refers to children.
func (n Node) IsBranch() bool { return TypeOf(n) == TypeBranch }

func (n Node) heap() int    { return int(le.Uint32(n[offHeap:])) }
func (n Node) garbage() int { return int(le.Uint32(n[offGarbage:])) }
func (n Node) prefix() int  { return int(le.Uint16(n[offPrefix:])) }
func (n Node) hasLong() bool {
	return n[offFlags]&flagLong != 0
}

// first is the index of the first cell whose key takes part in the order.
func (n Node) first() int {
	if n.IsBranch() {
		return 1
	}
	return 0
}

func (n Node) head(i int) uint32       { return le.Uint32(n[slotsAt+i*slotSize:]) }
func (n Node) offset(i int) int        { return int(le.Uint16(n[slotsAt+i*slotSize+headBytes:])) }
func (n Node) setHead(i int, h uint32) { le.PutUint32(n[slotsAt+i*slotSize:], h) }
func (n Node) setSlot(i int, h uint32, off int) {
	le.PutUint32(n[slotsAt+i*slotSize:], h)
	le.PutUint16(n[slotsAt+i*slotSize+headBytes:], uint16(off))
}

// headOf returns the search head of a key whose common prefix is cut off.
func headOf(rest []byte) uint32 {
	if len(rest) >= headBytes {
		return uint32(rest[0])<<24 | uint32(rest[1])<<16 | uint32(rest[2])<<8 | uint32(rest[3])
	}
	var h uint32
	for i, c := range rest {
		h |= uint32(c) << (24 - 8*i)
	}
	return h
}

// Find is the outcome of a search in a node.
type Find uint8

// Outcomes of Search.
const (
	Absent   Find = iota // the key is not in the node
	Present              // the key is at the index returned
	NeedLong             // only the extent of the long key at the index can tell
)

// Search returns the index of key, or where it belongs: the first index whose
// key is greater. In a branch index 0 never takes part. On NeedLong the caller
// compares with the full key of the index itself. It does not allocate.
func (n Node) Search(key []byte) (int, Find) {
	lo, hi := n.first(), n.Count()
	if lo >= hi {
		return lo, Absent
	}
	p := n.prefix()
	if p > 0 {
		known, _ := n.known(lo)
		pre := known[:p]
		if len(key) < p || !bytes.Equal(key[:p], pre) {
			if bytes.Compare(key, pre) < 0 {
				return lo, Absent
			}
			return hi, Absent
		}
	}
	return n.search(key, p, lo, hi)
}

// Lookup is Search in a leaf for callers that ask only whether key is there: the
// index is of no meaning if it is Absent. It does not look at the prefix, which
// costs a cache miss in a cold page: a key that is there has it.
func (n Node) Lookup(key []byte) (int, Find) {
	p := n.prefix()
	if len(key) < p {
		return 0, Absent
	}
	return n.search(key, p, 0, n.Count())
}

// search finds key among the cells [lo, hi), all of which share its first p
// bytes.
func (n Node) search(key []byte, p, lo, hi int) (int, Find) {
	h := headOf(key[p:])
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		switch hm := n.head(m); {
		case hm < h:
			lo = m + 1
			continue
		case hm > h:
			hi = m
			continue
		}
		known, long := n.known(m)
		cmp, ok := compare(key, known, long)
		switch {
		case !ok:
			return m, NeedLong
		case cmp == 0:
			return m, Present
		case cmp > 0:
			lo = m + 1
		default:
			hi = m
		}
	}
	return lo, Absent
}

// known returns what Cell(i).Known() does, without looking at the rest of the
// cell, and whether the key is long.
func (n Node) known(i int) (known []byte, long bool) {
	at := n.offset(i)
	long = n[at]&CellLongKey != 0
	at++
	branch := n.IsBranch()
	if branch {
		at += RefSize
	}
	length, at := n.uvarint(at)
	if !branch {
		_, at = n.uvarint(at)
	}
	if long {
		at, length = at+RefSize, longKnown
	}
	return n[at : at+length], long
}

// compare compares key with a cell's key, of which known is at hand; false if
// only the extent of the long key can tell.
func compare(key, known []byte, long bool) (int, bool) {
	if !long {
		return bytes.Compare(key, known), true
	}
	if len(key) > longKnown {
		cmp := bytes.Compare(key[:longKnown], known)
		return cmp, cmp != 0
	}
	if cmp := bytes.Compare(key, known); cmp != 0 {
		return cmp, true
	}
	return -1, true // the long key goes on where key ends
}

// Child returns the reference to child i of a branch.
func (n Node) Child(i int) Ref { return GetRef(n[n.offset(i)+1:]) }

// ChildAt returns the offset in n of the reference to child i of a branch.
func (n Node) ChildAt(i int) int { return n.offset(i) + 1 }

// Used returns the bytes taken by header, slots and live cells.
func (n Node) Used() int {
	return slotsAt + n.Count()*slotSize + len(n) - n.heap() - n.garbage()
}

// Free returns the bytes that new slots and cells can take.
func (n Node) Free() int { return len(n) - n.Used() }
