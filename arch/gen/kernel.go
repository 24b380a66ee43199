package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const dataAttributes = attr.RODATA | attr.NOPTR

// isa says how wide the vectors are, what the processor can do with them, and
// how many of them hold the lanes.
type isa struct {
	name     string
	quarters int  // parts of 128 bits in a vector
	groups   int  // vectors for each word: 2 fill the time in which results are waited for
	evex     bool // AVX-512: rotates, and 32 registers
	regs     []reg.VecPhysical
}

func (i isa) lanes() int    { return i.groups * i.perGroup() }
func (i isa) perGroup() int { return 4 * i.quarters }
func (i isa) width() int    { return 16 * i.quarters }

// inMemory tells that the message's words do not fit into registers.
func (i isa) inMemory() bool { return len(i.regs) < 32*i.groups }

// avx2 has 8 lanes.
func avx2() isa {
	return isa{name: "AVX2", quarters: 2, groups: 1, regs: family(reg.Y0, 16)}
}

// avx512 has 4, 8, 16 or 32 lanes; 4 and 8 use AVX512VL.
func avx512(lanes int) isa {
	i := isa{name: "AVX512", quarters: 4, groups: max(lanes/16, 1), evex: true}
	switch lanes {
	case 4:
		i.quarters, i.regs = 1, family(reg.X0, 32)
	case 8:
		i.quarters, i.regs = 2, family(reg.Y0, 32)
	default:
		i.regs = family(reg.Z0, 32)
	}
	return i
}

// family lists n vector registers as wide as first, from number 0 on.
func family(first reg.VecPhysical, n int) []reg.VecPhysical {
	var regs []reg.VecPhysical
	for _, r := range reg.Vector.Registers() {
		if r.Size() == first.Size() && len(regs) < n {
			regs = append(regs, r.(reg.VecPhysical))
		}
	}
	return regs
}

// kernel emits the functions for one isa.
//
// The functions have no frame, change neither BP nor what R14 stands for in
// the Go runtime, and call nothing: a load from mapped memory that faults
// then unwinds like any Go panic. What does not fit into registers lies in
// memory that the caller gives.
type kernel struct {
	isa
	constants
}

// Where things of a group lie in its part of the caller's scratch memory, in
// vectors. The flags, 4 bytes, are behind the last group.
const (
	slotMessage     = 0 // 16 words of the block, if they are in memory
	slotCounterLow  = 16
	slotCounterHigh = 17
	slotSpill       = 18 // without evex
	slots           = 19
)

// slot is a place in a group's scratch memory.
func (k kernel) slot(group, n int) Mem {
	return Mem{Base: scratch, Disp: (slots*group + n) * k.width()}
}

func (k kernel) flags() Mem { return k.slot(k.groups, 0) }

// state lists the registers with a group's state: words 0 to 7 are the
// chaining value.
func (k kernel) state(group int) []reg.VecPhysical {
	return k.regs[16*group : 16*group+16]
}

// scratch points to the scratch memory in all functions.
var scratch = reg.R8

// start begins a function and loads its scratch pointer, aligned so that no
// vector lies across two cache lines.
func (k kernel) start(kind string) {
	Implement(fmt.Sprintf("%s%sx%d", kind, k.name, k.lanes()))
	Attributes(attr.NOSPLIT)
	Load(Param("tmp"), scratch)
	ADDQ(Imm(uint64(k.width()-1)), scratch)
	ANDQ(I32(-k.width()), scratch)
}

// chunks emits the function that turns whole chunks into chaining values.
func (k kernel) chunks() {
	k.start("chunks")
	key, in, out := reg.RDI, reg.RSI, reg.RDX
	offset, flags, pointer := reg.RCX, reg.R9, reg.RAX
	Load(Param("key"), key)
	Load(Param("in"), in)
	Load(Param("out"), out)

	Comment("Counters: two words of each Chunk.")
	for g := range k.groups {
		rows, free := k.state(g)[:4], k.state(g)[4:8]
		k.loadRows(g, rows, func(lane int) Mem { return Mem{Base: in, Disp: chunkStructSize * lane} })
		transpose(rows, free)
		k.store(rows[chunkStructCounter/4], k.slot(g, slotCounterLow))
		k.store(rows[chunkStructCounter/4+1], k.slot(g, slotCounterHigh))
	}

	k.loadKey(key)
	MOVL(U32(flagKeyed|flagChunkStart), flags.As32())
	XORQ(offset, offset)

	label := fmt.Sprintf("block%sx%d", k.name, k.lanes())
	Label(label)
	k.loadMessage(func(lane, column int) Mem {
		MOVQ(Mem{Base: in, Disp: chunkStructSize * lane}, pointer)
		return Mem{Base: pointer, Index: offset, Scale: 1, Disp: 16 * column}
	})
	MOVL(flags.As32(), k.flags())
	for g := range k.groups {
		k.load(k.slot(g, slotCounterLow), k.state(g)[12])
		k.load(k.slot(g, slotCounterHigh), k.state(g)[13])
	}
	k.compress()
	Comment("The flags of the next block: the last one has its own.")
	MOVL(U32(flagKeyed), flags.As32())
	MOVL(U32(flagKeyed|flagChunkEnd), pointer.As32())
	ADDQ(Imm(blockSize), offset)
	CMPQ(offset, U32(chunkSize-blockSize))
	CMOVLEQ(pointer.As32(), flags.As32())
	JBE(LabelRef(label))
	k.storeChaining(out)
	VZEROUPPER()
	RET()
}

// parents emits the function that joins pairs of chaining values.
func (k kernel) parents() {
	k.start("parents")
	key, in, out, flags := reg.RDI, reg.RSI, reg.RDX, reg.R9
	Load(Param("key"), key)
	Load(Param("in"), in)
	Load(Param("out"), out)
	Load(Param("flags"), flags.As32())

	k.loadKey(key)
	k.loadMessage(func(lane, column int) Mem {
		return Mem{Base: in, Disp: 2*chainingSize*lane + 16*column}
	})
	MOVL(flags.As32(), k.flags())
	for g := range k.groups {
		k.xor(k.state(g)[12], k.state(g)[12])
		k.xor(k.state(g)[13], k.state(g)[13])
	}
	k.compress()
	k.storeChaining(out)
	VZEROUPPER()
	RET()
}

func (k kernel) loadKey(key reg.Register) {
	for g := range k.groups {
		for i := range 8 {
			VPBROADCASTD(Mem{Base: key, Disp: 4 * i}, k.state(g)[i])
		}
	}
}
