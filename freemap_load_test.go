package lightning

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// What the map knows of chunks that are not in memory, and how they come there.

func TestFreeMap_ReplayJoinsRunsOfAnUnloadedChunk(t *testing.T) {
	m := newFreeMap(64, func(int) ([]byte, error) { return []byte{0, 0x1f, 0xf8, 0, 0, 0, 0, 0}, nil })
	m.setEnd(64)
	m.describe(0, 10, 5)
	m.replay(13, 6, true)
	if page, ok, err := m.alloc(16); page != 8 || !ok || err != nil {
		t.Fatalf("alloc(16) = %d, %v, %v; want 8", page, ok, err)
	}
}

func TestFreeMap_LazyLoadWithReplayBefore(t *testing.T) {
	var loads []int
	bitmap := []byte{0, 0, 0xf0, 0xff, 0, 0, 0, 0x80} // 20 to 31, 63
	m := newFreeMap(64, func(i int) ([]byte, error) {
		loads = append(loads, i)
		return bitmap, nil
	})
	m.setEnd(64 * 4)
	m.describe(1, 13, 12)
	m.describe(2, 13, 12)
	m.replay(64+32, 4, true)   // joins the run of 12
	m.replay(64+22, 1, false)  // splits it
	m.replay(127, 1, false)    // frees of the next chunk go on from here
	m.replay(126, 2, true)     // the page comes back with its neighbour
	m.replay(128+0, 20, true)  // in front of chunk 2's run
	m.replay(200, 10, true)    // crosses nothing; chunk 3 is not on disk
	m.replay(128+31, 1, false) // shortens it
	if m.freePages() != 13+4+13+20+10-1 || m.readyPages() != m.freePages() {
		t.Fatalf("free %d, ready %d before any load", m.freePages(), m.readyPages())
	}
	if got := m.dirtyChunks(); !slices.Equal(got, []int{1, 2, 3}) {
		t.Fatalf("dirtyChunks() = %v", got)
	}
	if n, err := m.tailReady(); n != 0 || err != nil || len(loads) != 0 {
		t.Fatalf("tailReady() = %d, %v after loading %v", n, err, loads)
	}
	if page, ok, err := m.alloc(33); page != 126 || !ok || err != nil {
		t.Fatalf("alloc(33) = %d, %v, %v; want 126", page, ok, err)
	}
	got := freeRuns(t, m)
	want := []freeRun{{84, 2}, {87, 13}, {191, 1}, {200, 10}}
	if !slices.Equal(got, want) {
		t.Fatalf("free runs %v, want %v", got, want)
	}
	slices.Sort(loads)
	if !slices.Equal(loads, []int{1, 2}) {
		t.Fatalf("loaded %v, want each described chunk once", loads)
	}
	if len(m.log) != 0 {
		t.Fatalf("the records of chunks that are loaded are kept: %v", m.log)
	}
	checkFreeMap(t, m)
}

func TestFreeMap_SearchDoesNotLoadWhatCannotHelp(t *testing.T) {
	m := newFreeMap(64, func(i int) ([]byte, error) {
		if i != 7 {
			return nil, fmt.Errorf("chunk %d loaded", i)
		}
		return bytes.Repeat([]byte{0xff}, 8), nil
	})
	m.setEnd(640)
	for i := range 6 {
		m.describe(i, 20, 10)
	}
	m.describe(7, 64, 64)
	if page, ok, err := m.alloc(30); page != 448 || !ok || err != nil {
		t.Fatalf("alloc(30) = %d, %v, %v; want 448", page, ok, err)
	}
}

func TestFreeMap_DamagedLoad(t *testing.T) {
	good := []byte{0xf0, 0, 0, 0, 0, 0, 0, 0}
	for name, c := range map[string]struct {
		bitmap       []byte
		free, maxRun uint32
		prepare      func(m *freeMap)
	}{
		"more than described":  {good, 3, 3, nil},
		"less than described":  {good, 5, 4, nil},
		"longer run":           {good, 4, 3, nil},
		"short":                {good[:7], 4, 4, nil},
		"long":                 {append(slices.Clone(good), 0), 4, 4, nil},
		"meta page":            {[]byte{0xe2, 0, 0, 0, 0, 0, 0, 0}, 4, 3, nil},
		"beyond the end":       {[]byte{0xf0, 0, 0, 0, 0, 0, 0, 1}, 5, 4, nil},
		"log frees free page":  {good, 4, 4, func(m *freeMap) { m.replay(3, 2, true) }},
		"log allocs used page": {good, 4, 4, func(m *freeMap) { m.replay(7, 2, false) }},
		"log beyond the end":   {good, 4, 4, func(m *freeMap) { m.replay(49, 2, true) }},
	} {
		m := newFreeMap(64, func(int) ([]byte, error) { return c.bitmap, nil })
		m.setEnd(50)
		m.describe(0, c.free, c.maxRun)
		if c.prepare != nil {
			c.prepare(m)
		}
		for range 2 {
			if _, _, err := m.alloc(1); !errors.Is(err, errFreeMapDamaged) {
				t.Errorf("%s: alloc = %v, want errFreeMapDamaged", name, err)
			}
		}
	}
}

func TestFreeMap_FailedLoadChangesNothing(t *testing.T) {
	errDisk := errors.New("disk on fire")
	fail := true
	m := newFreeMap(64, func(int) ([]byte, error) {
		if fail {
			return nil, errDisk
		}
		return bytes.Repeat([]byte{0xff}, 8), nil
	})
	m.setEnd(256)
	m.describe(2, 64, 64)
	for name, do := range map[string]func() error{
		"release":     func() error { return m.release(100, 40) },
		"alloc":       func() error { _, _, err := m.alloc(5); return err },
		"allocUpTo":   func() error { _, _, _, err := m.allocUpTo(5); return err },
		"isFree":      func() error { _, err := m.isFree(130); return err },
		"chunkBitmap": func() error { _, _, _, err := m.chunkBitmap(2); return err },
		"forEachFree": func() error { return m.forEachFree(func(_, _ uint64) bool { return true }) },
	} {
		if err := do(); !errors.Is(err, errDisk) {
			t.Errorf("%s = %v, want the load's error", name, err)
		}
	}
	fail = false
	if free, err := m.isFree(100); free || err != nil || m.freePages() != 64 {
		t.Fatalf("the refused release left isFree(100) = %v, %v and %d free pages", free, err, m.freePages())
	}
	if page, ok, err := m.alloc(64); page != 128 || !ok || err != nil {
		t.Fatalf("alloc(64) = %d, %v, %v; want 128", page, ok, err)
	}
}
