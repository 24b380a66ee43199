package page

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/lightning-db/lightning/internal/mutant"
)

// MetaSize is the length in bytes of a meta slot. Slot 0 is at offset 0, slot
// 1 at the start of page 1.
const MetaSize = 4 << 10

// Version is the format version that this package writes and reads.
const Version = 1

// Magic begins each meta slot. Like PNG's it shows text-mode damage.
var Magic = [16]byte{'L', 'i', 'g', 'h', 't', 'n', 'i', 'n', 'g', 'D', 'B', 0x1a, '\r', '\n', 0x00, '\n'}

// Flags of a meta.
const (
	MetaIntegrityKey = 1 // digests are keyed by the user's key
	MetaReadOnly     = 2 // nobody may write until it is taken away
)

// Meta is the content of a meta slot: the root of one committed state.
type Meta struct {
	PageSize  int
	Flags     uint32
	FileID    [16]byte
	KeyCheck  [16]byte // tells a wrong key from a damaged slot
	TxID      TxID
	DurableTx TxID // newest transaction known durable when this was written
	End       ID   // high-water mark: pages [0, End) belong to the file
	Root      Bucket
	Space     Ref    // top of the bitmap tree; zero = no bitmaps yet
	SpaceLog  Ref    // newest page of the log; zero = all of it is in Inline
	SpaceFree uint64 // free pages in this state
	LogPages  uint32 // pages in the chain of SpaceLog
	Inline    []byte // newest records of the log
}

// Offsets in a meta slot.
const (
	metaVersion   = 16
	metaPageSize  = 20
	metaFlags     = 24
	metaInlineLen = 28
	metaFileID    = 32
	metaKeyCheck  = 48
	metaTxID      = 64
	metaDurable   = 72
	metaEnd       = 80
	metaRoot      = 88
	metaSpace     = metaRoot + BucketSize  // 144
	metaSpaceLog  = metaSpace + RefSize    // 184
	metaSpaceFree = metaSpaceLog + RefSize // 224
	metaLogPages  = metaSpaceFree + 8      // 232
	metaInline    = 256
	metaDigest    = MetaSize - 32
)

// InlineCapacity is how many bytes of space log a meta slot holds.
const InlineCapacity = metaDigest - metaInline

// What is wrong with the bytes of a meta slot.
var (
	ErrMetaMagic    = errors.New("no Lightning DB meta page")
	ErrMetaVersion  = errors.New("format version not supported")
	ErrMetaKey      = errors.New("written with another integrity key")
	ErrMetaDigest   = errors.New("digest of the meta page does not match")
	ErrMetaPageSize = errors.New("page size not valid")
	ErrMetaFields   = errors.New("fields of the meta page contradict each other")
)

// Sealer hashes a meta slot and tells the key check value of its key.
type Sealer interface {
	Sum32(data []byte) [32]byte
}

// EncodeMeta writes m to the first MetaSize bytes of b and seals it.
func EncodeMeta(b []byte, m *Meta, s Sealer) {
	b = b[:MetaSize]
	clear(b)
	copy(b, Magic[:])
	le.PutUint32(b[metaVersion:], Version)
	le.PutUint32(b[metaPageSize:], uint32(m.PageSize))
	le.PutUint32(b[metaFlags:], m.Flags)
	le.PutUint32(b[metaInlineLen:], uint32(len(m.Inline)))
	copy(b[metaFileID:], m.FileID[:])
	copy(b[metaKeyCheck:], m.KeyCheck[:])
	le.PutUint64(b[metaTxID:], uint64(m.TxID))
	le.PutUint64(b[metaDurable:], uint64(m.DurableTx))
	le.PutUint64(b[metaEnd:], uint64(m.End))
	PutBucket(b[metaRoot:], m.Root)
	PutRef(b[metaSpace:], m.Space)
	PutRef(b[metaSpaceLog:], m.SpaceLog)
	le.PutUint64(b[metaSpaceFree:], m.SpaceFree)
	le.PutUint32(b[metaLogPages:], m.LogPages)
	copy(b[metaInline:metaDigest], m.Inline)
	sum := s.Sum32(b[:metaDigest])
	copy(b[metaDigest:], sum[:])
}

// MetaIdentity is what can be read of a slot before its key is known.
type MetaIdentity struct {
	Version  uint32
	PageSize int
	Flags    uint32
	FileID   [16]byte
	KeyCheck [16]byte
}

// PeekMeta reads the identity of the file from the slot b, unverified.
// It fails with ErrMetaMagic or ErrMetaVersion.
func PeekMeta(b []byte) (id MetaIdentity, err error) {
	if len(b) < MetaSize || !bytes.Equal(b[:16], Magic[:]) {
		return id, ErrMetaMagic
	}
	id.Version = le.Uint32(b[metaVersion:])
	if id.Version != Version {
		return id, fmt.Errorf("%w: version %d", ErrMetaVersion, id.Version)
	}
	id.PageSize = int(le.Uint32(b[metaPageSize:]))
	id.Flags = le.Uint32(b[metaFlags:])
	copy(id.FileID[:], b[metaFileID:])
	copy(id.KeyCheck[:], b[metaKeyCheck:])
	if !ValidSize(id.PageSize) {
		return id, fmt.Errorf("%w: %d", ErrMetaPageSize, id.PageSize)
	}
	return id, nil
}

// CheckLead fails with ErrMetaMagic if page 0 of a file, whose slot cannot be read, holds more
// than that slot would: then what looks like slot 1 of pages of the given size is a value in a file of
// smaller ones. read fills b from the offset off of the file; its errors are returned as they are.
func CheckLead(size int, read func(b []byte, off int64) error) error {
	rest := make([]byte, size-MetaSize)
	if err := read(rest, MetaSize); err != nil {
		return err
	}
	if !IsZero(rest) {
		return fmt.Errorf("%w in slot 0, and none of pages of %d bytes in slot 1", ErrMetaMagic, size)
	}
	return nil
}

// IsZero reports whether all bytes of b are zero.
func IsZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// Newer reports whether m is to be preferred to o: a later transaction, or the same one known
// durable. Nothing is newer than itself, and anything than nil.
func (m *Meta) Newer(o *Meta) bool {
	switch {
	case m == nil || o == nil:
		return m != nil
	case m.TxID != o.TxID:
		return m.TxID > o.TxID
	}
	return m.DurableTx > o.DurableTx
}

// MetaRoot reads the header of the root bucket from the slot b, unverified.
func MetaRoot(b []byte) Bucket { return GetBucket(b[metaRoot:]) }

// PeekTxID reads the transaction number from the slot b, unverified.
func PeekTxID(b []byte) TxID { return TxID(le.Uint64(b[metaTxID:])) }

// DecodeMeta reads and verifies the slot b. keyCheck is that of the key which
// the sealer holds. The slices of the result are copies.
func DecodeMeta(b []byte, s Sealer, keyCheck [16]byte) (*Meta, error) {
	id, err := PeekMeta(b)
	if err != nil {
		return nil, err
	}
	b = b[:MetaSize]
	sum := s.Sum32(b[:metaDigest])
	if !bytes.Equal(sum[:], b[metaDigest:]) && !mutant.Is(mutant.NoMetaDigest) {
		if id.KeyCheck != keyCheck {
			return nil, ErrMetaKey
		}
		return nil, ErrMetaDigest
	}
	m := &Meta{
		PageSize:  id.PageSize,
		Flags:     id.Flags,
		FileID:    id.FileID,
		KeyCheck:  id.KeyCheck,
		TxID:      TxID(le.Uint64(b[metaTxID:])),
		DurableTx: TxID(le.Uint64(b[metaDurable:])),
		End:       ID(le.Uint64(b[metaEnd:])),
		Root:      GetBucket(b[metaRoot:]),
		Space:     GetRef(b[metaSpace:]),
		SpaceLog:  GetRef(b[metaSpaceLog:]),
		SpaceFree: le.Uint64(b[metaSpaceFree:]),
		LogPages:  le.Uint32(b[metaLogPages:]),
	}
	n := le.Uint32(b[metaInlineLen:])
	if n > InlineCapacity {
		return nil, fmt.Errorf("%w: space log of %d bytes", ErrMetaFields, n)
	}
	m.Inline = bytes.Clone(b[metaInline : metaInline+n])
	return m, m.validate()
}

// maxEnd keeps page numbers times page size far from overflow.
const maxEnd = ID(1) << 46

func (m *Meta) validate() error {
	switch {
	case m.End < 2 || m.End > maxEnd:
		return fmt.Errorf("%w: %d pages", ErrMetaFields, m.End)
	case m.DurableTx > m.TxID:
		return fmt.Errorf("%w: transaction %d knows %d durable", ErrMetaFields, m.TxID, m.DurableTx)
	case m.SpaceFree > uint64(m.End):
		return fmt.Errorf("%w: %d free pages of %d", ErrMetaFields, m.SpaceFree, m.End)
	case m.Root.Root.IsZero() != (m.Root.Count == 0):
		return fmt.Errorf("%w: %d keys under root page %d", ErrMetaFields, m.Root.Count, m.Root.Root.ID)
	}
	for _, r := range []Ref{m.Root.Root, m.Space, m.SpaceLog} {
		if r.ID == 1 || r.ID >= m.End || r.Birth > m.TxID {
			return fmt.Errorf("%w: reference to page %d born in %d", ErrMetaFields, r.ID, r.Birth)
		}
	}
	return nil
}
