package page

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestExtentPages(t *testing.T) {
	for _, size := range pageSizes {
		for _, c := range []struct {
			n    uint64
			want int
		}{
			{0, 1}, {1, 1},
			{uint64(size - HeaderSize), 1},
			{uint64(size-HeaderSize) + 1, 2},
			{uint64(10*size - HeaderSize), 10},
			{uint64(10*size-HeaderSize) + 1, 11},
			{math.MaxInt32, math.MaxInt32/size + 2}, // 2^31-1 fill the pages but for one byte, and the header is longer
			{math.MaxInt32 + 1, math.MaxInt32},
			{math.MaxUint64, math.MaxInt32},
			{math.MaxUint64 - HeaderSize, math.MaxInt32},
		} {
			if got := ExtentPages(c.n, size); got != c.want {
				t.Errorf("ExtentPages(%d, %d) = %d, want %d", c.n, size, got, c.want)
			}
		}
	}
}

func TestExtent_Payload(t *testing.T) {
	for _, n := range []int{0, 1, MinSize - HeaderSize, MinSize, 2*MinSize - HeaderSize} {
		pages := ExtentPages(uint64(n), MinSize)
		b := bytes.Repeat([]byte{0xee}, pages*MinSize)
		data := bytes.Repeat([]byte{7}, n)
		if got := copy(InitExtent(b, TypeValue, n, MinSize), data); got != n {
			t.Fatalf("room for %d bytes of %d", got, n)
		}
		got, err := Payload(b, uint64(n))
		if err != nil || !bytes.Equal(got, data) || cap(got) != n {
			t.Errorf("Payload of %d bytes: %d, cap %d, %v", n, len(got), cap(got), err)
		}
		if _, err := Payload(b, uint64(n)+1); err == nil {
			t.Errorf("Payload of %d bytes passes for one more", n)
		}
		if !allBytes(b[HeaderSize+n:], 0) {
			t.Error("bytes after the payload are not cleared")
		}
		if PagesOf(b) != pages || TypeOf(b) != TypeValue || Validate(b) != nil {
			t.Errorf("extent of %d pages, %v: %v", PagesOf(b), TypeOf(b), Validate(b))
		}
	}
}

func allBytes(b []byte, c byte) bool { return len(bytes.Trim(b, string(rune(c)))) == 0 }

func TestMatchHeader(t *testing.T) {
	b := make([]byte, 2*MinSize)
	InitExtent(b, TypeKey, 5000, MinSize)
	Stamp(b, 9, 4)
	r := Ref{ID: 9, Birth: 4}
	if err := MatchHeader(b, r, TypeKey, 2); err != nil {
		t.Errorf("MatchHeader: %v", err)
	}
	for _, c := range []struct {
		want  string
		r     Ref
		t     Type
		pages int
	}{
		{"type is key, want value", r, TypeValue, 2},
		{"header says page 9", Ref{ID: 8, Birth: 4}, TypeKey, 2},
		{"born in transaction 4, want 5", Ref{ID: 9, Birth: 5}, TypeKey, 2},
		{"extent of 2 pages, want 1", r, TypeKey, 1},
	} {
		if err := MatchHeader(b, c.r, c.t, c.pages); err == nil || err.Error() != c.want {
			t.Errorf("MatchHeader = %v, want %q", err, c.want)
		}
	}
}

func TestType_String(t *testing.T) {
	for typ, want := range map[Type]string{0: "none", TypeBranch: "branch", TypeSpaceLog: "space-log", 9: "type(9)", 255: "type(255)"} {
		if typ.String() != want {
			t.Errorf("Type(%d) = %q, want %q", typ, typ, want)
		}
	}
}

func TestValidSize(t *testing.T) {
	for n, want := range map[int]bool{0: false, -4096: false, 2048: false, 4096: true, 6144: false, 65536: true, 131072: false, math.MinInt: false} {
		if ValidSize(n) != want {
			t.Errorf("ValidSize(%d) = %t", n, !want)
		}
	}
}

func TestSpaceIndex_RoundTrip(t *testing.T) {
	for _, size := range pageSizes {
		g := &generator{Rand: newRand(t), size: size}
		for _, n := range []int{1, 2, SpaceFanout(size)} {
			entries := make([]SpaceEntry, n)
			for i := range entries {
				if i%3 != 1 {
					entries[i] = SpaceEntry{g.ref(), g.Uint32(), g.Uint32()}
				}
			}
			b := bytes.Repeat([]byte{0xee}, size)
			InitSpaceIndex(b, 2, entries)
			Stamp(b, testID, testBirth)
			x := SpaceIndex(b)
			if err := Validate(b); err != nil || x.Count() != n || LevelOf(b) != 2 {
				t.Fatalf("index of %d entries at level %d: %v", x.Count(), LevelOf(b), err)
			}
			for i, want := range entries {
				if got := x.Entry(i); got != want {
					t.Fatalf("entry %d = %+v, want %+v", i, got, want)
				}
			}
		}
	}
}

func TestSpaceIndex_Errors(t *testing.T) {
	for _, c := range []struct {
		want   string
		change func(b []byte)
	}{
		{"level 0", func(b []byte) { b[offLevel] = 0 }},
		{"of 0 entries", func(b []byte) { le.PutUint32(b[offCount:], 0) }},
		{"entries", func(b []byte) { le.PutUint32(b[offCount:], uint32(SpaceFanout(len(b))+1)) }},
		{"entries", func(b []byte) { le.PutUint32(b[offCount:], math.MaxUint32) }},
		{"page 1 ", func(b []byte) { PutRef(b[HeaderSize:], Ref{ID: 1}) }},
		{"born in 1001", func(b []byte) { PutRef(b[HeaderSize:], Ref{ID: 2, Birth: testBirth + 1}) }},
		{"reference to page", func(b []byte) { PutRef(b[HeaderSize:], PendingRef(1)) }},
	} {
		b := make([]byte, MinSize)
		InitSpaceIndex(b, 1, []SpaceEntry{{Ref: Ref{ID: 5}}})
		Stamp(b, testID, testBirth)
		c.change(b)
		if err := Validate(b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Validate = %v, want %q", err, c.want)
		}
	}
}

func TestSpaceLog_RoundTrip(t *testing.T) {
	g := &generator{Rand: newRand(t), size: MinSize}
	var want []SpaceRecord
	var log []byte
	for {
		r := SpaceRecord{ID(2 + g.Uint64()>>(2+g.IntN(60))), 1 + g.Uint64()>>(2+g.IntN(60)), g.IntN(2) == 0}
		next := AppendSpaceRecord(log, r)
		if len(next) > SpaceLogCapacity(MinSize) {
			break
		}
		log = next
		want = append(want, r)
	}
	b := bytes.Repeat([]byte{0xee}, MinSize)
	older, other := g.ref(), g.ref()
	InitSpaceLog(b, older, log)
	if err := Validate(b); err != nil {
		t.Fatal(err)
	}
	prev, records, err := SpaceLog(b)
	if err != nil || prev != older || !bytes.Equal(records, log) {
		t.Fatalf("SpaceLog = %v, %d bytes, %v", prev, len(records), err)
	}
	SetSpaceLogPrev(b, other)
	if prev, _, _ = SpaceLog(b); prev != other {
		t.Errorf("after SetSpaceLogPrev: %v, want %v", prev, other)
	}
	var got []SpaceRecord
	if err := ReadSpaceLog(records, func(r SpaceRecord) error { got = append(got, r); return nil }); err != nil || !slices.Equal(got, want) {
		t.Errorf("%d records, %v, want %d", len(got), err, len(want))
	}
	for cut := len(log) - 1; cut > len(log)-20; cut-- {
		n := 0
		if err := ReadSpaceLog(log[:cut], func(SpaceRecord) error { n++; return nil }); err == nil && n == len(want) {
			t.Errorf("log cut to %d of %d bytes has all records", cut, len(log))
		}
	}
}

func TestSpaceLog_Errors(t *testing.T) {
	b := make([]byte, MinSize)
	InitExtent(b, TypeSpaceLog, RefSize-1, MinSize)
	if _, _, err := SpaceLog(b); err == nil {
		t.Error("a log page without room for its reference is read")
	}
	InitExtent(b, TypeSpaceLog, RefSize, MinSize)
	le.PutUint64(b[offLength:], math.MaxUint64)
	if err := Validate(b); err == nil {
		t.Error("a log longer than its page is valid")
	}
	for _, log := range []string{"\x02", "\x80", "\x02\x80", "\x00\x02", "\x01\x02", "\x02\x01", "\x02\x00", strings.Repeat("\xff", 11), "\x02" + strings.Repeat("\xff", 11)} {
		if err := ReadSpaceLog([]byte(log), func(SpaceRecord) error { return nil }); err == nil {
			t.Errorf("log %x is read", log)
		}
	}
	over := AppendSpaceRecord(nil, SpaceRecord{math.MaxUint64, 2, true})
	if err := ReadSpaceLog(over, func(r SpaceRecord) error { return fmt.Errorf("got %v", r) }); err == nil || strings.Contains(err.Error(), "got") {
		t.Errorf("a run past the last page number: %v", err)
	}
}

func TestSpaceLeaf(t *testing.T) {
	for _, size := range pageSizes {
		b := make([]byte, size)
		bits := InitSpaceLeaf(b)
		if len(bits)*8 != SpaceChunk(size) {
			t.Errorf("%d bits, want %d", len(bits)*8, SpaceChunk(size))
		}
		bits[0] = 0x81
		if got := SpaceBits(b); len(got) != len(bits) || got[0] != 0x81 || TypeOf(b) != TypeSpaceLeaf || PagesOf(b) != 1 {
			t.Error("bitmap is not read as it was written")
		}
	}
}
