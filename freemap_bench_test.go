package lightning

import (
	"bytes"
	"slices"
	"testing"
)

// freeMapPattern returns a map of which every chunk has the same bitmap, loaded.
func freeMapPattern(tb testing.TB, chunks int, pattern byte) *freeMap {
	tb.Helper()
	const size = 32448
	rest := bytes.Repeat([]byte{pattern}, size/8)
	first := slices.Clone(rest)
	first[0] &^= 3
	m := newFreeMap(size, func(i int) ([]byte, error) {
		if i == 0 {
			return first, nil
		}
		return rest, nil
	})
	m.setEnd(uint64(chunks) * size)
	for i := range chunks {
		bitmap := rest
		if i == 0 {
			bitmap = first
		}
		free, longest := countBitmap(bitmap)
		m.describe(i, free, longest)
		if _, err := m.chunk(i); err != nil {
			tb.Fatal(err)
		}
	}
	return m
}

var freeMapOps = []struct {
	name    string
	pattern byte
	do      func(m *freeMap, i uint64) (bool, error)
}{
	{"alloc=1", 0xff, func(m *freeMap, _ uint64) (bool, error) { _, ok, err := m.alloc(1); return ok, err }},
	{"alloc=1/half", 0x55, func(m *freeMap, _ uint64) (bool, error) { _, ok, err := m.alloc(1); return ok, err }},
	{"alloc=4/mixed", 0x4f, func(m *freeMap, _ uint64) (bool, error) { _, ok, err := m.alloc(4); return ok, err }},
	{"alloc=1000", 0xff, func(m *freeMap, _ uint64) (bool, error) { _, ok, err := m.alloc(1000); return ok, err }},
	{"alloc=1000/none", 0x55, func(m *freeMap, _ uint64) (bool, error) { _, _, err := m.alloc(1000); return true, err }},
	{"alloc=2/none", 0x55, func(m *freeMap, _ uint64) (bool, error) { _, _, err := m.alloc(2); return true, err }},
	{"allocUpTo=64", 0xff, func(m *freeMap, _ uint64) (bool, error) { _, _, ok, err := m.allocUpTo(64); return ok, err }},
	{"allocUpTo=64/half", 0x55, func(m *freeMap, _ uint64) (bool, error) { _, _, ok, err := m.allocUpTo(64); return ok, err }},
	{"lowest=1", 0xff, func(m *freeMap, _ uint64) (bool, error) {
		m.setLowestFirst(true)
		_, ok, err := m.alloc(1)
		return ok, err
	}},
	{"release+makeReady/scattered", 0xaa, func(m *freeMap, i uint64) (bool, error) {
		count := m.end() / 2
		if i >= count {
			return false, nil
		}
		// An odd page each time from far apart; even pages of the pattern are in use.
		page := i*7_919_999%count*2 + 2
		if page >= m.end() {
			return true, nil
		}
		if err := m.release(page, 1); err != nil {
			return false, err
		}
		return true, m.makeReady(page, 1)
	}},
}

func TestFreeMap_BenchmarkedOperations(t *testing.T) {
	for _, op := range freeMapOps {
		t.Run(op.name, func(t *testing.T) {
			m := freeMapPattern(t, 3, op.pattern)
			for i := range uint64(2000) {
				ok, err := op.do(m, i)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					break
				}
			}
			checkFreeMap(t, m)
		})
	}
}

func BenchmarkFreeMap(b *testing.B) {
	const pages = 50_000_000
	for _, op := range freeMapOps {
		b.Run(op.name, func(b *testing.B) {
			free := max(1, int(countOnes(op.pattern)))
			chunks := pages * 8 / free / 32448
			m := freeMapPattern(b, chunks, op.pattern)
			b.ReportAllocs()
			i := uint64(0)
			for b.Loop() {
				ok, err := op.do(m, i)
				if err != nil {
					b.Fatal(err)
				}
				i++
				if !ok {
					b.StopTimer()
					m, i = freeMapPattern(b, chunks, op.pattern), 0
					b.StartTimer()
				}
			}
		})
	}
}

func countOnes(b byte) uint32 {
	free, _ := countBitmap([]byte{b})
	return free
}
