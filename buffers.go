package lightning

import (
	"slices"
	"sync"
)

// pageBuffers keeps page-sized buffers for reuse. Their content is whatever it
// was. Safe for concurrent use.
type pageBuffers struct {
	mu   sync.Mutex
	size int
	free [][]byte
}

// maxFreeBuffers bounds the memory that idle buffers keep: 8 MiB of 4 KiB pages,
// which a transaction of a thousand keys in random order takes most of.
const maxFreeBuffers = 2048

func (p *pageBuffers) get() []byte {
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return b
	}
	p.mu.Unlock()
	return make([]byte, p.size)
}

func (p *pageBuffers) put(b []byte) {
	p.mu.Lock()
	if len(p.free) < maxFreeBuffers {
		p.free = append(p.free, b)
	}
	p.mu.Unlock()
}

// extentBuffers keeps the buffers of values that have extents of their own for
// reuse. Their content is whatever it was. Safe for concurrent use.
type extentBuffers struct {
	mu    sync.Mutex
	free  [][]byte
	bytes int
}

// maxFreeExtentBytes bounds the memory that idle buffers of extents keep.
const maxFreeExtentBytes = 8 << 20

// get returns a buffer of n bytes.
func (p *extentBuffers) get(n int) []byte {
	p.mu.Lock()
	for i, b := range p.free {
		if cap(b) >= n && cap(b)/2 <= n {
			p.free = slices.Delete(p.free, i, i+1)
			p.bytes -= cap(b)
			p.mu.Unlock()
			return b[:n]
		}
	}
	p.mu.Unlock()
	return make([]byte, n)
}

func (p *extentBuffers) put(b []byte) {
	p.mu.Lock()
	if p.bytes+cap(b) <= maxFreeExtentBytes {
		p.free = append(p.free, b)
		p.bytes += cap(b)
	}
	p.mu.Unlock()
}

// maxReuse bounds the elements of a slice that is kept for reuse.
const maxReuse = 4096

// reuse returns s without elements, or nil if its storage is too long to keep.
func reuse[T any](s []T) []T {
	if cap(s) > maxReuse {
		return nil
	}
	return s[:0]
}
