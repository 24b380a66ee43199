package lightning

import (
	"fmt"
)

// alloc takes a run of n ready pages. ok is false when there is none.
func (m *freeMap) alloc(n uint64) (start uint64, ok bool, err error) {
	start, ok, err = m.find(n)
	if err != nil || !ok {
		return 0, false, err
	}
	if err := m.take(start, n, n); err != nil {
		return 0, false, err
	}
	return start, true, nil
}

// allocUpTo takes the next run of ready pages, at most n long. It passes over shorter
// runs when a run of n pages lies close behind. ok is false when no page is ready.
func (m *freeMap) allocUpTo(n uint64) (start, got uint64, ok bool, err error) {
	if n == 0 {
		return 0, 0, false, fmt.Errorf("%w: allocate 0 pages", errFreeMapUse)
	}
	start, ok, err = m.find(1)
	if err != nil || !ok {
		return 0, 0, false, err
	}
	got, err = m.readyAfter(start, n)
	if err != nil {
		return 0, 0, false, err
	}
	if got < n && !m.lowest {
		if full, found := m.lookAhead(start+got, n); found {
			start, got = full, n
		}
	}
	if err := m.take(start, got, 1); err != nil {
		return 0, 0, false, err
	}
	return start, got, true, nil
}

// lookAhead searches the next pages of one chunk for n ready ones, without loading it.
func (m *freeMap) lookAhead(from, n uint64) (uint64, bool) {
	i, off := m.locate(from)
	if i >= len(m.chunks) || n > lookAheadPages {
		return 0, false
	}
	c := &m.chunks[i]
	if c.bits == nil || c.maxRun < int(n) {
		return 0, false
	}
	pos, _ := c.readyBits().find(off, min(m.chunkPages, off+lookAheadPages), int(n))
	if pos < 0 {
		return 0, false
	}
	return m.page(i, pos), true
}

// take clears a run that was found by a search for want pages and moves that search on.
func (m *freeMap) take(start, n, want uint64) error {
	if err := m.apply(opAlloc, start, n); err != nil {
		return err
	}
	if !m.lowest {
		*m.cursorFor(want) = start + n
	}
	return nil
}

func (m *freeMap) cursorFor(n uint64) *uint64 {
	if n <= smallRunPages {
		return &m.cursor
	}
	return &m.runCursor
}

// find returns a run of n ready pages: the next one from the cursor on, or the lowest.
func (m *freeMap) find(n uint64) (uint64, bool, error) {
	if m.err != nil {
		return 0, false, m.err
	}
	if n == 0 {
		return 0, false, fmt.Errorf("%w: allocate 0 pages", errFreeMapUse)
	}
	if n > m.ready {
		return 0, false, nil
	}
	first, off := 0, 0
	// A run longer than a chunk can start before the cursor's chunk and end behind it:
	// only a search from the start sees all of it.
	if !m.lowest && n <= uint64(m.chunkPages) {
		first, off = m.locate(*m.cursorFor(n))
	}
	if first >= len(m.chunks) {
		first, off = 0, 0
	}
	page, ok, err := m.findIn(first, len(m.chunks), off, n)
	if ok || err != nil || first == 0 && off == 0 {
		return page, ok, err
	}
	return m.findIn(0, first+1, 0, n)
}

// findIn searches the chunks [i, stop), the first one from position off.
func (m *freeMap) findIn(i, stop, off int, n uint64) (uint64, bool, error) {
	before := uint64(0) // bound of the ready run that ends where chunk i starts
	for {
		next := m.hasReady.nextSet(i, stop)
		if next >= stop {
			return 0, false, nil
		}
		if next != i {
			i, off, before = next, 0, 0
		}
		c := &m.chunks[i]
		if before > 0 && before+uint64(c.head) >= n {
			back, ahead, err := m.measureBorder(i)
			if err != nil {
				return 0, false, err
			}
			if back+ahead >= n {
				return m.page(i, 0) - back, true, nil
			}
			before = back
		}
		if uint64(c.maxRun) >= n {
			pos, err := m.findInChunk(i, off, int(n))
			if err != nil {
				return 0, false, err
			}
			if pos >= 0 {
				return m.page(i, pos), true, nil
			}
		}
		if c.ready == m.chunkPages {
			before += uint64(m.chunkPages)
		} else {
			before = uint64(c.tail)
		}
		i, off = i+1, 0
	}
}

func (m *freeMap) findInChunk(i, off, n int) (int, error) {
	c, err := m.chunk(i)
	if err != nil {
		return -1, err
	}
	pos, longest := c.readyBits().find(off, m.chunkPages, n)
	if pos < 0 && off == 0 {
		c.maxRun = longest
	}
	return pos, nil
}

// measureBorder returns the exact lengths of the ready runs that end and start where
// chunk i starts, and tightens the bounds of the two chunks.
func (m *freeMap) measureBorder(i int) (back, ahead uint64, err error) {
	back, err = m.readyBefore(m.page(i, 0))
	if err != nil {
		return 0, 0, err
	}
	ahead, err = m.readyAfter(m.page(i, 0), uint64(m.chunkPages))
	if err != nil {
		return 0, 0, err
	}
	m.chunks[i-1].tail = int(min(back, uint64(m.chunkPages)))
	m.chunks[i].head = int(ahead)
	return back, ahead, nil
}

// readyAfter returns how many pages from page on are ready in a row, at most limit.
func (m *freeMap) readyAfter(page, limit uint64) (uint64, error) {
	got := uint64(0)
	for got < limit {
		i, off := m.locate(page + got)
		if i >= len(m.chunks) || m.chunks[i].ready == 0 {
			break
		}
		c, err := m.chunk(i)
		if err != nil {
			return 0, err
		}
		stop := off + int(min(limit-got, uint64(m.chunkPages-off)))
		q := c.readyBits().nextClear(off, stop)
		got += uint64(q - off)
		if q < m.chunkPages {
			break
		}
	}
	return got, nil
}

// readyBefore returns how many pages directly below page are ready in a row.
func (m *freeMap) readyBefore(page uint64) (uint64, error) {
	got := uint64(0)
	for got < page {
		i, off := m.locate(page - got - 1)
		off++
		if i >= len(m.chunks) || m.chunks[i].ready == 0 {
			break
		}
		p := 0
		if m.chunks[i].ready < m.chunkPages {
			c, err := m.chunk(i)
			if err != nil {
				return 0, err
			}
			p = c.readyBits().runStart(off, 0)
		}
		got += uint64(off - p)
		if p > 0 {
			break
		}
	}
	return got, nil
}
