package lightning

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var freeMapSeed = flag.Uint64("freemap.seed", 0, "seed of the random free map tests; 0 takes a new one")

type freeRun struct{ start, n uint64 }

// checkFreeMap fails unless counters, bounds and summaries agree with the bits.
func checkFreeMap(t *testing.T, m *freeMap) {
	t.Helper()
	free, ready := uint64(0), uint64(0)
	for i := range m.chunks {
		c := &m.chunks[i]
		free += uint64(c.free)
		ready += uint64(c.ready)
		if m.hasReady.has(i) != (c.ready > 0) {
			t.Fatalf("chunk %d: hasReady is %v with %d ready pages", i, m.hasReady.has(i), c.ready)
		}
		if c.bits == nil {
			continue
		}
		f, r, run, longest := 0, 0, 0, 0
		for p := range m.chunkPages {
			if c.readyBits().has(p) && !c.state().has(p) {
				t.Fatalf("page %d is ready but not free", m.page(i, p))
			}
			if c.state().has(p) {
				f++
			}
			if !c.readyBits().has(p) {
				run = 0
				continue
			}
			r++
			run++
			longest = max(longest, run)
			if run == p+1 && c.head < run {
				t.Fatalf("chunk %d: head bound %d below %d", i, c.head, run)
			}
		}
		if f != c.free || r != c.ready || c.maxRun < longest || c.tail < run {
			t.Fatalf("chunk %d: %d free, %d ready, longest %d, tail %d; kept %d, %d, %d, %d", i, f, r, longest, run, c.free, c.ready, c.maxRun, c.tail)
		}
	}
	if free != m.freePages() || ready != m.readyPages() {
		t.Fatalf("counters: free %d ready %d, want %d and %d", m.freePages(), m.readyPages(), free, ready)
	}
}

// freeModel is the naive twin: a byte a page, and what a file would hold.
type freeModel struct {
	pages      []byte // 0 in use, 1 free, 2 free and ready
	chunkPages int
	disk       map[int][]byte
	log        []func(m *freeMap)
}

func (d *freeModel) is(start, n uint64, allowed ...byte) bool {
	if n == 0 || start < 2 || n > uint64(len(d.pages)) || start > uint64(len(d.pages))-n {
		return false
	}
	for _, b := range d.pages[start : start+n] {
		if !slices.Contains(allowed, b) {
			return false
		}
	}
	return true
}

func (d *freeModel) set(start, n uint64, to byte) {
	was := d.pages[start]
	for p := start; p < start+n; p++ {
		d.pages[p] = to
	}
	if (was == 0) != (to == 0) {
		d.log = append(d.log, func(m *freeMap) { m.replay(start, n, to != 0) })
	}
}

func (d *freeModel) runs(min byte) []freeRun {
	var runs []freeRun
	for p, b := range d.pages {
		switch k := len(runs) - 1; {
		case b < min:
		case k >= 0 && runs[k].start+runs[k].n == uint64(p):
			runs[k].n++
		default:
			runs = append(runs, freeRun{uint64(p), 1})
		}
	}
	return runs
}

// fits returns the lowest run of n ready pages.
func (d *freeModel) fits(n uint64) (uint64, bool) {
	for _, r := range d.runs(2) {
		if r.n >= n {
			return r.start, true
		}
	}
	return 0, false
}

func (d *freeModel) tail() uint64 {
	n := 0
	for n < len(d.pages) && d.pages[len(d.pages)-1-n] == 2 {
		n++
	}
	return uint64(n)
}

// reopen builds the map again from the disk and the log, which makes every free page ready.
func (d *freeModel) reopen(t *testing.T, endFirst bool) *freeMap {
	t.Helper()
	seen := make(map[int]bool)
	m := newFreeMap(d.chunkPages, func(i int) ([]byte, error) {
		if seen[i] || d.disk[i] == nil {
			t.Fatalf("chunk %d loaded twice or without being there", i)
		}
		seen[i] = true
		return d.disk[i], nil
	})
	if endFirst {
		m.setEnd(uint64(len(d.pages)))
	}
	for i, bitmap := range d.disk {
		free, longest := countBitmap(bitmap)
		m.describe(i, free, longest)
	}
	for _, record := range d.log {
		record(m)
	}
	m.setEnd(uint64(len(d.pages)))
	for p, b := range d.pages {
		if b == 1 {
			d.pages[p] = 2
		}
	}
	return m
}

func countBitmap(bitmap []byte) (free, longest uint32) {
	run := uint32(0)
	for i := range len(bitmap) * 8 {
		if bitmap[i/8]>>(i%8)&1 == 0 {
			run = 0
			continue
		}
		free++
		run++
		longest = max(longest, run)
	}
	return free, longest
}

// compare checks everything the map says about its bits against the model.
func (d *freeModel) compare(t *testing.T, m *freeMap) {
	t.Helper()
	checkFreeMap(t, m)
	var got []freeRun
	if err := m.forEachFree(func(start, n uint64) bool {
		got = append(got, freeRun{start, n})
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if want := d.runs(1); !slices.Equal(got, want) {
		t.Fatalf("free runs %v, want %v", got, want)
	}
	for p, b := range d.pages {
		if free, err := m.isFree(uint64(p)); err != nil || free != (b > 0) {
			t.Fatalf("isFree(%d) = %v, %v; want %v", p, free, err, b > 0)
		}
	}
	checkFreeMap(t, m)
}

// dump writes the dirty chunks to the disk and starts a new log, then proves that the
// chunks that were not dirty are on the disk as they are.
func (d *freeModel) dump(t *testing.T, m *freeMap) {
	t.Helper()
	for _, i := range m.dirtyChunks() {
		if uint64(i)*uint64(d.chunkPages) >= m.end() {
			delete(d.disk, i)
			m.clearDirty(i)
			continue
		}
		bitmap, free, longest, err := m.chunkBitmap(i)
		if err != nil {
			t.Fatal(err)
		}
		if f, l := countBitmap(bitmap); f != free || l != longest || len(bitmap) != d.chunkPages/8 {
			t.Fatalf("chunk %d: dump says %d free, longest %d; its %d bytes hold %d and %d", i, free, longest, len(bitmap), f, l)
		}
		d.disk[i] = bitmap
		m.clearDirty(i)
	}
	if left := m.dirtyChunks(); left != nil {
		t.Fatalf("chunks %v are dirty after clearDirty", left)
	}
	d.log = nil
	for p, b := range d.pages {
		bitmap := d.disk[p/d.chunkPages]
		pos := p % d.chunkPages
		if on := bitmap != nil && bitmap[pos/8]>>(pos%8)&1 == 1; on != (b > 0) {
			t.Fatalf("page %d on disk: free %v, want %v", p, on, b > 0)
		}
	}
}

// step does one random operation on both.
func (d *freeModel) step(t *testing.T, rng *rand.Rand, m *freeMap, lowest bool) {
	t.Helper()
	end := uint64(len(d.pages))
	start, n := rng.Uint64N(end+2), 1+rng.Uint64N(4)
	if rng.IntN(4) == 0 {
		n = rng.Uint64N(end/2 + 2)
	}
	// Aim at a run that exists more often than chance would.
	if runs := d.runs(1); len(runs) > 0 && rng.IntN(3) == 0 {
		r := runs[rng.IntN(len(runs))]
		start, n = r.start, 1+rng.Uint64N(r.n)
	}
	expect := func(name string, err error, legal bool, to byte) {
		t.Helper()
		if legal != (err == nil) {
			t.Fatalf("%s(%d, %d) = %v, legal: %v", name, start, n, err, legal)
		}
		if legal {
			d.set(start, n, to)
		} else if !errors.Is(err, errFreeMapUse) {
			t.Fatalf("%s(%d, %d) = %v, want errFreeMapUse", name, start, n, err)
		}
	}
	switch rng.IntN(9) {
	case 0, 1:
		expect("release", m.release(start, n), d.is(start, n, 0), 1)
	case 2, 3:
		legal := d.is(start, n, 1, 2)
		expect("makeReady", m.makeReady(start, n), legal, 2)
	case 4:
		expect("unrelease", m.unrelease(start, n), d.is(start, n, 1), 0)
	case 5:
		expect("unalloc", m.unalloc(start, n), d.is(start, n, 0), 2)
	case 6, 7:
		n = max(n, 1)
		want, fits := d.fits(n)
		page, ok, err := m.alloc(n)
		if err != nil || ok != fits || ok && lowest && page != want || ok && !d.is(page, n, 2) {
			t.Fatalf("alloc(%d) = %d, %v, %v; lowest fit %d, %v", n, page, ok, err, want, fits)
		}
		if ok {
			d.set(page, n, 0)
		}
	case 8:
		n = max(n, 1)
		want, fits := d.fits(1)
		page, got, ok, err := m.allocUpTo(n)
		if err != nil || ok != fits || ok && (got > n || lowest && page != want || !d.is(page, got, 2)) {
			t.Fatalf("allocUpTo(%d) = %d+%d, %v, %v; lowest fit %d, %v", n, page, got, ok, err, want, fits)
		}
		if ok && got < n && d.is(page+got, 1, 2) {
			t.Fatalf("allocUpTo(%d) = %d+%d, but the next page is ready", n, page, got)
		}
		if ok {
			d.set(page, got, 0)
		}
	}
}

func TestFreeMap_Model(t *testing.T) {
	seed := *freeMapSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed: -freemap.seed=%d", seed)
	for round, chunkPages := range []int{8, 24, 64, 72, 128, 200, 640} {
		t.Run(fmt.Sprintf("chunk=%d", chunkPages), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, uint64(round)))
			d := &freeModel{chunkPages: chunkPages, disk: make(map[int][]byte), pages: make([]byte, 2+rng.IntN(1500))}
			m := d.reopen(t, true)
			lowest := false
			for range 2500 {
				switch rng.IntN(100) {
				case 0:
					lowest = !lowest
					m.setLowestFirst(lowest)
				case 1:
					add := rng.IntN(200)
					d.pages = append(d.pages, make([]byte, add)...)
					m.setEnd(uint64(len(d.pages)))
				case 2:
					if tail := d.tail(); tail > 0 {
						d.truncate(m, 1+rng.Uint64N(tail))
					}
				case 3:
					d.dump(t, m)
				case 4:
					m = d.reopen(t, rng.IntN(2) == 0)
					m.setLowestFirst(lowest)
				case 5:
					d.compare(t, m)
				default:
					d.step(t, rng, m, lowest)
				}
				if n := uint64(len(d.pages)); m.end() != n {
					t.Fatalf("end() = %d, want %d", m.end(), n)
				}
				if got, err := m.tailReady(); err != nil || got != d.tail() {
					t.Fatalf("tailReady() = %d, %v; want %d", got, err, d.tail())
				}
				checkFreeMap(t, m)
			}
			d.compare(t, m)
		})
	}
}

// truncate cuts ready pages off the end. The log has them as allocated, so that replay,
// which may come before or after setEnd, leaves nothing above the end.
func (d *freeModel) truncate(m *freeMap, n uint64) {
	start := uint64(len(d.pages)) - n
	d.set(start, n, 0)
	d.pages = d.pages[:start]
	m.setEnd(start)
}

// newTestFreeMap returns a map without a disk in which the given runs are ready.
func newTestFreeMap(t *testing.T, chunkPages int, end uint64, runs ...freeRun) *freeMap {
	t.Helper()
	m := newFreeMap(chunkPages, nil)
	m.setEnd(end)
	for _, r := range runs {
		if err := m.unalloc(r.start, r.n); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

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
