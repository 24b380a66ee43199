package fuzz

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/lightning-db/lightning/arch"
	"github.com/lightning-db/lightning/page"
)

// Where fields are in a meta slot and in other pages; TestReseal_keepsSeeds
// fails if the format moves them.
const (
	metaFileID   = 32
	metaKeyCheck = 48
	metaTxID     = 64
	metaRoot     = 88
	metaSpace    = metaRoot + page.BucketSize
	metaLog      = metaSpace + page.RefSize
	metaDigest   = page.MetaSize - 32
	refDigest    = 16 // of a reference: id, birth, digest
	indexEntry   = page.RefSize + 8
)

// sealer makes the digests of a damaged file right again, from the leaves up,
// so that the damage reaches the checks behind the digests. It trusts nothing.
type sealer struct {
	file     []byte
	pageSize int
	hasher   *arch.Hasher
	check    [16]byte
	seen     map[page.ID]bool
	refs     []int64 // where the references are that were followed
}

// newSealer derives the keys as Open does; it returns nil if no slot tells
// them.
func newSealer(file, integrityKey []byte) *sealer {
	for _, at := range []int{0, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10} {
		if at+page.MetaSize > len(file) {
			continue
		}
		id, err := page.PeekMeta(file[at:])
		if err != nil || (at != 0 && id.PageSize != at) {
			continue
		}
		s := &sealer{file: file, pageSize: id.PageSize, seen: map[page.ID]bool{}}
		s.useKey(integrityKey, id.FileID)
		return s
	}
	return nil
}

func (s *sealer) useKey(integrityKey []byte, fileID [16]byte) {
	key := arch.DeriveKey("lightning-db 2026 page digests v1", integrityKey, fileID[:])
	check := arch.DeriveKey("lightning-db 2026 key check v1", key[:])
	s.hasher = arch.NewHasher(key)
	s.check = [16]byte(check[:16])
}

// reseal seals what both slots of the file refer to, and the slots, and
// returns the places of all references. A file without a usable slot is left
// as it is.
func reseal(file, integrityKey []byte) []int64 {
	s := newSealer(file, integrityKey)
	if s == nil {
		return nil
	}
	s.slots()
	return s.refs
}

// setFileID gives the file another id, and the keys that follow from it.
func setFileID(file, integrityKey []byte, id [16]byte) []int64 {
	s := newSealer(file, integrityKey)
	s.useKey(integrityKey, id)
	for slot := range 2 {
		at := slot * s.pageSize
		copy(file[at+metaFileID:], id[:])
		copy(file[at+metaKeyCheck:], s.check[:])
	}
	s.slots()
	return s.refs
}

func (s *sealer) slots() {
	for slot := range 2 {
		at := slot * s.pageSize
		if at+page.MetaSize > len(s.file) {
			continue
		}
		m := s.file[at : at+page.MetaSize]
		if _, err := page.PeekMeta(m); err != nil {
			continue
		}
		for _, off := range []int{metaRoot, metaSpace, metaLog} {
			s.follow(int64(at+off), 1)
		}
		sum := s.hasher.Sum32(m[:metaDigest])
		copy(m[metaDigest:], sum[:])
	}
}

// follow seals the extent that the reference at the given place of the file
// leads to, and then the reference.
func (s *sealer) follow(at int64, pages int) {
	r := page.GetRef(s.file[at:])
	if r.IsZero() {
		return
	}
	s.refs = append(s.refs, at)
	b := s.extent(r, pages)
	if b == nil {
		return
	}
	if !s.seen[r.ID] {
		s.seen[r.ID] = true
		s.inside(int64(r.ID)*int64(s.pageSize), b)
	}
	sum := s.hasher.Sum(b)
	copy(s.file[at+refDigest:], sum[:])
}

// extent returns the bytes of an extent that lies in the file, or nil.
func (s *sealer) extent(r page.Ref, pages int) []byte {
	have := uint64(len(s.file) / s.pageSize)
	if uint64(r.ID) >= have || r.ID < 2 || uint64(pages) > have-uint64(r.ID) {
		return nil
	}
	start := int64(r.ID) * int64(s.pageSize)
	return s.file[start : start+int64(pages)*int64(s.pageSize)]
}

// inside seals what the extent b at the given place refers to. A page that
// does not validate is refused as soon as it is read, whatever is below it.
func (s *sealer) inside(start int64, b []byte) {
	if page.Validate(b) != nil {
		return
	}
	switch page.TypeOf(b) {
	case page.TypeBranch, page.TypeLeaf:
		n := page.Node(b)
		var buf [3]page.RefAt
		for i := range n.Count() {
			for _, at := range slices.Clone(n.Refs(i, &buf)) {
				pages := 1
				if at.Kind == page.RefKey || at.Kind == page.RefValue {
					pages = page.ExtentPages(at.Length, s.pageSize)
				}
				s.follow(start+int64(at.Offset), pages)
			}
		}
	case page.TypeSpaceIndex:
		for i := range page.SpaceIndex(b).Count() {
			s.follow(start+page.HeaderSize+int64(i)*indexEntry, 1)
		}
	case page.TypeSpaceLog:
		s.follow(start+page.HeaderSize, 1)
	}
}

func TestReseal_keepsSeeds(t *testing.T) {
	for _, f := range seedFiles(t) {
		for id, state := range f.states {
			if state == nil {
				t.Errorf("%s: no state of transaction %d", f.name, id)
			}
		}
		b := slices.Clone(f.bytes)
		refs := reseal(b, f.key)
		if !slices.Equal(b, f.bytes) {
			t.Errorf("%s: sealing an undamaged file changes it", f.name)
		}
		t.Logf("%s: %d bytes, %d references", f.name, len(b), len(refs))
	}
}

// TestReseal_changesDigests damages a page and expects another root.
func TestReseal_changesDigests(t *testing.T) {
	for _, f := range seedFiles(t) {
		if len(f.refs) == 0 {
			continue
		}
		b := slices.Clone(f.bytes)
		id := binary.LittleEndian.Uint64(b[f.refs[len(f.refs)-1]:])
		s := newSealer(b, f.key)
		last := int(id+1)*s.pageSize - 1
		b[last] ^= 1
		reseal(b, f.key)
		if slices.Equal(b[:page.MetaSize], f.bytes[:page.MetaSize]) && slices.Equal(b[s.pageSize:s.pageSize+page.MetaSize], f.bytes[s.pageSize:s.pageSize+page.MetaSize]) {
			t.Errorf("%s: damage to page %d did not reach a meta slot", f.name, id)
		}
	}
}
