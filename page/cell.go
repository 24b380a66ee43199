package page

import (
	"encoding/binary"
	"iter"
)

// Flags of a cell.
const (
	CellLongKey  = 1 // the key is in an extent; the cell holds a reference and the first 64 bytes
	CellBigValue = 2 // the value is in an extent; the cell holds a reference
	CellBucket   = 4 // the value is a bucket header, with an inline leaf or not
)

// Cell is a decoded view of one cell; its slices point into the page.
//
// In the page a leaf cell is {flags u8, klen uvarint, vlen uvarint, key,
// value} and a branch cell {flags u8, child reference, klen uvarint, key}. A
// long key is {reference, first 64 bytes}, a big value {reference}.
type Cell struct {
	Flags    byte
	branch   bool
	keyLen   int
	valueLen int
	node     Node
	keyAt    int // offset in node of the key part
	valueAt  int // offset in node of the value part
	end      int
}

// Cell decodes cell i. It does not allocate.
func (n Node) Cell(i int) (c Cell) {
	at := n.offset(i)
	c.node = n
	c.Flags = n[at]
	c.branch = n.IsBranch()
	at++
	if c.branch {
		at += RefSize
	}
	c.keyLen, at = n.uvarint(at)
	if !c.branch {
		c.valueLen, at = n.uvarint(at)
	}
	c.keyAt = at
	if c.Flags&CellLongKey != 0 {
		at += RefSize + longKnown
	} else {
		at += c.keyLen
	}
	c.valueAt = at
	if c.Flags&CellBigValue != 0 {
		at += RefSize
	} else {
		at += c.valueLen
	}
	c.end = at
	return c
}

// uvarint reads a length at offset at; Validate has made sure that it is whole.
func (n Node) uvarint(at int) (int, int) {
	if b := n[at]; b < 0x80 {
		return int(b), at + 1
	}
	v, k := binary.Uvarint(n[at:])
	return int(v), at + k
}

// KeyLen returns the length of the full key in bytes.
func (c *Cell) KeyLen() int { return c.keyLen }

// ValueLen returns the length of the value in bytes; for a bucket that of its
// header and inline leaf.
func (c *Cell) ValueLen() int { return c.valueLen }

// IsLong reports whether the key is in an extent of its own.
func (c *Cell) IsLong() bool { return c.Flags&CellLongKey != 0 }

// IsBig reports whether the value is in an extent of its own.
func (c *Cell) IsBig() bool { return c.Flags&CellBigValue != 0 }

// IsBucket reports whether the value is a nested bucket.
func (c *Cell) IsBucket() bool { return c.Flags&CellBucket != 0 }

// Known returns the part of the key that the page itself holds: all of it, or
// the first 64 bytes of a long one.
func (c Cell) Known() []byte {
	if c.Flags&CellLongKey != 0 {
		at := c.keyAt + RefSize
		return c.node[at : at+longKnown : at+longKnown]
	}
	end := c.keyAt + c.keyLen
	return c.node[c.keyAt:end:end]
}

// KeyRefAt returns where in the page the reference to the extent of a long key
// is.
func (c *Cell) KeyRefAt() int { return c.keyAt }

// Value returns the value that the page itself holds: a plain value, or a
// bucket's header with its inline leaf.
func (c *Cell) Value() []byte {
	end := c.valueAt + c.valueLen
	return c.node[c.valueAt:end:end]
}

// ValueRefAt returns where in the page the reference to the extent of a big
// value, or to the root of a nested bucket, is.
func (c *Cell) ValueRefAt() int { return c.valueAt }

// Raw returns the bytes of the cell, for moving it to another page.
func (n Node) Raw(i int) []byte { return n[n.offset(i):n.Cell(i).end] }

// RefKind says what a reference inside a node refers to.
type RefKind uint8

// Kinds of references inside a node.
const (
	RefChild  RefKind = iota // a branch or leaf one level down
	RefKey                   // the extent of a long key
	RefValue                 // the extent of a big value
	RefBucket                // the root of a nested bucket's tree
)

// RefAt is the place of a reference inside a node.
type RefAt struct {
	Kind   RefKind
	Offset int    // of the reference in the node
	Length uint64 // payload bytes of the extent, for RefKey and RefValue
}

// Type returns the type of extent that the reference must lead to, given the
// level of the node that holds it; ok is false for RefBucket, which leads to a
// branch or a leaf.
func (r RefAt) Type(level int) (t Type, ok bool) {
	switch r.Kind {
	case RefKey:
		return TypeKey, true
	case RefValue:
		return TypeValue, true
	case RefChild:
		if level > 1 {
			return TypeBranch, true
		}
		return TypeLeaf, true
	}
	return 0, false
}

// Refs lists the references in cell i: those to a child, to the extents of
// its key and value, and to a nested bucket's root, none of them zero.
func (n Node) Refs(i int, out *[3]RefAt) []RefAt {
	refs := out[:0]
	c := n.Cell(i)
	if c.branch {
		refs = append(refs, RefAt{RefChild, n.ChildAt(i), 0})
	}
	if c.IsLong() {
		refs = append(refs, RefAt{RefKey, c.keyAt, uint64(c.keyLen)})
	}
	if c.IsBig() {
		refs = append(refs, RefAt{RefValue, c.valueAt, uint64(c.valueLen)})
	}
	if c.IsBucket() && !GetRef(n[c.valueAt:]).IsZero() {
		refs = append(refs, RefAt{RefBucket, c.valueAt, 0})
	}
	return refs
}

// Pending yields the offsets in the node of the references in cells [from, to)
// to extents that are not written yet, see PendingRef.
func (n Node) Pending(from, to int) iter.Seq[int] {
	return func(yield func(int) bool) {
		branch := n.IsBranch()
		for i := from; i < to; i++ {
			at := n.offset(i)
			if branch && pendingAt(n[at+1:]) && !yield(at+1) {
				return
			}
			if n[at] == 0 {
				continue
			}
			var buf [3]RefAt
			for _, r := range n.Refs(i, &buf) {
				if r.Kind != RefChild && pendingAt(n[r.Offset:]) && !yield(r.Offset) {
					return
				}
			}
		}
	}
}

// Key is a key to be put into a cell: its bytes, and the reference to its
// extent if it is too long for a page.
type Key struct {
	Bytes []byte
	Ref   Ref
	Long  bool
}

func (k Key) known() []byte {
	if k.Long {
		return k.Bytes[:longKnown]
	}
	return k.Bytes
}

func (k Key) append(dst []byte) []byte {
	if k.Long {
		dst = appendRef(dst, k.Ref)
	}
	return append(dst, k.known()...)
}

func appendRef(dst []byte, r Ref) []byte {
	var b [RefSize]byte
	PutRef(b[:], r)
	return append(dst, b[:]...)
}

// AppendLeafCell appends a leaf cell to dst. flags is 0 or CellBucket; value is
// held by the cell.
func AppendLeafCell(dst []byte, flags byte, k Key, value []byte) []byte {
	if k.Long {
		flags |= CellLongKey
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(len(k.Bytes)))
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	dst = k.append(dst)
	return append(dst, value...)
}

// AppendBigCell appends a leaf cell whose value of n bytes is in the extent r.
func AppendBigCell(dst []byte, k Key, n int, r Ref) []byte {
	flags := byte(CellBigValue)
	if k.Long {
		flags |= CellLongKey
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(len(k.Bytes)))
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = k.append(dst)
	return appendRef(dst, r)
}

// AppendBranchCell appends a branch cell for the given separator and child.
func AppendBranchCell(dst []byte, k Key, child Ref) []byte {
	var flags byte
	if k.Long {
		flags = CellLongKey
	}
	dst = append(dst, flags)
	dst = appendRef(dst, child)
	dst = binary.AppendUvarint(dst, uint64(len(k.Bytes)))
	return k.append(dst)
}
