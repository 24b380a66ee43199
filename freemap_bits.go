package lightning

import "math/bits"

func (c *freeChunk) state() freeBits     { return c.bits[:len(c.bits)/2] }
func (c *freeChunk) readyBits() freeBits { return c.bits[len(c.bits)/2:] }

// conflict returns the first page of [from, to) that op does not apply to, or -1.
func (c *freeChunk) conflict(op *freeOp, from, to int) int {
	state, ready := c.state(), c.readyBits()
	for w := from / 64; w*64 < to; w++ {
		bad := (state[w] ^ op.fromState) | (ready[w]^op.fromReady)&op.checkReady
		if bad &= wordMask(w, from, to); bad != 0 {
			return w*64 + bits.TrailingZeros64(bad)
		}
	}
	return -1
}

// change applies op to [from, to) and returns by how much the two counts changed.
func (c *freeChunk) change(op *freeOp, from, to int) (free, ready int) {
	states, readies := c.state(), c.readyBits()
	for w := from / 64; w*64 < to; w++ {
		mask := wordMask(w, from, to)
		s, r := states[w], readies[w]
		states[w] = s&^mask | op.toState&mask
		readies[w] = r&^mask | op.toReady&mask
		free += bits.OnesCount64(states[w]) - bits.OnesCount64(s)
		ready += bits.OnesCount64(readies[w]) - bits.OnesCount64(r)
	}
	return free, ready
}

// raiseBounds follows that [from, to) became ready. The run around it is measured a
// little way only; beyond that, the old longest run bounds what may join.
func (c *freeChunk) raiseBounds(from, to, size int) {
	ready := c.readyBits()
	floor, ceiling := max(0, from-boundLookPages), min(size, to+boundLookPages)
	lo, hi := ready.runStart(from, floor), ready.nextClear(to, ceiling)
	if lo == floor {
		lo = max(0, min(lo, from-c.maxRun))
	}
	if hi == ceiling {
		hi = min(size, max(hi, to+c.maxRun))
	}
	c.maxRun = min(max(c.maxRun, hi-lo), c.ready)
	if lo == 0 {
		c.head = max(c.head, hi)
	}
	if hi == size {
		c.tail = max(c.tail, size-lo)
	}
}

// lowerBounds follows that [from, to) is not ready.
func (c *freeChunk) lowerBounds(from, to, size int) {
	c.head = min(c.head, from)
	c.tail = min(c.tail, size-to)
}

func (c *freeChunk) describePage(pos int) string {
	switch {
	case c.readyBits().has(pos):
		return "free and ready"
	case c.state().has(pos):
		return "free, not ready"
	}
	return "in use"
}

// freeBits is a string of bits, lowest first in each word.
type freeBits []uint64

func (b freeBits) has(i int) bool { return b[i/64]>>(i%64)&1 != 0 }
func (b freeBits) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b freeBits) clear(i int)    { b[i/64] &^= 1 << (i % 64) }

// nextSet returns the first set position in [from, limit), or limit.
func (b freeBits) nextSet(from, limit int) int {
	if from >= limit {
		return limit
	}
	w := from / 64
	x := b[w] &^ (1<<(from%64) - 1)
	for x == 0 {
		if w++; w*64 >= limit {
			return limit
		}
		x = b[w]
	}
	return min(limit, w*64+bits.TrailingZeros64(x))
}

// nextClear returns the first clear position in [from, limit), or limit.
func (b freeBits) nextClear(from, limit int) int {
	if from >= limit {
		return limit
	}
	w := from / 64
	x := ^b[w] &^ (1<<(from%64) - 1)
	for x == 0 {
		if w++; w*64 >= limit {
			return limit
		}
		x = ^b[w]
	}
	return min(limit, w*64+bits.TrailingZeros64(x))
}

// runStart returns the lowest position p, at least floor, such that [p, end) is set.
func (b freeBits) runStart(end, floor int) int {
	if end <= floor {
		return end
	}
	w := (end - 1) / 64
	x := ^b[w] & wordMask(w, 0, end)
	for x == 0 {
		if w*64 <= floor {
			return floor
		}
		w--
		x = ^b[w]
	}
	return max(floor, w*64+64-bits.LeadingZeros64(x))
}

// find returns the first position in [from, limit) where n set bits start, or -1 and the
// length of the longest run it saw.
func (b freeBits) find(from, limit, n int) (pos, longest int) {
	for p := b.nextSet(from, limit); p < limit; {
		q := b.nextClear(p, min(limit, p+n))
		if q-p >= n {
			return p, n
		}
		longest = max(longest, q-p)
		p = b.nextSet(q, limit)
	}
	return -1, longest
}

// wordMask returns the bits of word w that lie in [from, to), which must reach into it.
func wordMask(w, from, to int) uint64 {
	mask := allOnes
	if base := w * 64; from > base {
		mask <<= from - base
	}
	if top := w*64 + 64; to < top {
		mask &= allOnes >> (top - to)
	}
	return mask
}
