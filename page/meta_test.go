package page

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"reflect"
	"testing"
)

// testSealer stands for the keyed hash of a file.
type testSealer byte

func (s testSealer) Sum32(data []byte) [32]byte {
	return sha256.Sum256(append([]byte{byte(s)}, data...))
}

func testMeta() *Meta {
	return &Meta{
		PageSize: 8192, Flags: MetaIntegrityKey,
		FileID: [16]byte{1, 2, 3}, KeyCheck: [16]byte{4, 5, 6},
		TxID: 30, DurableTx: 29, End: 1000,
		Root:  Bucket{Root: Ref{ID: 5, Birth: 30, Digest: Digest{7}}, Sequence: 8, Count: 9},
		Space: Ref{ID: 6, Birth: 10, Digest: Digest{1}}, SpaceLog: Ref{ID: 7, Birth: 11, Digest: Digest{2}},
		SpaceFree: 12, LogPages: 1, Inline: []byte("records"),
	}
}

func TestMeta_RoundTrip(t *testing.T) {
	for _, inline := range []int{0, 7, InlineCapacity} {
		want := testMeta()
		want.Inline = bytes.Repeat([]byte{3}, inline)
		b := bytes.Repeat([]byte{0xee}, MetaSize+8)
		EncodeMeta(b, want, testSealer(1))
		got, err := DecodeMeta(b, testSealer(1), want.KeyCheck)
		if err != nil {
			t.Fatalf("DecodeMeta: %v", err)
		}
		if len(got.Inline) == 0 {
			got.Inline = want.Inline
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("DecodeMeta = %+v, want %+v", got, want)
		}
		if b[MetaSize] != 0xee {
			t.Error("EncodeMeta writes past the slot")
		}
	}
}

func TestMeta_InlineIsACopy(t *testing.T) {
	m := testMeta()
	b := make([]byte, MetaSize)
	EncodeMeta(b, m, testSealer(1))
	got, err := DecodeMeta(b, testSealer(1), m.KeyCheck)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if !bytes.Equal(got.Inline, m.Inline) {
		t.Error("Inline changes with the slot's bytes")
	}
}

func TestDecodeMeta_Errors(t *testing.T) {
	for _, c := range []struct {
		name   string
		want   error
		change func(m *Meta)
		damage func(b []byte) []byte // after sealing
		key    testSealer
	}{
		{name: "short", want: ErrMetaMagic, damage: func(b []byte) []byte { return b[:MetaSize-1] }},
		{name: "magic", want: ErrMetaMagic, damage: func(b []byte) []byte { b[12] = '\n'; return b }},
		{name: "zeros", want: ErrMetaMagic, damage: func(b []byte) []byte { clear(b); return b }},
		{name: "version", want: ErrMetaVersion, damage: func(b []byte) []byte { b[metaVersion] = 2; return b }},
		{name: "page size", want: ErrMetaPageSize, change: func(m *Meta) { m.PageSize = 5000 }},
		{name: "page size negative", want: ErrMetaPageSize, damage: func(b []byte) []byte { le.PutUint32(b[metaPageSize:], 1<<31); return b }},
		{name: "key", want: ErrMetaKey, key: 1},
		{name: "digest", want: ErrMetaDigest, damage: func(b []byte) []byte { b[metaDigest+31] ^= 1; return b }},
		{name: "field changed", want: ErrMetaDigest, damage: func(b []byte) []byte { b[metaTxID] ^= 1; return b }},
		{name: "reserved changed", want: ErrMetaDigest, damage: func(b []byte) []byte { b[metaInline-1] ^= 1; return b }},
		{name: "end 1", want: ErrMetaFields, change: func(m *Meta) { m.End = 1 }},
		{name: "end huge", want: ErrMetaFields, change: func(m *Meta) { m.End = maxEnd + 1 }},
		{name: "durable", want: ErrMetaFields, change: func(m *Meta) { m.DurableTx = m.TxID + 1 }},
		{name: "free", want: ErrMetaFields, change: func(m *Meta) { m.SpaceFree = uint64(m.End) + 1 }},
		{name: "root without keys", want: ErrMetaFields, change: func(m *Meta) { m.Root.Count = 0 }},
		{name: "keys without root", want: ErrMetaFields, change: func(m *Meta) { m.Root.Root = Ref{} }},
		{name: "root in a slot", want: ErrMetaFields, change: func(m *Meta) { m.Root.Root.ID = 1 }},
		{name: "space past the end", want: ErrMetaFields, change: func(m *Meta) { m.Space.ID = m.End }},
		{name: "pending log", want: ErrMetaFields, change: func(m *Meta) { m.SpaceLog = PendingRef(2) }},
		{name: "younger root", want: ErrMetaFields, change: func(m *Meta) { m.Root.Root.Birth = m.TxID + 1 }},
		{name: "inline length", want: ErrMetaFields, change: func(m *Meta) { m.Inline = make([]byte, InlineCapacity+1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := testMeta()
			check := m.KeyCheck
			if c.change != nil {
				c.change(m)
			}
			b := make([]byte, MetaSize)
			EncodeMeta(b, m, testSealer(0))
			if c.damage != nil {
				b = c.damage(b)
			}
			if c.key != 0 {
				check = [16]byte{0xff}
			}
			if _, err := DecodeMeta(b, c.key, check); !errors.Is(err, c.want) {
				t.Errorf("DecodeMeta: %v, want %v", err, c.want)
			}
		})
	}
}

// Whatever byte of a slot changes, it is no longer a meta.
func TestDecodeMeta_DamagedBytes(t *testing.T) {
	m := testMeta()
	b := make([]byte, MetaSize)
	EncodeMeta(b, m, testSealer(1))
	for i := range b {
		b[i] ^= 0x10
		if _, err := DecodeMeta(b, testSealer(1), m.KeyCheck); err == nil {
			t.Fatalf("byte %d may change", i)
		}
		b[i] ^= 0x10
	}
}

func TestPeekMeta(t *testing.T) {
	m := testMeta()
	b := make([]byte, MetaSize)
	EncodeMeta(b, m, testSealer(1))
	id, err := PeekMeta(b)
	want := MetaIdentity{Version, m.PageSize, m.Flags, m.FileID, m.KeyCheck}
	if err != nil || id != want {
		t.Errorf("PeekMeta = %+v, %v, want %+v", id, err, want)
	}
}

func TestBucket_RoundTrip(t *testing.T) {
	want := Bucket{Root: Ref{ID: 1 << 40, Birth: 1 << 50, Digest: Digest{1, 23: 2}}, Sequence: 1<<64 - 1, Count: 1 << 63}
	b := make([]byte, BucketSize)
	PutBucket(b, want)
	if got := GetBucket(b); got != want {
		t.Errorf("GetBucket = %+v, want %+v", got, want)
	}
	if InlineOf(b) != nil {
		t.Error("a bare header has an inline leaf")
	}
	if got := InlineOf(append(b, 7)); len(got) != 1 || got[0] != 7 {
		t.Errorf("InlineOf = %v", got)
	}
}

func TestRef_Pending(t *testing.T) {
	for _, index := range []int{0, 1, 1<<31 - 1} {
		b := make([]byte, RefSize)
		PutRef(b, PendingRef(index))
		got, ok := GetRef(b).Pending()
		if !ok || got != index || GetRef(b).IsZero() {
			t.Errorf("PendingRef(%d) reads as %d, %t", index, got, ok)
		}
	}
	if _, ok := (Ref{ID: maxEnd}).Pending(); ok {
		t.Error("the last page is a pending reference")
	}
	if !(Ref{}).IsZero() {
		t.Error("the zero Ref is not zero")
	}
}
