package page

import (
	"bytes"
	"errors"
	"fmt"
)

// An increment is what a state has and an older state of the same file has not:
//
//	header, MetaSize bytes: the two states by number and digest
//	meta slot of the newer state
//	the extents born after the older state, in the order of package walk
//
// Nothing says where an extent belongs but the references to it, which come before
// it, and nothing but the bytes that they demand is accepted.

// IncrementMagic begins each increment.
var IncrementMagic = [16]byte{'L', 'i', 'g', 'h', 't', 'n', 'i', 'n', 'g', 'I', 'n', 0x1a, '\r', '\n', 0x00, '\n'}

// IncrementVersion is the version of increments that this package writes and reads.
const IncrementVersion = 1

// Increment is the header of an increment.
type Increment struct {
	FileID      [16]byte
	KeyCheck    [16]byte
	PageSize    int
	Since       TxID     // the older state
	SinceDigest [32]byte // its StateDigest
}

// Offsets in the header.
const (
	incVersion     = 16
	incPageSize    = 20
	incFileID      = 24
	incKeyCheck    = 40
	incSince       = 56
	incSinceDigest = 64
	incDigest      = MetaSize - 32
)

// What is wrong with the header of an increment.
var (
	ErrIncrementMagic  = errors.New("no Lightning DB increment")
	ErrIncrementFields = errors.New("fields of the increment's header contradict each other")
	ErrIncrementDigest = errors.New("digest of the increment's header does not match")
)

// EncodeIncrement writes the header to the first MetaSize bytes of b and seals it.
func EncodeIncrement(b []byte, h *Increment, s Sealer) {
	b = b[:MetaSize]
	clear(b)
	copy(b, IncrementMagic[:])
	le.PutUint32(b[incVersion:], IncrementVersion)
	le.PutUint32(b[incPageSize:], uint32(h.PageSize))
	copy(b[incFileID:], h.FileID[:])
	copy(b[incKeyCheck:], h.KeyCheck[:])
	le.PutUint64(b[incSince:], uint64(h.Since))
	copy(b[incSinceDigest:], h.SinceDigest[:])
	sum := s.Sum32(b[:incDigest])
	copy(b[incDigest:], sum[:])
}

// PeekIncrement reads the header b, unverified. It fails with
// ErrIncrementMagic, ErrMetaVersion or ErrMetaPageSize.
func PeekIncrement(b []byte) (*Increment, error) {
	if len(b) < MetaSize || !bytes.Equal(b[:16], IncrementMagic[:]) {
		return nil, ErrIncrementMagic
	}
	if v := le.Uint32(b[incVersion:]); v != IncrementVersion {
		return nil, fmt.Errorf("%w: increment of version %d", ErrMetaVersion, v)
	}
	h := &Increment{PageSize: int(le.Uint32(b[incPageSize:])), Since: TxID(le.Uint64(b[incSince:]))}
	copy(h.FileID[:], b[incFileID:])
	copy(h.KeyCheck[:], b[incKeyCheck:])
	copy(h.SinceDigest[:], b[incSinceDigest:])
	if !ValidSize(h.PageSize) {
		return nil, fmt.Errorf("%w: %d", ErrMetaPageSize, h.PageSize)
	}
	return h, nil
}

// DecodeIncrement reads and verifies the header b. keyCheck is that of the key
// which the sealer holds.
func DecodeIncrement(b []byte, s Sealer, keyCheck [16]byte) (*Increment, error) {
	h, err := PeekIncrement(b)
	if err != nil {
		return nil, err
	}
	if sum := s.Sum32(b[:incDigest]); !bytes.Equal(sum[:], b[incDigest:MetaSize]) {
		if h.KeyCheck != keyCheck {
			return nil, ErrMetaKey
		}
		return nil, ErrIncrementDigest
	}
	if h.KeyCheck != keyCheck {
		return nil, ErrIncrementFields
	}
	return h, nil
}

// StateDigest identifies the state of m among all states of all files: it is the
// digest of its meta slot, with the state known durable. Pages and free space
// hang below it.
func StateDigest(m *Meta, s Sealer) (d [32]byte) {
	c := *m
	c.DurableTx = c.TxID
	var slot [MetaSize]byte
	EncodeMeta(slot[:], &c, s)
	copy(d[:], slot[metaDigest:])
	return d
}
