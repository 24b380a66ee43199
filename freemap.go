package lightning

import (
	"errors"
	"fmt"
	"math/bits"
)

const (
	firstFreePage  = 2       // pages 0 and 1 are the meta slots
	maxFreeChunks  = 1 << 21 // bounds memory whatever a caller asks for
	maxChunkPages  = 1 << 30 // keeps page positions of a chunk inside an int everywhere
	smallRunPages  = 64      // longer runs have a cursor of their own
	lookAheadPages = 512     // how far allocUpTo looks for a full run
	boundLookPages = 256     // how far a set range is measured to each side
)

var (
	// errFreeMapUse is an engine bug: the map was asked for something that cannot be.
	errFreeMapUse = errors.New("free map: wrong use")
	// errFreeMapDamaged is a bitmap, a count or a log record that contradicts the rest.
	errFreeMapDamaged = errors.New("free map: damaged on disk")
)

// freeMap knows which pages of the file are free. Each page has two bits: state (free in
// the newest committed state) and ready (may be allocated now). Pages are grouped in
// chunks that match the bitmap leaves on disk and are loaded when first touched.
// An operation that returns an error has changed no bit.
// It is not safe for concurrent use: the caller holds the flush lock.
type freeMap struct {
	chunkPages int
	load       func(chunk int) ([]byte, error)
	pages      uint64               // high-water mark; a loaded chunk has no bit at or above it
	free       uint64               // sum of chunks[i].free
	ready      uint64               // sum of chunks[i].ready, at most free
	chunks     []freeChunk          // grows as chunks are touched; beyond it nothing is free
	hasReady   freeBits             // bit i is set exactly when chunks[i].ready > 0
	dirty      freeBits             // bit i: the state of chunk i differs from its last dump
	log        map[int][]freeRecord // replayed records of chunks that are not loaded, oldest first
	cursor     uint64               // next-fit position of short runs
	runCursor  uint64               // next-fit position of long runs, so that they do not scatter the short ones
	lowest     bool
	err        error // first failure of an operation that has no error to return; sticky
}

// freeChunk is one bitmap leaf. The bounds may be too high, never too low: they are
// tightened when a search in the chunk fails.
type freeChunk struct {
	bits       freeBits // state words, then as many ready words (a subset); nil until loaded
	free       int      // exact number of state bits, loaded or not
	ready      int      // exact number of ready bits, equal to free until loaded
	maxRun     int      // bound of the longest run of ready pages
	head, tail int      // bounds of the ready runs at the chunk's first and last page
	onDisk     bool     // load knows it; otherwise it starts with no free page
}

// freeRecord is a log record clipped to a chunk: positions [from, to).
type freeRecord struct {
	op       *freeOp
	from, to int
}

// freeOp is a change of both bits of a range. Every word is all zeros or all ones.
type freeOp struct {
	verb                  string
	fromState             uint64 // required state
	fromReady, checkReady uint64 // required ready, where checkReady is set
	toState, toReady      uint64
}

const allOnes = ^uint64(0)

var (
	opRelease     = &freeOp{verb: "release", toState: allOnes}
	opMakeReady   = &freeOp{verb: "make ready", fromState: allOnes, toState: allOnes, toReady: allOnes}
	opUnrelease   = &freeOp{verb: "undo release of", fromState: allOnes, checkReady: allOnes}
	opAlloc       = &freeOp{verb: "allocate", fromState: allOnes, fromReady: allOnes, checkReady: allOnes}
	opUnalloc     = &freeOp{verb: "undo allocation of", toState: allOnes, toReady: allOnes}
	opCut         = &freeOp{verb: "cut", fromState: allOnes, fromReady: allOnes, checkReady: allOnes}
	opReplayFree  = &freeOp{verb: "replay free", toState: allOnes, toReady: allOnes}
	opReplayAlloc = &freeOp{verb: "replay allocation of", fromState: allOnes}
)

// newFreeMap returns an empty map with end 0. chunkPages is a multiple of 8. load returns
// the bitmap of a described chunk (bit i of byte i/8, lowest first; 1 = free); it is
// called once per chunk, and again only after it failed.
func newFreeMap(chunkPages int, load func(chunk int) ([]byte, error)) *freeMap {
	m := &freeMap{chunkPages: chunkPages, load: load, log: make(map[int][]freeRecord)}
	if chunkPages <= 0 || chunkPages%8 != 0 || chunkPages > maxChunkPages {
		m.chunkPages = 8
		m.fail(fmt.Errorf("%w: %d pages in a chunk", errFreeMapUse, chunkPages))
	}
	return m
}

// describe announces a chunk that is on disk: how many pages are free and an upper bound
// of its longest free run. It comes before any replay into the chunk.
func (m *freeMap) describe(chunk int, free, maxRun uint32) {
	if chunk < 0 || chunk >= maxFreeChunks {
		m.fail(fmt.Errorf("%w: describe chunk %d", errFreeMapDamaged, chunk))
		return
	}
	if uint64(free) > uint64(m.chunkPages) || maxRun > free || free > 0 && maxRun == 0 {
		m.fail(fmt.Errorf("%w: chunk %d with %d free pages, longest run %d", errFreeMapDamaged, chunk, free, maxRun))
		return
	}
	m.grow(chunk)
	c := &m.chunks[chunk]
	if c.onDisk || c.bits != nil || m.log[chunk] != nil || m.load == nil {
		m.fail(fmt.Errorf("%w: describe chunk %d, which is known already or cannot be loaded", errFreeMapUse, chunk))
		return
	}
	c.onDisk = true
	c.maxRun = int(maxRun)
	c.head, c.tail = c.maxRun, c.maxRun
	m.account(chunk, int(free), int(free))
}

// setEnd moves the high-water mark. Lowering it clears both bits of the pages cut off,
// which must all be ready; raising it adds pages that are not free. It returns no error:
// a failure makes every later operation fail.
func (m *freeMap) setEnd(pages uint64) {
	if m.err != nil {
		return
	}
	if pages > m.maxPages() {
		m.fail(fmt.Errorf("%w: end at %d pages, more than %d", errFreeMapUse, pages, m.maxPages()))
		return
	}
	if pages < m.pages {
		if err := m.apply(opCut, pages, m.pages-pages); err != nil {
			m.fail(err)
			return
		}
		size := uint64(m.chunkPages)
		for i := int((pages + size - 1) / size); i < len(m.chunks); i++ {
			if m.chunks[i].bits != nil {
				m.chunks[i] = freeChunk{}
			}
		}
	}
	m.pages = pages
}

// end returns the high-water mark in pages.
func (m *freeMap) end() uint64 { return m.pages }

// freePages returns the number of free pages, ready or not.
func (m *freeMap) freePages() uint64 { return m.free }

// readyPages returns the number of pages that may be allocated now.
func (m *freeMap) readyPages() uint64 { return m.ready }

// setLowestFirst makes allocations take the lowest pages that fit.
func (m *freeMap) setLowestFirst(on bool) { m.lowest = on }

// replay applies a log record at open; pages it frees are ready at once. A chunk that is
// not loaded remembers it. The range may lie above the end, of which only the sum of all
// records counts: the chunk's load finds what is left there. It returns no error: a bad
// record makes every later operation fail.
func (m *freeMap) replay(start, n uint64, free bool) {
	if m.err != nil {
		return
	}
	op := opReplayAlloc
	if free {
		op = opReplayFree
	}
	if err := m.checkRange(op, start, n, m.maxPages()); err != nil {
		m.fail(fmt.Errorf("%w: %w", errFreeMapDamaged, err))
		return
	}
	for p, stop := start, start+n; p < stop; {
		i, from, to := m.segment(p, stop)
		if err := m.replayChunk(op, i, from, to); err != nil {
			m.fail(fmt.Errorf("%w: %w", errFreeMapDamaged, err))
			return
		}
		p += uint64(to - from)
	}
}

func (m *freeMap) replayChunk(op *freeOp, i, from, to int) error {
	m.grow(i)
	c := &m.chunks[i]
	if c.bits != nil {
		return m.apply(op, m.page(i, from), uint64(to-from))
	}
	n := to - from
	if op == opReplayAlloc {
		if n > c.free {
			return fmt.Errorf("%s pages %d+%d: only %d pages of chunk %d are free", op.verb, m.page(i, from), n, c.free, i)
		}
		n = -n
	} else {
		if n > m.chunkPages-c.free {
			return fmt.Errorf("%s pages %d+%d: %d pages of chunk %d are free already", op.verb, m.page(i, from), n, c.free, i)
		}
		// The pages may join two runs.
		c.maxRun = min(2*c.maxRun+n, m.chunkPages)
		c.head, c.tail = c.maxRun, c.maxRun
	}
	m.log[i] = append(m.log[i], freeRecord{op: op, from: from, to: to})
	m.dirty.set(i)
	m.account(i, n, n)
	return nil
}

// release frees pages that the commit under way no longer uses; they are not ready.
func (m *freeMap) release(start, n uint64) error { return m.apply(opRelease, start, n) }

// makeReady allows free pages to be allocated.
func (m *freeMap) makeReady(start, n uint64) error { return m.apply(opMakeReady, start, n) }

// unrelease undoes release, as long as the pages are not ready.
func (m *freeMap) unrelease(start, n uint64) error { return m.apply(opUnrelease, start, n) }

// unalloc undoes alloc and allocUpTo.
func (m *freeMap) unalloc(start, n uint64) error {
	if err := m.apply(opUnalloc, start, n); err != nil {
		return err
	}
	// Transactions that fail over and over must not walk the cursor through the file.
	if m.cursor == start+n {
		m.cursor = start
	}
	if m.runCursor == start+n {
		m.runCursor = start
	}
	return nil
}

// tailReady returns the number of ready pages directly below the end.
func (m *freeMap) tailReady() (uint64, error) {
	if m.err != nil {
		return 0, m.err
	}
	return m.readyBefore(m.pages)
}

// isFree tells whether page is free, ready or not.
func (m *freeMap) isFree(page uint64) (bool, error) {
	if m.err != nil {
		return false, m.err
	}
	if page >= m.pages {
		return false, fmt.Errorf("%w: page %d is beyond the end at %d", errFreeMapUse, page, m.pages)
	}
	i, off := m.locate(page)
	if i >= len(m.chunks) || m.chunks[i].free == 0 {
		return false, nil
	}
	c, err := m.chunk(i)
	if err != nil {
		return false, err
	}
	return c.bits.has(off), nil
}

// forEachFree calls fn with every run of free pages in ascending order, until it returns
// false. fn must not change the map. All chunks with free pages are loaded.
func (m *freeMap) forEachFree(fn func(start, n uint64) bool) error {
	if m.err != nil {
		return m.err
	}
	start, n := uint64(0), uint64(0)
	for i := range m.chunks {
		if m.chunks[i].free == 0 {
			continue
		}
		c, err := m.chunk(i)
		if err != nil {
			return err
		}
		state := c.state()
		for p := state.nextSet(0, m.chunkPages); p < m.chunkPages; {
			q := state.nextClear(p, m.chunkPages)
			if n > 0 && m.page(i, p) != start+n {
				if !fn(start, n) {
					return nil
				}
				n = 0
			}
			if n == 0 {
				start = m.page(i, p)
			}
			n += uint64(q - p)
			p = state.nextSet(q, m.chunkPages)
		}
	}
	if n > 0 {
		fn(start, n)
	}
	return nil
}

// chunkBitmap returns a new copy of the state bits of a chunk, for writing, with the
// number of free pages and their longest run.
func (m *freeMap) chunkBitmap(chunk int) (dump []byte, free, maxRun uint32, err error) {
	if m.err != nil {
		return nil, 0, 0, m.err
	}
	if chunk < 0 || chunk >= len(m.chunks) && (chunk >= maxFreeChunks || m.page(chunk, 0) >= m.pages) {
		return nil, 0, 0, fmt.Errorf("%w: chunk %d is beyond the end at page %d", errFreeMapUse, chunk, m.pages)
	}
	dump = make([]byte, m.chunkPages/8)
	if chunk >= len(m.chunks) {
		return dump, 0, 0, nil
	}
	c, err := m.chunk(chunk)
	if err != nil {
		return nil, 0, 0, err
	}
	state := c.state()
	for i := range dump {
		dump[i] = byte(state[i/8] >> (8 * (i % 8)))
	}
	_, longest := state.find(0, m.chunkPages, m.chunkPages+1)
	return dump, uint32(c.free), uint32(longest), nil
}

// dirtyChunks returns, in ascending order, the chunks whose state changed since clearDirty.
// Chunks that setEnd cut off are among them: their dump is empty.
func (m *freeMap) dirtyChunks() []int {
	var list []int
	for i := m.dirty.nextSet(0, len(m.chunks)); i < len(m.chunks); i = m.dirty.nextSet(i+1, len(m.chunks)) {
		list = append(list, i)
	}
	return list
}

// clearDirty says that the bitmap of the chunk was dumped.
func (m *freeMap) clearDirty(chunk int) {
	if chunk >= 0 && chunk < len(m.chunks) {
		m.dirty.clear(chunk)
	}
}

// markDirty undoes clearDirty, for a commit that failed after a dump.
func (m *freeMap) markDirty(chunk int) {
	m.grow(chunk)
	m.dirty.set(chunk)
}

// apply changes both bits of a range, after checking all of it.
func (m *freeMap) apply(op *freeOp, start, n uint64) error {
	if m.err != nil {
		return m.err
	}
	if err := m.checkRange(op, start, n, m.pages); err != nil {
		return err
	}
	stop := start + n
	for p := start; p < stop; {
		i, from, to := m.segment(p, stop)
		c, err := m.chunk(i)
		if err != nil {
			return err
		}
		if bad := c.conflict(op, from, to); bad >= 0 {
			return fmt.Errorf("%w: %s pages %d+%d: page %d is %s", errFreeMapUse, op.verb, start, n, m.page(i, bad), c.describePage(bad))
		}
		p += uint64(to - from)
	}
	for p := start; p < stop; {
		i, from, to := m.segment(p, stop)
		c := &m.chunks[i]
		free, ready := c.change(op, from, to)
		m.account(i, free, ready)
		if op.toReady != 0 {
			c.raiseBounds(from, to, m.chunkPages)
		} else {
			c.lowerBounds(from, to, m.chunkPages)
		}
		if op.fromState != op.toState {
			m.dirty.set(i)
		}
		p += uint64(to - from)
	}
	return nil
}

func (m *freeMap) checkRange(op *freeOp, start, n, end uint64) error {
	if n == 0 || n > end || start > end-n {
		return fmt.Errorf("%w: %s pages %d+%d: empty or beyond the end at page %d", errFreeMapUse, op.verb, start, n, end)
	}
	if start < firstFreePage {
		return fmt.Errorf("%w: %s pages %d+%d: page %d is a meta page", errFreeMapUse, op.verb, start, n, start)
	}
	return nil
}

// chunk returns a loaded chunk. The pointer holds until the next call of grow.
func (m *freeMap) chunk(i int) (*freeChunk, error) {
	m.grow(i)
	c := &m.chunks[i]
	if c.bits != nil {
		return c, nil
	}
	loaded := freeChunk{bits: make(freeBits, 2*((m.chunkPages+63)/64))}
	if c.onDisk {
		data, err := m.load(i)
		if err != nil {
			return nil, fmt.Errorf("load free map chunk %d: %w", i, err)
		}
		if len(data) != m.chunkPages/8 {
			return nil, fmt.Errorf("%w: chunk %d has %d bytes, want %d", errFreeMapDamaged, i, len(data), m.chunkPages/8)
		}
		for k, b := range data {
			loaded.bits[k/8] |= uint64(b) << (8 * (k % 8))
		}
	}
	for _, r := range m.log[i] {
		if bad := loaded.conflict(r.op, r.from, r.to); bad >= 0 {
			return nil, fmt.Errorf("%w: %s pages %d+%d: page %d is %s", errFreeMapDamaged, r.op.verb, m.page(i, r.from), r.to-r.from, m.page(i, bad), loaded.describePage(bad))
		}
		loaded.change(r.op, r.from, r.to)
	}
	if err := m.checkLoaded(i, loaded.state()); err != nil {
		return nil, err
	}
	copy(loaded.readyBits(), loaded.state())
	c.bits = loaded.bits
	_, c.maxRun = c.state().find(0, m.chunkPages, m.chunkPages+1)
	c.head = c.state().nextClear(0, m.chunkPages)
	c.tail = m.chunkPages - c.state().runStart(m.chunkPages, 0)
	delete(m.log, i)
	return c, nil
}

// checkLoaded compares a chunk, log applied, with what was known before it was loaded.
func (m *freeMap) checkLoaded(i int, state freeBits) error {
	c := &m.chunks[i]
	free := 0
	for _, w := range state {
		free += bits.OnesCount64(w)
	}
	_, longest := state.find(0, m.chunkPages, m.chunkPages+1)
	if free != c.free || longest > c.maxRun {
		return fmt.Errorf("%w: chunk %d has %d free pages, longest run %d, want %d and at most %d", errFreeMapDamaged, i, free, longest, c.free, c.maxRun)
	}
	if first := m.page(i, state.nextSet(0, m.chunkPages)); free > 0 && first < firstFreePage {
		return fmt.Errorf("%w: meta page %d is free", errFreeMapDamaged, first)
	}
	above := 0
	if base := m.page(i, 0); base < m.pages {
		above = int(min(m.pages-base, uint64(m.chunkPages)))
	}
	if p := state.nextSet(above, m.chunkPages); p < m.chunkPages {
		return fmt.Errorf("%w: page %d is free beyond the end at page %d", errFreeMapDamaged, m.page(i, p), m.pages)
	}
	return nil
}

// grow makes chunks[i] exist.
func (m *freeMap) grow(i int) {
	if i < len(m.chunks) {
		return
	}
	m.chunks = append(m.chunks, make([]freeChunk, i+1-len(m.chunks))...)
	words := (len(m.chunks) + 63) / 64
	m.hasReady = append(m.hasReady, make(freeBits, words-len(m.hasReady))...)
	m.dirty = append(m.dirty, make(freeBits, words-len(m.dirty))...)
}

// account adds to the counters of chunk i and of the map.
func (m *freeMap) account(i, free, ready int) {
	c := &m.chunks[i]
	c.free += free
	c.ready += ready
	c.maxRun = min(c.maxRun, c.ready)
	// A negative number converts to its two's complement, which subtracts.
	m.free += uint64(free)
	m.ready += uint64(ready)
	if c.ready > 0 {
		m.hasReady.set(i)
	} else {
		m.hasReady.clear(i)
	}
}

func (m *freeMap) fail(err error) {
	if m.err == nil {
		m.err = err
	}
}

func (m *freeMap) maxPages() uint64 { return maxFreeChunks * uint64(m.chunkPages) }

func (m *freeMap) page(chunk, pos int) uint64 {
	return uint64(chunk)*uint64(m.chunkPages) + uint64(pos)
}

func (m *freeMap) locate(page uint64) (chunk, pos int) {
	size := uint64(m.chunkPages)
	return int(page / size), int(page % size)
}

// segment returns the part of [page, stop) that lies in the chunk of page.
func (m *freeMap) segment(page, stop uint64) (chunk, from, to int) {
	chunk, from = m.locate(page)
	return chunk, from, from + int(min(stop-page, uint64(m.chunkPages-from)))
}
