package page

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// Validate reports what is wrong with the structure of the extent b, whose
// digest is right, or nil. Only a page that passed it is read by the other
// functions of this package; it takes any bytes without panicking.
func Validate(b []byte) error {
	if len(b) < HeaderSize || len(b) > math.MaxInt32 {
		return fmt.Errorf("extent of %d bytes", len(b))
	}
	switch t := TypeOf(b); t {
	case TypeBranch, TypeLeaf:
		if len(b) > MaxSize {
			return fmt.Errorf("%v of %d bytes", t, len(b))
		}
		return Node(b).validate(len(b))
	case TypeValue, TypeKey, TypeSpaceLog:
		if n := le.Uint64(b[offLength:]); n > uint64(len(b)-HeaderSize) {
			return fmt.Errorf("%v of %d bytes in an extent of %d", t, n, len(b))
		}
		return nil
	case TypeSpaceLeaf:
		return nil
	case TypeSpaceIndex:
		return SpaceIndex(b).validate()
	default:
		return fmt.Errorf("unknown type %v", t)
	}
}

// occupied has one bit for each byte of a node that a cell takes.
type occupied [MaxSize / 64]uint64

// take marks the bytes [from, to), or returns false if one is taken: cells
// that overlap could not be changed in place.
func (o *occupied) take(from, to int) bool {
	for from < to {
		bit := from % 64
		n := min(64-bit, to-from)
		mask := ^uint64(0) >> (64 - n) << bit
		if o[from/64]&mask != 0 {
			return false
		}
		o[from/64] |= mask
		from += n
	}
	return true
}

// validate checks the node's bounds, cells, order of keys, prefix and heads.
// pageSize limits what cells hold themselves: splitting a page counts on it.
func (n Node) validate(pageSize int) error {
	// A count or heap of 2^31 or more is negative in an int of 32 bits.
	count, heap := n.Count(), n.heap()
	switch {
	case count < 0 || heap < 0:
		return fmt.Errorf("too many slots or too large a heap")
	case n.IsBranch() == (n.Level() == 0):
		return fmt.Errorf("%v at level %d", TypeOf(n), n.Level())
	case n.IsBranch() && count == 0:
		return fmt.Errorf("branch without children")
	case heap > len(n) || count > (len(n)-slotsAt)/slotSize || slotsAt+count*slotSize > heap:
		return fmt.Errorf("%d slots and a heap at %d of %d bytes", count, heap, len(n))
	}
	live := 0
	var taken occupied
	for i := range count {
		size, err := n.validateCell(i, pageSize)
		if err != nil {
			return fmt.Errorf("cell %d: %w", i, err)
		}
		if at := n.offset(i); !taken.take(at, at+size) {
			return fmt.Errorf("cell %d overlaps another", i)
		}
		live += size
	}
	if live+n.garbage() != len(n)-heap {
		return fmt.Errorf("heap of %d bytes holds %d of cells and %d of garbage", len(n)-heap, live, n.garbage())
	}
	return n.validateOrder()
}

// validateCell checks that cell i lies in the heap and returns its length.
func (n Node) validateCell(i, pageSize int) (int, error) {
	at := n.offset(i)
	if at < n.heap() || at >= len(n) {
		return 0, fmt.Errorf("offset %d outside the heap", at)
	}
	flags := n[at]
	branch := n.IsBranch()
	need := 1
	if branch {
		need += RefSize
	}
	keyLen, k := n.lengthAt(at + need)
	if k <= 0 {
		return 0, fmt.Errorf("no key length")
	}
	need += k
	valueLen := uint64(0)
	if !branch {
		if valueLen, k = n.lengthAt(at + need); k <= 0 {
			return 0, fmt.Errorf("no value length")
		}
		need += k
	}
	if err := checkFlags(flags, branch, keyLen); err != nil {
		return 0, err
	}
	if (flags&CellLongKey != 0) != (keyLen > uint64(MaxInlineKey(pageSize))) {
		return 0, fmt.Errorf("flags %#x with a key of %d bytes", flags, keyLen)
	}
	if (flags&CellBigValue != 0) != (valueLen > uint64(MaxInlineValue(pageSize))) {
		return 0, fmt.Errorf("flags %#x with a value of %d bytes", flags, valueLen)
	}
	size := uint64(need) + keyLen
	if flags&CellLongKey != 0 {
		size = uint64(need) + RefSize + longKnown
	}
	if flags&CellBigValue != 0 {
		size += RefSize
	} else {
		size += valueLen
	}
	if size > uint64(len(n)-at) {
		return 0, fmt.Errorf("%d bytes at offset %d of %d", size, at, len(n))
	}
	if branch && (i == 0) != (keyLen == 0) {
		return 0, fmt.Errorf("separator of %d bytes", keyLen)
	}
	return int(size), n.validateRefs(i, pageSize)
}

func (n Node) lengthAt(at int) (uint64, int) {
	if at >= len(n) {
		return 0, 0
	}
	v, k := binary.Uvarint(n[at:])
	if v > math.MaxInt32 {
		return 0, 0
	}
	return v, k
}

func checkFlags(flags byte, branch bool, keyLen uint64) error {
	valid := byte(CellLongKey | CellBigValue | CellBucket)
	if branch {
		valid = CellLongKey
	}
	switch {
	case flags&^valid != 0, flags&(CellBigValue|CellBucket) == CellBigValue|CellBucket:
		return fmt.Errorf("flags %#x", flags)
	case !branch && keyLen == 0:
		return fmt.Errorf("empty key")
	}
	return nil
}

// validateRefs checks the references in cell i, whose bounds are known good.
func (n Node) validateRefs(i, pageSize int) error {
	c := n.Cell(i)
	if c.IsBucket() {
		if TypeOf(n) == TypeInline {
			return fmt.Errorf("bucket inside an inline bucket")
		}
		if err := validateBucket(c.Value(), pageSize); err != nil {
			return err
		}
	}
	var buf [3]RefAt
	for _, at := range n.Refs(i, &buf) {
		if TypeOf(n) == TypeInline {
			return fmt.Errorf("reference inside an inline bucket")
		}
		r := GetRef(n[at.Offset:])
		if _, pending := r.Pending(); pending || r.ID < 2 {
			return fmt.Errorf("reference to page %d", r.ID)
		}
		if r.Birth > BirthOf(n) {
			return fmt.Errorf("page %d born in %d, after its parent of %d", r.ID, r.Birth, BirthOf(n))
		}
	}
	return nil
}

// validateOrder checks that keys ascend as far as the page itself can tell, so
// that what is left when cells are taken out ascends, too, and that prefix and
// heads are those of the keys.
func (n Node) validateOrder() error {
	first, count, p := n.first(), n.Count(), n.prefix()
	var prev Cell
	var whole []byte // the last key that is not long: what a long one between two of them cannot tell
	for i := range count {
		c := n.Cell(i)
		if i < first {
			if n.head(i) != 0 {
				return fmt.Errorf("cell %d: head %#x", i, n.head(i))
			}
			continue
		}
		known := c.Known()
		if c.IsLong() && (p > maxLongPrefix || !n.hasLong()) {
			return fmt.Errorf("cell %d: long key beside a prefix of %d bytes", i, p)
		}
		if len(known) < p {
			return fmt.Errorf("cell %d: key shorter than the prefix", i)
		}
		if n.head(i) != headOf(known[p:]) {
			return fmt.Errorf("cell %d: head %#x, key says %#x", i, n.head(i), headOf(known[p:]))
		}
		if i > first {
			before := prev.Known()
			if !bytes.Equal(before[:p], known[:p]) {
				return fmt.Errorf("cell %d: prefix differs", i)
			}
			if c.IsLong() { // the rest of the key is not at hand
				before = before[:min(len(before), longKnown)]
			}
			if cmp := bytes.Compare(before, known); cmp > 0 || (cmp == 0 && !c.IsLong()) {
				return fmt.Errorf("cell %d: keys out of order", i)
			}
		}
		if !c.IsLong() {
			if i > first && prev.IsLong() && whole != nil && bytes.Compare(whole, known) >= 0 {
				return fmt.Errorf("cell %d: keys out of order", i)
			}
			whole = known
		}
		prev = c
	}
	return nil
}
