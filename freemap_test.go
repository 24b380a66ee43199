package lightning

import (
	"bytes"
	"fmt"
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
