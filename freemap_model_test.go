package lightning

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
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

// freeRuns returns what forEachFree tells.
func freeRuns(t *testing.T, m *freeMap) (runs []freeRun) {
	t.Helper()
	if err := m.forEachFree(func(start, n uint64) bool {
		runs = append(runs, freeRun{start, n})
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return runs
}

// compare checks everything the map says about its bits against the model.
func (d *freeModel) compare(t *testing.T, m *freeMap) {
	t.Helper()
	checkFreeMap(t, m)
	got := freeRuns(t, m)
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
