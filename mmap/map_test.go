package mmap

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

const page = 4096

// newFile returns a file of size bytes in which every page is filled with
// the low byte of its number plus one.
func newFile(t *testing.T, size int64) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "db"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	fill(t, f, 0, size)
	return f
}

// fill writes the pages of [from, to).
func fill(t *testing.T, f *os.File, from, to int64) {
	t.Helper()
	if _, err := f.WriteAt(content(from, int(to-from)), from); err != nil {
		t.Fatal(err)
	}
}

// content is what fill leaves at [off, off+n).
func content(off int64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((off+int64(i))/page) + 1
	}
	return b
}

// openMap opens a map by New, or without a reservation.
func openMap(t *testing.T, f *os.File, size int64, o Options, reserve bool) *Map {
	t.Helper()
	m, err := open(f, size, o, reserve)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// at is At with the chunks, which At leaves out where it knows of none.
func at(m *Map, off int64, n int) ([]byte, bool) {
	if b, ok := m.At(off, n); ok {
		return b, true
	}
	return m.atMore(off, n)
}

func wantAt(t *testing.T, m *Map, off int64, n int) []byte {
	t.Helper()
	b, ok := at(m, off, n)
	if !ok {
		t.Fatalf("[%d, +%d) is not mapped", off, n)
	}
	if len(b) != n || cap(b) != n {
		t.Fatalf("[%d, +%d): len %d, cap %d", off, n, len(b), cap(b))
	}
	if !bytes.Equal(b, content(off, n)) {
		t.Fatalf("[%d, +%d): wrong bytes", off, n)
	}
	if n > 0 && (!m.Contains(base(b)) || !m.Contains(base(b)+uintptr(n-1))) {
		t.Fatalf("[%d, +%d): Contains is false for its addresses", off, n)
	}
	return b
}

func TestMap_At_Bounds(t *testing.T) {
	const size = 2 * granularity
	for _, reserve := range []bool{canReserve, false} {
		m := openMap(t, newFile(t, size), size, Options{Reserve: size}, reserve)
		wantAt(t, m, 0, size)
		wantAt(t, m, size-1, 1)
		wantAt(t, m, size, 0)
		for _, r := range []struct {
			off int64
			n   int
		}{{-1, 1}, {0, -1}, {0, size + 1}, {size, 1}, {1 << 62, 1}, {-1 << 63, 1}, {1<<63 - 1, 1}, {1<<63 - 1, 1<<31 - 1}, {5, -5}} {
			if _, ok := at(m, r.off, r.n); ok {
				t.Errorf("reserve %v: [%d, +%d) is mapped", reserve, r.off, r.n)
			}
		}
		if m.Contains(m.Base()-1) || m.Contains(m.Base()+size) || !m.Contains(m.Base()) {
			t.Errorf("reserve %v: Contains is wrong at the edges", reserve)
		}
	}
}

// The promise that growth never moves anything, in both ways of mapping.
func TestMap_Extend(t *testing.T) {
	for _, reserve := range []bool{canReserve, false} {
		size := int64(page)
		f := newFile(t, size)
		m := openMap(t, f, size, Options{}, reserve)
		first := wantAt(t, m, 0, page)
		addr := m.Base()
		for _, grown := range []int64{2 * page, 16 * page, 17 * page, 40 * page, 40*page + 16*granularity} {
			fill(t, f, size, grown)
			if err := m.Extend(grown); err != nil {
				t.Fatal(err)
			}
			for off := int64(0); off < grown; off += page {
				wantAt(t, m, off, page)
			}
			size = grown
		}
		if !bytes.Equal(first, content(0, page)) || m.Base() != addr {
			t.Errorf("reserve %v: growth moved the first page", reserve)
		}
	}
}

func TestMap_Extend_Write(t *testing.T) {
	for _, reserve := range []bool{canReserve, false} {
		f := newFile(t, 3*page)
		m := openMap(t, f, 3*page, Options{}, reserve)
		b := wantAt(t, m, page, page)
		if _, err := f.WriteAt([]byte("changed"), page); err != nil {
			t.Fatal(err)
		}
		if got := string(b[:7]); got != "changed" {
			t.Errorf("reserve %v: the map shows %q after a write to the file", reserve, got)
		}
	}
}

func TestMap_Straddle(t *testing.T) {
	const size = 4 * granularity
	f := newFile(t, page)
	m := openMap(t, f, page, Options{}, false)
	for end := int64(page); end < size; end += 5 * page {
		fill(t, f, end, end+5*page)
		if err := m.Extend(end + 5*page); err != nil {
			t.Fatal(err)
		}
	}
	// 20 pages never lie in one chunk, which has 5 and at most a granule.
	b := wantAt(t, m, 3*page, 40*page)
	mapped := len(m.more.Load().straddles)
	if mapped != 1 {
		t.Fatalf("%d own mappings, want 1", mapped)
	}
	again := wantAt(t, m, 3*page, 40*page)
	wantAt(t, m, 5*page, 30*page)
	if base(b) != base(again) || len(m.more.Load().straddles) != mapped {
		t.Error("the mapping of the extent was not used again")
	}
	if _, ok := at(m, 3*page, size); ok {
		t.Error("a range past the end of the file is mapped")
	}
}

func TestMap_Reserve_TooLarge(t *testing.T) {
	m := openMap(t, newFile(t, 2*page), 2*page, Options{Reserve: 1 << 60}, canReserve)
	wantAt(t, m, 0, 2*page)
	if canReserve && len(m.first) < 1<<26 {
		t.Errorf("only %d bytes reserved", len(m.first))
	}
}

func TestMap_Extend_ErrAddressSpace(t *testing.T) {
	if hasChunks {
		t.Skip("on this platform further chunks are mapped, and no reservation ends")
	}
	f := newFile(t, granularity)
	m := openMap(t, f, granularity, Options{Reserve: 2 * granularity}, true)
	if err := m.Extend(2 * granularity); err != nil {
		t.Fatal(err)
	}
	err := m.Extend(2*granularity + page)
	if !errors.Is(err, ErrAddressSpace) || !errors.Is(err, syscall.ENOMEM) {
		t.Errorf("Extend past the reservation = %v, want ErrAddressSpace", err)
	}
	wantAt(t, m, 0, granularity)
}

func TestMap_EmptyFile(t *testing.T) {
	for _, reserve := range []bool{canReserve, false} {
		f := newFile(t, 0)
		m := openMap(t, f, 0, Options{Populate: true}, reserve)
		fill(t, f, 0, 3*page)
		if err := m.Extend(3 * page); err != nil {
			t.Fatal(err)
		}
		wantAt(t, m, 0, 3*page)
	}
}

func TestMap_Close(t *testing.T) {
	for _, reserve := range []bool{canReserve, false} {
		f := newFile(t, 2*page)
		m := openMap(t, f, page, Options{}, reserve)
		if err := m.Extend(2 * page); err != nil {
			t.Fatal(err)
		}
		addr := m.Base()
		for range 2 {
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if _, ok := at(m, 0, 1); ok || m.Contains(addr) || m.Base() != 0 {
			t.Errorf("reserve %v: a closed map still holds something", reserve)
		}
		for name, err := range map[string]error{"Extend": m.Extend(page), "Lock": m.Lock(), "Unlock": m.Unlock(), "Advise": m.Advise(true)} {
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("%s after Close = %v, want os.ErrClosed", name, err)
			}
		}
	}
}

func TestNew_ClosedFile(t *testing.T) {
	f := newFile(t, page)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if m, err := New(f, page, Options{}); err == nil {
		t.Errorf("a closed file was mapped: %v", m.Close())
	}
}

func BenchmarkAt(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "db"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(64 * page); err != nil {
		b.Fatal(err)
	}
	m, err := New(f, 64*page, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	var i int64
	for b.Loop() {
		p, ok := m.At(i%64*page, page)
		if !ok || len(p) != page {
			b.Fatal("not mapped")
		}
		i++
	}
}
