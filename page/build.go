package page

import (
	"bytes"
	"math/bits"
)

// Cells that arrive in order are appended: the cell is built where it stays, and
// prefix and heads are right after each without looking at the cells before,
// unless the prefix gets shorter.

// LeafSpace returns the bytes that a leaf cell takes with its slot. It has the
// key k and a value of valueLen bytes, in an extent if big.
func LeafSpace(k Key, valueLen int, big bool) int {
	size := 1 + uvarintLen(len(k.Bytes)) + uvarintLen(valueLen) + k.space() + slotSize
	if big {
		return size + RefSize
	}
	return size + valueLen
}

// BranchSpace returns the bytes that a branch cell with the key k takes with its
// slot.
func BranchSpace(k Key) int {
	return 1 + RefSize + uvarintLen(len(k.Bytes)) + k.space() + slotSize
}

// space returns the bytes that the key takes in a cell.
func (k Key) space() int {
	if k.Long {
		return RefSize + longKnown
	}
	return len(k.Bytes)
}

// uvarintLen returns how many bytes binary.AppendUvarint appends for n.
func uvarintLen(n int) int { return (bits.Len(uint(n)|1) + 6) / 7 }

// AppendLeaf appends a cell with a plain value to the leaf. k is greater than all
// keys of n; for all Append methods the caller made sure of room, and scratch, as
// long as the page, is used when the heap must be packed.
func (n Node) AppendLeaf(k Key, value, scratch []byte) {
	cell := n.extend(LeafSpace(k, len(value), false), scratch)
	AppendLeafCell(cell, 0, k, value)
	n.fitLast(k.known(), k.Long)
}

// AppendBig appends a cell to the leaf whose value of valueLen bytes is in the
// extent at r.
func (n Node) AppendBig(k Key, valueLen int, r Ref, scratch []byte) {
	cell := n.extend(LeafSpace(k, valueLen, true), scratch)
	AppendBigCell(cell, k, valueLen, r)
	n.fitLast(k.known(), k.Long)
}

// AppendBranch appends a child to the branch. The first one has the empty key.
func (n Node) AppendBranch(k Key, child Ref, scratch []byte) {
	cell := n.extend(BranchSpace(k), scratch)
	AppendBranchCell(cell, k, child)
	n.fitLast(k.known(), k.Long)
}

// extend adds a slot and returns room for its cell: empty, and as long as space
// without the slot when it is filled.
func (n Node) extend(space int, scratch []byte) []byte {
	n.Reserve(space, scratch)
	count, end := n.Count(), n.heap()
	off := end - (space - slotSize)
	n.setSlot(count, 0, off)
	le.PutUint32(n[offCount:], uint32(count+1))
	le.PutUint32(n[offHeap:], uint32(off))
	return n[off:off:end]
}

// fitLast gives the last slot its head, and shortens the prefix of the page if
// the key of its cell, of which known is at hand, does not share all of it.
func (n Node) fitLast(known []byte, long bool) {
	first, last := n.first(), n.Count()-1
	if last < first {
		return // the first child of a branch: no key, head 0
	}
	p := n.prefix()
	if last == first {
		p = len(known)
	} else if other, _ := n.known(first); len(known) < p || !bytes.Equal(known[:p], other[:p]) {
		p = commonPrefix(known, other)
	}
	if long {
		n[offFlags] |= flagLong
		p = min(p, maxLongPrefix)
	}
	if p != n.prefix() {
		n.setPrefix(p)
		return
	}
	n.setHead(last, headOf(known[p:]))
}
