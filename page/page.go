package page

import (
	"encoding/binary"
	"fmt"
)

// ID is the number of a page in its file; page i starts at byte i*pageSize.
// Pages 0 and 1 are the meta slots, so 0 never names a page of a tree and
// serves as "none" in references.
type ID uint64

// TxID is the number of a committed transaction.
type TxID uint64

// Type says what an extent holds.
type Type uint8

// The types of extents. Zero is none, so a zeroed page has no type.
const (
	TypeBranch     Type = 1 + iota // separators and child references
	TypeLeaf                       // keys with values
	TypeInline                     // leaf image inside a bucket's cell, never a page of its own
	TypeValue                      // one big value
	TypeKey                        // one long key
	TypeSpaceLeaf                  // bitmap of free pages
	TypeSpaceIndex                 // references to bitmaps or lower indexes
	TypeSpaceLog                   // extents allocated and freed since the bitmaps
)

var typeNames = [...]string{"none", "branch", "leaf", "inline", "value", "key", "space-leaf", "space-index", "space-log"}

// String returns the name that messages and tools show.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// Limits of the page size, in bytes. A page size is a power of two.
const (
	MinSize = 4 << 10
	MaxSize = 64 << 10
)

// ValidSize reports whether n is a page size that a file can have.
func ValidSize(n int) bool {
	return n >= MinSize && n <= MaxSize && n&(n-1) == 0
}

// HeaderSize is the length in bytes of the header of every extent.
const HeaderSize = 40

// Offsets in the header. The last 16 bytes depend on the type: nodes keep
// count, heap, garbage and prefix there, extents their payload's length.
const (
	offType    = 0  // u8
	offFlags   = 1  // u8
	offLevel   = 2  // u16: 0 for leaves, child's level + 1 for branches and indexes
	offPages   = 4  // u32: length of the extent in pages
	offID      = 8  // u64
	offBirth   = 16 // u64
	offCount   = 24 // u32
	offHeap    = 28 // u32
	offGarbage = 32 // u32
	offPrefix  = 36 // u16
	offLength  = 24 // u64: payload bytes of a value, key, bitmap or log
)

var le = binary.LittleEndian

// TypeOf returns the type in the header of the extent b.
func TypeOf(b []byte) Type { return Type(b[offType]) }

// LevelOf returns the level in the header of the extent b.
func LevelOf(b []byte) int { return int(le.Uint16(b[offLevel:])) }

// PagesOf returns the length of the extent in pages, as its header says.
func PagesOf(b []byte) int { return int(le.Uint32(b[offPages:])) }

// IDOf returns the page number in the header of the extent b.
func IDOf(b []byte) ID { return ID(le.Uint64(b[offID:])) }

// BirthOf returns the transaction that wrote the extent b.
func BirthOf(b []byte) TxID { return TxID(le.Uint64(b[offBirth:])) }

// Stamp writes place and birth into the header of the extent b: the last
// change before its digest is taken.
func Stamp(b []byte, id ID, birth TxID) {
	le.PutUint64(b[offID:], uint64(id))
	le.PutUint64(b[offBirth:], uint64(birth))
}

func initHeader(b []byte, t Type, level, pages int) {
	clear(b[:HeaderSize])
	b[offType] = byte(t)
	le.PutUint16(b[offLevel:], uint16(level))
	le.PutUint32(b[offPages:], uint32(pages))
}

// IsNode reports whether the header of b, a page that was found good before,
// is that of a node at the given level and born in the given transaction.
func IsNode(b []byte, level int, birth TxID) bool {
	t := TypeBranch
	if level == 0 {
		t = TypeLeaf
	}
	h := le.Uint64(b) &^ (0xff << (8 * offFlags))
	return h == uint64(t)|uint64(level)<<(8*offLevel)|1<<(8*offPages) && BirthOf(b) == birth
}

// MatchHeader reports how the header of b contradicts the reference r and the
// expected type and length, or nil. A page that was written to the wrong place
// or is left from an earlier time does not pass.
func MatchHeader(b []byte, r Ref, t Type, pages int) error {
	switch {
	case TypeOf(b) != t:
		return fmt.Errorf("type is %v, want %v", TypeOf(b), t)
	case IDOf(b) != r.ID:
		return fmt.Errorf("header says page %d", IDOf(b))
	case BirthOf(b) != r.Birth:
		return fmt.Errorf("born in transaction %d, want %d", BirthOf(b), r.Birth)
	case PagesOf(b) != pages:
		return fmt.Errorf("extent of %d pages, want %d", PagesOf(b), pages)
	}
	return nil
}
