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
	switch t := TypeOf(b); t {
	case TypeBranch, TypeLeaf:
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

// validate checks the node's bounds, cells, order of keys, prefix and heads.
// pageSize limits what cells hold themselves.
func (n Node) validate(pageSize int) error {
	count, heap := n.Count(), n.heap()
	switch {
	case n.IsBranch() == (n.Level() == 0):
		return fmt.Errorf("%v at level %d", TypeOf(n), n.Level())
	case n.IsBranch() && count == 0:
		return fmt.Errorf("branch without children")
	case heap > len(n) || count > (len(n)-slotsAt)/slotSize || slotsAt+count*slotSize > heap:
		return fmt.Errorf("%d slots and a heap at %d of %d bytes", count, heap, len(n))
	}
	live := 0
	for i := range count {
		size, err := n.validateCell(i)
		if err != nil {
			return fmt.Errorf("cell %d: %w", i, err)
		}
		live += size
	}
	if live+n.garbage() != len(n)-heap {
		return fmt.Errorf("heap of %d bytes holds %d of cells and %d of garbage", len(n)-heap, live, n.garbage())
	}
	return n.validateOrder()
}

// validateCell checks that cell i lies in the heap and returns its length.
func (n Node) validateCell(i int) (int, error) {
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
	return int(size), n.validateRefs(i)
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
	case flags&CellLongKey != 0 && keyLen <= longKnown:
		return fmt.Errorf("long key of %d bytes", keyLen)
	case !branch && keyLen == 0:
		return fmt.Errorf("empty key")
	}
	return nil
}

// validateRefs checks the references in cell i, whose bounds are known good.
func (n Node) validateRefs(i int) error {
	c := n.Cell(i)
	if c.IsBucket() {
		if TypeOf(n) == TypeInline {
			return fmt.Errorf("bucket inside an inline bucket")
		}
		if err := validateBucket(c.Value()); err != nil {
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

// validateOrder checks that keys ascend as far as the page itself can tell,
// and that prefix and heads are those of the keys.
func (n Node) validateOrder() error {
	first, count, p := n.first(), n.Count(), n.prefix()
	var prev Cell
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
			cmp := bytes.Compare(before, known)
			if !bytes.Equal(before[:p], known[:p]) {
				return fmt.Errorf("cell %d: prefix differs", i)
			}
			undecided := prev.IsLong() && cmp >= 0 && bytes.HasPrefix(known, before)
			if cmp > 0 || (cmp == 0 && !undecided && !c.IsLong()) {
				return fmt.Errorf("cell %d: keys out of order", i)
			}
		}
		prev = c
	}
	return nil
}
