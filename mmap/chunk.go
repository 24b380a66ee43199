package mmap

import (
	"errors"
	"sort"

	mmapgo "github.com/edsrzf/mmap-go"
)

// mapping is a mapped range of the file outside the first mapping.
type mapping struct {
	off  int64 // multiple of granularity
	data mmapgo.MMap
}

func (c mapping) end() int64 { return c.off + int64(len(c.data)) }

// slice returns [off, off+n) if c holds all of it.
func (c mapping) slice(off int64, n int) ([]byte, bool) {
	if off < c.off || off+int64(n) > c.end() {
		return nil, false
	}
	return c.data[off-c.off:][:n:n], true
}

// mappings is an immutable set of mappings.
type mappings struct {
	chunks    []mapping // by offset and by end; with first they cover [0, end)
	straddles []mapping // own mappings of extents that no chunk holds whole
	end       int64     // what is below is mapped
}

func (s *mappings) all() []mapping {
	return append(s.chunks[:len(s.chunks):len(s.chunks)], s.straddles...)
}

func (s *mappings) contains(addr uintptr) bool {
	for _, c := range s.chunks {
		if within(c.data, addr) {
			return true
		}
	}
	for _, c := range s.straddles {
		if within(c.data, addr) {
			return true
		}
	}
	return false
}

// find returns [off, off+n) from the mapping that holds all of it.
func (s *mappings) find(off int64, n int) ([]byte, bool) {
	end := off + int64(n)
	i := sort.Search(len(s.chunks), func(i int) bool { return s.chunks[i].end() >= end })
	if i < len(s.chunks) {
		if b, ok := s.chunks[i].slice(off, n); ok {
			return b, true
		}
	}
	for _, c := range s.straddles {
		if b, ok := c.slice(off, n); ok {
			return b, true
		}
	}
	return nil, false
}

// atMore is At for ranges that the first mapping does not hold.
func (m *Map) atMore(off int64, n int) ([]byte, bool) {
	s := m.more.Load()
	if off < 0 || n < 0 || off > s.end-int64(n) {
		return nil, false
	}
	if b, ok := s.find(off, n); ok {
		return b, true
	}
	return m.straddle(off, n)
}

// straddle maps a range that crosses two mappings once more, as a whole, and
// keeps that for the next reader.
func (m *Map) straddle(off int64, n int) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, false
	}
	s := m.more.Load()
	if b, ok := s.find(off, n); ok { // another reader was faster
		return b, true
	}
	c, err := m.mapRangeLocked(off, off+int64(n))
	if err != nil {
		return nil, false
	}
	m.more.Store(&mappings{
		chunks:    s.chunks,
		straddles: append(s.straddles[:len(s.straddles):len(s.straddles)], c),
		end:       s.end,
	})
	return c.slice(off, n)
}

// mapToLocked maps a chunk from the end of what is mapped to size.
func (m *Map) mapToLocked(size int64) error {
	s := m.more.Load()
	if size <= s.end {
		return nil
	}
	if !m.chunked {
		return ErrAddressSpace
	}
	c, err := m.mapRangeLocked(s.end, size)
	if err != nil {
		return err
	}
	m.more.Store(&mappings{
		chunks:    append(s.chunks[:len(s.chunks):len(s.chunks)], c),
		straddles: s.straddles,
		end:       size,
	})
	return nil
}

// mapRangeLocked maps the file's range [from, to), and from the granule on
// in which it begins.
func (m *Map) mapRangeLocked(from, to int64) (mapping, error) {
	off := from &^ (granularity - 1)
	b, err := mapRegion(m.f, off, to-off)
	if err != nil {
		return mapping{}, err
	}
	if m.random {
		if err := advise(b, true); err != nil {
			return mapping{}, errors.Join(err, b.Unmap())
		}
	}
	return mapping{off: off, data: b}, nil
}
