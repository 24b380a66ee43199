package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// compress emits the compression of one block a lane. The chaining values
// are in words 0 to 7 of the state and are replaced, the counters are in
// words 12 and 13, the message is where loadMessage puts it, and the flags
// are in their slot.
func (k kernel) compress(tmp reg.Register) {
	for i := range iv {
		VPBROADCASTD(k.iv.Offset(4*i), k.v(8+i))
	}
	VPBROADCASTD(k.blockLen, k.v(14))
	VPBROADCASTD(k.slot(tmp, k.slots().flags), k.v(15))

	var order [16]int // of the message's words in this round
	for i := range order {
		order[i] = i
	}
	for round := range 7 {
		Commentf("Round %d.", round+1)
		k.mix(tmp, 0, order[:8])
		k.mix(tmp, 1, order[8:])
		var next [16]int
		for i, from := range permutation {
			next[i] = order[from]
		}
		order = next
	}
	Comment("The new chaining values.")
	for i := range 8 {
		k.xor(k.v(8+i), k.v(i))
	}
}

// mix emits the four mixing functions of half a round side by side: on the
// columns of the state for diagonal 0, on its diagonals for 1. Words are the
// message's, two for each function.
func (k kernel) mix(tmp reg.Register, diagonal int, words []int) {
	var a, b, c, d [4]reg.VecPhysical
	for i := range 4 {
		a[i] = k.v(i)
		b[i] = k.v(4 + (i+diagonal)%4)
		c[i] = k.v(8 + (i+2*diagonal)%4)
		d[i] = k.v(12 + (i+3*diagonal)%4)
	}
	for half, bits := range [2]struct{ d, b int }{{16, 12}, {8, 7}} {
		for i := range 4 {
			// The message first: it does not wait for the last result in b.
			VPADDD(k.message(tmp, words[2*i+half]), a[i], a[i])
		}
		for i := range 4 {
			VPADDD(b[i], a[i], a[i])
		}
		for i := range 4 {
			k.xor(a[i], d[i])
		}
		for i := range 4 {
			k.rotateBytes(bits.d, d[i])
		}
		for i := range 4 {
			if i == 0 && half == 1 && !k.evex {
				VPADDD(k.slot(tmp, k.slots().spill), d[i], c[i])
				continue
			}
			VPADDD(d[i], c[i], c[i])
		}
		for i := range 4 {
			k.xor(c[i], b[i])
		}
		k.rotateAll(tmp, bits.b, b, c[0], half == 1)
	}
}

// rotateAll rotates the words of four vectors right. Without evex that takes
// a free register: lent is put aside for it, in the spill slot, and comes
// back if restore is set.
func (k kernel) rotateAll(tmp reg.Register, bits int, vs [4]reg.VecPhysical, lent reg.VecPhysical, restore bool) {
	if k.evex {
		for _, v := range vs {
			VPRORD(Imm(uint64(bits)), v, v)
		}
		return
	}
	k.store(lent, k.slot(tmp, k.slots().spill))
	for _, v := range vs {
		VPSLLD(Imm(uint64(32-bits)), v, lent)
		VPSRLD(Imm(uint64(bits)), v, v)
		VPOR(lent, v, v)
	}
	if restore {
		k.load(k.slot(tmp, k.slots().spill), lent)
	}
}

// rotateBytes rotates the words of a vector right by 8 or 16 bits.
func (k kernel) rotateBytes(bits int, v reg.VecPhysical) {
	switch {
	case k.evex:
		VPRORD(Imm(uint64(bits)), v, v)
	case bits == 16:
		VPSHUFB(k.rotate16, v, v)
	default:
		VPSHUFB(k.rotate8, v, v)
	}
}

// message is the place of a word of the block.
func (k kernel) message(tmp reg.Register, word int) Op {
	if k.evex {
		return k.regs[16+word]
	}
	return k.slot(tmp, k.slots().message+word)
}

// xor sets v to v ^ by.
func (k kernel) xor(by, v reg.VecPhysical) {
	if k.evex {
		VPXORD(by, v, v)
		return
	}
	VPXOR(by, v, v)
}

func (k kernel) load(from Mem, to reg.VecPhysical) {
	if k.evex {
		VMOVDQU32(from, to)
		return
	}
	VMOVDQU(from, to)
}

func (k kernel) store(from reg.VecPhysical, to Mem) {
	if k.evex {
		VMOVDQU32(from, to)
		return
	}
	VMOVDQU(from, to)
}
