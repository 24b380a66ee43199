package workloads

import (
	"encoding/binary"
	"math/bits"
)

// Sizes of an entry in bytes, unless a workload says otherwise.
const (
	KeySize   = 16
	ValueSize = 100
)

// mix spreads x over 64 bits; different x give different results.
func mix(x uint64) uint64 {
	x *= 0x9e3779b97f4a7c15
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>32
}

// permutation is a fixed order of the numbers below n that looks random: an
// odd multiplication, a shift and another one within the next power of two,
// walked on where it leads out of the range.
type permutation struct {
	n, mask, first, second uint64
	shift                  uint
}

// newPermutation returns an order of the numbers below n; different seeds give
// different ones.
func newPermutation(n int, seed uint64) permutation {
	width := max(2, bits.Len64(uint64(n-1)))
	return permutation{
		n:      uint64(n),
		mask:   1<<width - 1,
		first:  mix(2*seed) | 1,
		second: mix(2*seed+1) | 1,
		shift:  uint(width+1) / 2,
	}
}

// at returns the number at place i < n.
func (p permutation) at(i int) int {
	x := uint64(i)
	for {
		x = x * p.first & p.mask
		x ^= x >> p.shift
		x = x * p.second & p.mask
		x ^= x >> p.shift
		if x < p.n {
			return int(x)
		}
	}
}

// space is the set of keys 0..n-1, numbered in ascending order of their bytes:
// evenly spread first eight bytes, then eight that look random.
type space struct {
	n    int
	step uint64
}

func newSpace(n int) space {
	return space{n: n, step: ^uint64(0) / uint64(n)}
}

// key writes the key of the given rank to dst.
func (s space) key(dst []byte, rank int) {
	binary.BigEndian.PutUint64(dst, uint64(rank)*s.step)
	binary.BigEndian.PutUint64(dst[8:], mix(uint64(rank)))
}

// keyList holds keys, made beforehand and one after the other in the order in
// which they are used, so that making them costs the measured loops nothing
// but reading memory in sequence.
type keyList []byte

func (l keyList) len() int { return len(l) / KeySize }

func (l keyList) at(i int) []byte {
	return l[i*KeySize : (i+1)*KeySize : (i+1)*KeySize]
}

// listKeys returns count keys of s from place from of order p on, starting
// again at its end. A nil p is the ascending order.
func listKeys(s space, p *permutation, from, count int) keyList {
	l := make(keyList, count*KeySize)
	for i := range count {
		rank := (from + i) % s.n
		if p != nil {
			rank = p.at(rank)
		}
		s.key(l.at(i), rank)
	}
	return l
}

// valuePool has bytes that cannot be compressed, so that no engine wins by it.
type valuePool []byte

func newValuePool(size int) valuePool {
	pool := make(valuePool, size)
	for i := 0; i+8 <= size; i += 8 {
		binary.LittleEndian.PutUint64(pool[i:], mix(uint64(i)+1))
	}
	return pool
}

// value returns size bytes that depend on i.
func (p valuePool) value(i, size int) []byte {
	at := int(mix(uint64(i)) % uint64(len(p)-size+1))
	return p[at : at+size]
}
