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
func (k kernel) compress() {
	for g := range k.groups {
		v := k.state(g)
		for i := range iv {
			VPBROADCASTD(k.iv.Offset(4*i), v[8+i])
		}
		VPBROADCASTD(k.blockLen, v[14])
		VPBROADCASTD(k.flags(), v[15])
	}
	var order [16]int // of the message's words in this round
	for i := range order {
		order[i] = i
	}
	for round := range 7 {
		Commentf("Round %d.", round+1)
		k.mix(0, order[:8])
		k.mix(1, order[8:])
		var next [16]int
		for i, from := range permutation {
			next[i] = order[from]
		}
		order = next
	}
	Comment("The new chaining values.")
	for g := range k.groups {
		v := k.state(g)
		for i := range 8 {
			k.xor(v[8+i], v[i])
		}
	}
}

// quad is the four words that a mixing function works on, and where they are.
type quad struct {
	group      int
	a, b, c, d reg.VecPhysical
	x, y       Op // words of the message
}

// mix emits the four mixing functions of half a round, for all groups, side
// by side: on the columns of the state for diagonal 0, on its diagonals for
// 1. Words are the message's, two for each function.
func (k kernel) mix(diagonal int, words []int) {
	var quads []quad
	for g := range k.groups {
		v := k.state(g)
		for i := range 4 {
			quads = append(quads, quad{
				group: g,
				a:     v[i],
				b:     v[4+(i+diagonal)%4],
				c:     v[8+(i+2*diagonal)%4],
				d:     v[12+(i+3*diagonal)%4],
				x:     k.message(g, words[2*i]),
				y:     k.message(g, words[2*i+1]),
			})
		}
	}
	each := func(step func(q quad)) {
		for _, q := range quads {
			step(q)
		}
	}
	// The message first: it does not wait for the last result in b.
	each(func(q quad) { VPADDD(q.x, q.a, q.a) })
	each(func(q quad) { VPADDD(q.b, q.a, q.a) })
	each(func(q quad) { k.xor(q.a, q.d) })
	each(func(q quad) { k.rotateBytes(16, q.d) })
	each(func(q quad) { VPADDD(q.d, q.c, q.c) })
	each(func(q quad) { k.xor(q.c, q.b) })
	k.rotate(12, quads)
	each(func(q quad) { VPADDD(q.y, q.a, q.a) })
	each(func(q quad) { VPADDD(q.b, q.a, q.a) })
	each(func(q quad) { k.xor(q.a, q.d) })
	each(func(q quad) { k.rotateBytes(8, q.d) })
	each(func(q quad) { VPADDD(q.d, q.c, q.c) })
	each(func(q quad) { k.xor(q.c, q.b) })
	k.rotate(7, quads)
}

// rotate emits the rotation of b right by any number of bits. Without evex
// that takes a free register: the first c is put aside meanwhile.
func (k kernel) rotate(bits int, quads []quad) {
	if k.evex {
		for _, q := range quads {
			VPRORD(Imm(uint64(bits)), q.b, q.b)
		}
		return
	}
	free, spill := quads[0].c, k.slot(0, slotSpill)
	k.store(free, spill)
	for _, q := range quads {
		VPSLLD(Imm(uint64(32-bits)), q.b, free)
		VPSRLD(Imm(uint64(bits)), q.b, q.b)
		VPOR(free, q.b, q.b)
	}
	k.load(spill, free)
}

// rotateBytes emits the rotation of a word right by 8 or 16 bits.
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

// message is the place of a word of a group's block.
func (k kernel) message(group, word int) Op {
	if k.inMemory() {
		return k.slot(group, slotMessage+word)
	}
	return k.regs[16+word]
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
