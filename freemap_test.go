package lightning

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestFreeMap_Alloc_CrossesChunks(t *testing.T) {
	const size = 72 // not a multiple of 64: the last word of a chunk is partly used
	for start := uint64(size - 3); start <= size+3; start++ {
		for _, n := range []uint64{1, 2, 3, 6, size - 1, size, size + 1, 2*size + 5, 4 * size} {
			m := newTestFreeMap(t, size, 6*size, freeRun{2, 1}, freeRun{4, 1}, freeRun{start, n})
			m.cursor, m.runCursor = start+n/2, start+n/2
			if _, ok, err := m.alloc(n + 1); ok || err != nil {
				t.Fatalf("alloc(%d) of a run of %d = %v, %v", n+1, n, ok, err)
			}
			if page, ok, err := m.alloc(n); n > 1 && page != start || !ok || err != nil {
				t.Fatalf("alloc(%d) = %d, %v, %v; want %d", n, page, ok, err, start)
			}
			checkFreeMap(t, m)
		}
	}
}

// The bounds are measured a short way only; a page that joins two runs longer than that
// must still raise them enough.
func TestFreeMap_Alloc_FindsJoinedLongRuns(t *testing.T) {
	for _, c := range []struct{ left, right uint64 }{{1000, 1000}, {1000, 3}, {3, 1000}, {boundLookPages, boundLookPages}} {
		m := newTestFreeMap(t, 3200, 3200, freeRun{10, c.left}, freeRun{11 + c.left, c.right})
		if _, ok, err := m.alloc(max(c.left, c.right) + 1); ok || err != nil {
			t.Fatalf("%v: alloc before joining = %v, %v", c, ok, err)
		}
		if err := m.release(10+c.left, 1); err != nil {
			t.Fatal(err)
		}
		if err := m.makeReady(10+c.left, 1); err != nil {
			t.Fatal(err)
		}
		checkFreeMap(t, m)
		n := c.left + 1 + c.right
		if page, ok, err := m.alloc(n); page != 10 || !ok || err != nil {
			t.Fatalf("alloc(%d) = %d, %v, %v; want 10", n, page, ok, err)
		}
	}
}

func TestFreeMap_ReplayJoinsRunsOfAnUnloadedChunk(t *testing.T) {
	m := newFreeMap(64, func(int) ([]byte, error) { return []byte{0, 0x1f, 0xf8, 0, 0, 0, 0, 0}, nil })
	m.setEnd(64)
	m.describe(0, 10, 5)
	m.replay(13, 6, true)
	if page, ok, err := m.alloc(16); page != 8 || !ok || err != nil {
		t.Fatalf("alloc(16) = %d, %v, %v; want 8", page, ok, err)
	}
}

func TestFreeMap_AllocUpTo_CrossesChunks(t *testing.T) {
	m := newTestFreeMap(t, 64, 640, freeRun{60, 200})
	for _, want := range []freeRun{{60, 100}, {160, 100}} {
		if page, got, ok, err := m.allocUpTo(100); page != want.start || got != want.n || !ok || err != nil {
			t.Fatalf("allocUpTo(100) = %d+%d, %v, %v; want %v", page, got, ok, err, want)
		}
	}
	if _, _, ok, err := m.allocUpTo(100); ok || err != nil {
		t.Fatalf("allocUpTo on an empty map = %v, %v", ok, err)
	}
}

func TestFreeMap_AllocUpTo_PrefersFullRunNearby(t *testing.T) {
	m := newTestFreeMap(t, 3200, 3200, freeRun{10, 3}, freeRun{20, 5}, freeRun{100, 40}, freeRun{2000, 64})
	for _, want := range []freeRun{{100, 32}, {132, 8}, {2000, 32}, {2032, 32}, {10, 3}, {20, 5}} {
		if page, got, ok, err := m.allocUpTo(32); page != want.start || got != want.n || !ok || err != nil {
			t.Fatalf("allocUpTo(32) = %d+%d, %v, %v; want %v", page, got, ok, err, want)
		}
	}
}

func TestFreeMap_Alloc_NextFitIsContiguous(t *testing.T) {
	m := newTestFreeMap(t, 64, 640, freeRun{100, 300})
	for i := range uint64(300) {
		// A page that comes back behind the cursor waits for the next round.
		if i == 150 {
			if err := m.unalloc(100, 1); err != nil {
				t.Fatal(err)
			}
		}
		if page, ok, err := m.alloc(1); page != 100+i || !ok || err != nil {
			t.Fatalf("alloc(1) number %d = %d, %v, %v; want %d", i, page, ok, err, 100+i)
		}
	}
	if page, ok, err := m.alloc(1); page != 100 || !ok || err != nil {
		t.Fatalf("alloc(1) after the last page = %d, %v, %v; want 100", page, ok, err)
	}
}

func TestFreeMap_Alloc_LongRunsLeaveTheShortCursor(t *testing.T) {
	m := newTestFreeMap(t, 640, 6400, freeRun{10, 3000})
	for i, want := range []uint64{10, 11, 12} {
		if page, _, err := m.alloc(1); page != want || err != nil {
			t.Fatalf("alloc(1) = %d, %v; want %d", page, err, want)
		}
		if _, ok, err := m.alloc(100); !ok || err != nil {
			t.Fatalf("alloc(100) number %d = %v, %v", i, ok, err)
		}
		if i == 0 {
			// The first long run lay at the short cursor; put it back.
			if err := m.unalloc(11, 100); err != nil {
				t.Fatal(err)
			}
			m.runCursor = 1000
		}
	}
}

func TestFreeMap_Alloc_UndoneAllocationsDoNotMoveTheCursor(t *testing.T) {
	m := newTestFreeMap(t, 64, 640, freeRun{10, 600})
	for range 100 {
		page, ok, err := m.alloc(5)
		if page != 10 || !ok || err != nil {
			t.Fatalf("alloc(5) = %d, %v, %v; want 10", page, ok, err)
		}
		if err := m.unalloc(page, 5); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFreeMap_Alloc_LowestFirst(t *testing.T) {
	m := newTestFreeMap(t, 64, 640, freeRun{300, 10}, freeRun{500, 100}, freeRun{60, 8})
	m.cursor, m.runCursor = 400, 400
	m.setLowestFirst(true)
	for _, want := range []freeRun{{60, 5}, {65, 1}, {300, 5}, {66, 2}, {500, 70}, {305, 5}} {
		if page, ok, err := m.alloc(want.n); page != want.start || !ok || err != nil {
			t.Fatalf("alloc(%d) = %d, %v, %v; want %d", want.n, page, ok, err, want.start)
		}
	}
	m.setLowestFirst(false)
	if page, _, err := m.alloc(1); page != 570 || err != nil {
		t.Fatalf("alloc(1) = %d, %v; want 570", page, err)
	}
}

func TestFreeMap_ReleasedPagesAreNotAllocated(t *testing.T) {
	m := newTestFreeMap(t, 64, 640)
	if err := m.release(60, 10); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := m.alloc(1); ok || err != nil || m.freePages() != 10 || m.readyPages() != 0 {
		t.Fatalf("alloc(1) = %v, %v with %d free and %d ready pages", ok, err, m.freePages(), m.readyPages())
	}
	if err := m.makeReady(62, 4); err != nil {
		t.Fatal(err)
	}
	if page, ok, err := m.alloc(4); page != 62 || !ok || err != nil {
		t.Fatalf("alloc(4) = %d, %v, %v; want 62", page, ok, err)
	}
}

func TestFreeMap_UndoRestoresExactly(t *testing.T) {
	m := newTestFreeMap(t, 72, 1000, freeRun{10, 5}, freeRun{70, 200}, freeRun{900, 100})
	before := snapshotFreeMap(t, m)
	var taken []freeRun
	for n := uint64(1); n < 80; n += 13 {
		page, ok, err := m.alloc(n)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		taken = append(taken, freeRun{page, n})
	}
	if err := m.release(400, 300); err != nil {
		t.Fatal(err)
	}
	if snapshotFreeMap(t, m) == before {
		t.Fatal("the operations changed nothing")
	}
	if err := m.unrelease(400, 300); err != nil {
		t.Fatal(err)
	}
	for _, r := range slices.Backward(taken) {
		if err := m.unalloc(r.start, r.n); err != nil {
			t.Fatal(err)
		}
	}
	if after := snapshotFreeMap(t, m); after != before {
		t.Fatalf("after undo:\n%s\nwant:\n%s", after, before)
	}
	checkFreeMap(t, m)
}

func snapshotFreeMap(t *testing.T, m *freeMap) string {
	t.Helper()
	var b strings.Builder
	for i := range uint64(len(m.chunks)) {
		c, err := m.chunk(int(i))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%d: %x\n", i, c.bits)
	}
	fmt.Fprintf(&b, "%d %d %d", m.free, m.ready, m.pages)
	return b.String()
}

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
	var got []freeRun
	if err := m.forEachFree(func(start, n uint64) bool {
		got = append(got, freeRun{start, n})
		return true
	}); err != nil {
		t.Fatal(err)
	}
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

func TestFreeMap_SetEnd(t *testing.T) {
	m := newTestFreeMap(t, 64, 640, freeRun{100, 540})
	m.clearDirty(1)
	m.setEnd(110)
	if m.chunks[9].bits != nil {
		t.Fatal("a cut chunk keeps its memory")
	}
	if n, err := m.tailReady(); n != 10 || err != nil || m.freePages() != 10 || m.end() != 110 {
		t.Fatalf("tailReady() = %d, %v, %d free pages, end %d; want 10, 10, 110", n, err, m.freePages(), m.end())
	}
	if got := m.dirtyChunks(); len(got) != 9 || got[0] != 1 {
		t.Fatalf("dirtyChunks() = %v, want 1 to 9", got)
	}
	if dump, free, _, err := m.chunkBitmap(9); free != 0 || err != nil || !bytes.Equal(dump, make([]byte, 8)) {
		t.Fatalf("chunkBitmap of a cut chunk = %x, %d, %v", dump, free, err)
	}
	m.setEnd(640)
	if n, err := m.tailReady(); n != 0 || err != nil || m.freePages() != 10 {
		t.Fatalf("tailReady() = %d, %v, %d free pages; added pages are not free", n, err, m.freePages())
	}
	if err := m.release(110, 530); err != nil {
		t.Fatal(err)
	}
	checkFreeMap(t, m)
}

func TestFreeMap_ForEachFree_Stops(t *testing.T) {
	m := newTestFreeMap(t, 64, 640, freeRun{10, 5}, freeRun{60, 100}, freeRun{600, 40})
	for stop := 1; stop <= 3; stop++ {
		calls := 0
		if err := m.forEachFree(func(_, _ uint64) bool { calls++; return calls < stop }); err != nil || calls != stop {
			t.Errorf("asked to stop after %d, got %d calls, %v", stop, calls, err)
		}
	}
}

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
