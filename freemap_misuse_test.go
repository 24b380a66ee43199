package lightning

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

// Calls that no caller may make: they name the page and change nothing.

func TestFreeMap_WrongUseNamesThePageAndChangesNothing(t *testing.T) {
	m := newTestFreeMap(t, 64, 640, freeRun{100, 50})
	if err := m.release(200, 100); err != nil {
		t.Fatal(err)
	}
	before := snapshotFreeMap(t, m)
	for _, c := range []struct {
		name     string
		do       func(start, n uint64) error
		start, n uint64
		want     string
	}{
		{"double release", m.release, 150, 100, "page 200 is free, not ready"},
		{"release of a ready page", m.release, 60, 41, "page 100 is free and ready"},
		{"ready in use", m.makeReady, 290, 20, "page 300 is in use"},
		{"unrelease in use", m.unrelease, 260, 41, "page 300 is in use"},
		{"unrelease of ready pages", m.unrelease, 149, 1, "page 149 is free and ready"},
		{"double unalloc", m.unalloc, 10, 192, "page 100 is free and ready"},
		{"meta page", m.release, 1, 5, "page 1 is a meta page"},
		{"nothing", m.release, 10, 0, "empty"},
		{"beyond the end", m.release, 639, 2, "beyond the end"},
		{"far beyond the end", m.makeReady, math.MaxUint64, 1, "beyond the end"},
		{"overflow", m.unalloc, 10, math.MaxUint64 - 5, "beyond the end"},
	} {
		err := c.do(c.start, c.n)
		if !errors.Is(err, errFreeMapUse) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		if after := snapshotFreeMap(t, m); after != before {
			t.Fatalf("%s changed the map:\n%s\nwant:\n%s", c.name, after, before)
		}
	}
}

func TestFreeMap_AbsurdArguments(t *testing.T) {
	m := newTestFreeMap(t, 64, 640, freeRun{100, 50})
	if _, ok, err := m.alloc(math.MaxUint64); ok || err != nil {
		t.Errorf("alloc of all pages there are = %v, %v", ok, err)
	}
	if page, got, ok, err := m.allocUpTo(math.MaxUint64); page != 100 || got != 50 || !ok || err != nil {
		t.Errorf("allocUpTo without limit = %d+%d, %v, %v; want 100+50", page, got, ok, err)
	}
	if _, _, err := m.alloc(0); !errors.Is(err, errFreeMapUse) {
		t.Errorf("alloc(0) = %v", err)
	}
	if _, _, _, err := m.allocUpTo(0); !errors.Is(err, errFreeMapUse) {
		t.Errorf("allocUpTo(0) = %v", err)
	}
	if _, err := m.isFree(640); !errors.Is(err, errFreeMapUse) {
		t.Errorf("isFree(640) = %v", err)
	}
	for _, i := range []int{-1, 10, math.MaxInt} {
		if _, _, _, err := m.chunkBitmap(i); !errors.Is(err, errFreeMapUse) {
			t.Errorf("chunkBitmap(%d) = %v", i, err)
		}
		m.clearDirty(i)
	}
	if got := m.dirtyChunks(); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("dirtyChunks() = %v, want 1 and 2", got)
	}
}

// Operations without an error to return must not swallow their failure.
func TestFreeMap_FailureIsSticky(t *testing.T) {
	load := func(int) ([]byte, error) { return make([]byte, 8), nil }
	for name, do := range map[string]func(m *freeMap){
		"describe negative":       func(m *freeMap) { m.describe(-1, 0, 0) },
		"describe far":            func(m *freeMap) { m.describe(math.MaxInt, 0, 0) },
		"describe too many":       func(m *freeMap) { m.describe(3, 65, 1) },
		"describe long run":       func(m *freeMap) { m.describe(3, 5, 6) },
		"describe no run":         func(m *freeMap) { m.describe(3, 5, 0) },
		"describe twice":          func(m *freeMap) { m.describe(1, 5, 5) },
		"replay nothing":          func(m *freeMap) { m.replay(10, 0, true) },
		"replay meta":             func(m *freeMap) { m.replay(0, 5, true) },
		"replay overflow":         func(m *freeMap) { m.replay(math.MaxUint64, 5, true) },
		"replay long":             func(m *freeMap) { m.replay(2, math.MaxUint64, true) },
		"replay alloc of nothing": func(m *freeMap) { m.replay(300, 5, false) },
		"replay free of full":     func(m *freeMap) { m.replay(64, 60, true) },
		"replay after load":       func(m *freeMap) { m.replay(4, 1, false); m.replay(200, 5, true) },
		"cut pages in use":        func(m *freeMap) { m.setEnd(600) },
		"cut meta pages":          func(m *freeMap) { m.setEnd(1) },
		"absurd end":              func(m *freeMap) { m.setEnd(math.MaxUint64) },
	} {
		m := newFreeMap(64, load)
		m.setEnd(640)
		m.describe(1, 10, 5)
		if name == "replay after load" {
			if err := m.release(200, 1); err != nil {
				t.Fatal(err)
			}
		}
		do(m)
		err := m.release(500, 1)
		if !errors.Is(err, errFreeMapUse) && !errors.Is(err, errFreeMapDamaged) {
			t.Errorf("%s: later release = %v", name, err)
		}
		if m.end() != 640 {
			t.Errorf("%s: end() = %d, want 640", name, m.end())
		}
		for what, again := range map[string]func() error{
			"alloc":       func() error { _, _, err := m.alloc(1); return err },
			"allocUpTo":   func() error { _, _, _, err := m.allocUpTo(1); return err },
			"tailReady":   func() error { _, err := m.tailReady(); return err },
			"isFree":      func() error { _, err := m.isFree(5); return err },
			"forEachFree": func() error { return m.forEachFree(func(_, _ uint64) bool { return true }) },
			"chunkBitmap": func() error { _, _, _, err := m.chunkBitmap(0); return err },
		} {
			if got := again(); got == nil || got.Error() != err.Error() {
				t.Errorf("%s: %s = %v, want %v", name, what, got, err)
			}
		}
	}
	for _, size := range []int{-8, 0, 12, math.MaxInt} {
		if err := newFreeMap(size, load).release(5, 1); !errors.Is(err, errFreeMapUse) {
			t.Errorf("chunks of %d pages: %v", size, err)
		}
	}
	m := newFreeMap(64, nil)
	m.describe(0, 0, 0)
	if _, err := m.tailReady(); !errors.Is(err, errFreeMapUse) {
		t.Errorf("describe without load: %v", err)
	}
}
