package fuzz

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/lightning-db/lightning/arch"
	"github.com/lightning-db/lightning/page"
)

// FuzzMeta decodes arbitrary bytes as a meta slot: as they are, and with magic,
// version, key check and digest made right, so that every field can be
// hostile. It proves that what is accepted holds together and survives being
// encoded, and that what is not is refused for a reason that Open knows. Ten
// minutes of it:
//
//	go test ./fuzz -run '^$' -fuzz '^FuzzMeta$' -fuzztime=10m
func FuzzMeta(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add(slices.Clone(page.Magic[:]), uint16(0))
	for _, seed := range seedFiles(f) {
		f.Add(slices.Clone(seed.bytes[:metaDigest]), uint16(0))
		f.Add(slices.Clone(seed.bytes[16:300]), uint16(16))
	}
	hasher := arch.NewHasher(arch.Key{1})
	check := [16]byte{2}
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		_, peekErr := page.PeekMeta(b)
		m, err := page.DecodeMeta(b, hasher, check)
		if err == nil || m != nil {
			t.Fatalf("a slot sealed with another key decodes: %v, %v", m, err)
		}
		if peekErr != nil && !errors.Is(peekErr, page.ErrMetaMagic) && !errors.Is(peekErr, page.ErrMetaVersion) && !errors.Is(peekErr, page.ErrMetaPageSize) {
			t.Fatalf("PeekMeta: %v", peekErr)
		}
		decodeSealed(t, sealSlot(b, int(at), hasher, check), hasher, check)
	})
}

// sealSlot returns a sealed slot with b at the given offset of its fields.
func sealSlot(b []byte, at int, hasher *arch.Hasher, check [16]byte) []byte {
	slot := make([]byte, page.MetaSize)
	valid := page.Meta{PageSize: page.MinSize, End: 1 << 20, TxID: 1 << 20, DurableTx: 1}
	page.EncodeMeta(slot, &valid, hasher)
	copy(slot[min(at, metaDigest):metaDigest], b)
	copy(slot, page.Magic[:])
	copy(slot[len(page.Magic):], []byte{page.Version, 0, 0, 0})
	copy(slot[metaKeyCheck:], check[:])
	sum := hasher.Sum32(slot[:metaDigest])
	copy(slot[metaDigest:], sum[:])
	return slot
}

func decodeSealed(t *testing.T, slot []byte, hasher *arch.Hasher, check [16]byte) {
	t.Helper()
	m, err := page.DecodeMeta(slot, hasher, check)
	if err != nil {
		if !errors.Is(err, page.ErrMetaFields) && !errors.Is(err, page.ErrMetaPageSize) {
			t.Fatalf("DecodeMeta of a sealed slot: %v", err)
		}
		return
	}
	switch {
	case !page.ValidSize(m.PageSize), m.End < 2, m.DurableTx > m.TxID, m.SpaceFree > uint64(m.End), len(m.Inline) > page.InlineCapacity:
		t.Fatalf("accepted: %+v", m)
	}
	for _, r := range []page.Ref{m.Root.Root, m.Space, m.SpaceLog} {
		if _, pending := r.Pending(); pending || r.ID == 1 || r.ID >= m.End || r.Birth > m.TxID {
			t.Fatalf("accepted a reference: %+v", r)
		}
	}
	again := make([]byte, page.MetaSize)
	page.EncodeMeta(again, m, hasher)
	decoded, err := page.DecodeMeta(again, hasher, check)
	if err != nil || !reflect.DeepEqual(decoded, m) {
		t.Fatalf("encoded again: %+v, %v, want %+v", decoded, err, m)
	}
}
