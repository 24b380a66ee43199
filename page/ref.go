package page

// DigestSize is the length in bytes of the digest in a reference.
const DigestSize = 24

// Digest is the keyed BLAKE3 digest of an extent with its header, cut to
// DigestSize bytes.
type Digest [DigestSize]byte

// Ref is a Merkle reference: where an extent is, which transaction wrote it
// and what its bytes hash to. The zero Ref refers to nothing.
type Ref struct {
	ID     ID
	Birth  TxID
	Digest Digest
}

// RefSize is the length in bytes of an encoded reference.
const RefSize = 8 + 8 + DigestSize

// pendingBit marks a reference inside a dirty page to an extent that has no
// page number yet. The rest of ID is then an index kept by the page's owner.
// No page with such a reference is ever written.
const pendingBit = ID(1) << 63

// PendingRef returns the reference by which a dirty page refers to the not yet
// written extent with the given index.
func PendingRef(index int) Ref { return Ref{ID: pendingBit | ID(index)} }

// Pending returns the index and true if r refers to an extent not yet written.
func (r Ref) Pending() (index int, ok bool) {
	return int(r.ID &^ pendingBit), r.ID&pendingBit != 0
}

// pendingAt reports whether the reference at the start of b is pending.
func pendingAt(b []byte) bool { return ID(le.Uint64(b))&pendingBit != 0 }

// IsZero reports whether r refers to nothing.
func (r Ref) IsZero() bool { return r.ID == 0 }

// GetRef reads the reference in the first RefSize bytes of b.
func GetRef(b []byte) (r Ref) {
	b = b[:RefSize]
	r.ID = ID(le.Uint64(b))
	r.Birth = TxID(le.Uint64(b[8:]))
	copy(r.Digest[:], b[16:])
	return r
}

// PlaceOf reads page number and birth of the reference at the start of b.
func PlaceOf(b []byte) (ID, TxID) { return ID(le.Uint64(b)), TxID(le.Uint64(b[8:])) }

// PutRef writes r into the first RefSize bytes of b.
func PutRef(b []byte, r Ref) {
	b = b[:RefSize]
	le.PutUint64(b, uint64(r.ID))
	le.PutUint64(b[8:], uint64(r.Birth))
	copy(b[16:], r.Digest[:])
}
