package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const dataAttributes = attr.RODATA | attr.NOPTR

// isa says how wide the vectors are and what the processor can do with them.
type isa struct {
	name     string
	quarters int  // parts of 128 bits in a vector
	evex     bool // AVX-512: rotates, and 32 registers
	regs     []reg.VecPhysical
}

func (i isa) lanes() int { return 4 * i.quarters }
func (i isa) width() int { return 16 * i.quarters }

// avx2 has 8 lanes.
func avx2() isa {
	return isa{name: "AVX2", quarters: 2, regs: family(reg.Y0, 16)}
}

// avx512 has 4, 8 or 16 lanes; the narrower ones use AVX512VL.
func avx512(quarters int) isa {
	first := map[int]reg.VecPhysical{1: reg.X0, 2: reg.Y0, 4: reg.Z0}[quarters]
	return isa{name: "AVX512", quarters: quarters, evex: true, regs: family(first, 32)}
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

// slots says where things lie in the caller's scratch memory, in vectors.
type slots struct {
	counterLow, counterHigh int
	message, spill          int // without evex: 16 words of the block, a register
	flags                   int // 4 bytes
}

func (i isa) slots() slots {
	if i.evex {
		return slots{counterLow: 0, counterHigh: 1, flags: 2}
	}
	return slots{message: 0, counterLow: 16, counterHigh: 17, spill: 18, flags: 19}
}

// slot is a place in the scratch memory.
func (k kernel) slot(base reg.Register, n int) Mem {
	return Mem{Base: base, Disp: n * k.width()}
}

// v is the i-th word of the state: 0 to 7 chaining value, 8 to 15 the rest.
func (k kernel) v(i int) reg.VecPhysical { return k.regs[i] }

// start begins a function and loads its scratch pointer, aligned so that no
// vector in it lies across two cache lines.
func (k kernel) start(kind string) (tmp reg.Register) {
	Implement(fmt.Sprintf("%s%sx%d", kind, k.name, k.lanes()))
	Attributes(attr.NOSPLIT)
	tmp = reg.R8
	Load(Param("tmp"), tmp.(reg.GPPhysical))
	ADDQ(Imm(uint64(k.width()-1)), tmp)
	ANDQ(I32(-k.width()), tmp)
	return tmp
}

// chunks emits the function that turns whole chunks into chaining values.
func (k kernel) chunks() {
	tmp := k.start("chunks")
	key, in, out := reg.RDI, reg.RSI, reg.RDX
	offset, flags, pointer := reg.RCX, reg.R9, reg.RAX
	Load(Param("key"), key)
	Load(Param("in"), in)
	Load(Param("out"), out)

	Comment("Counters: words 2 and 3 of each Chunk.")
	k.loadRows(k.regs[8:12], func(lane int) Mem { return Mem{Base: in, Disp: chunkStructSize * lane} })
	fields := k.transpose(k.regs[8:12], k.regs[12:16])
	k.store(fields[chunkStructCounter/4], k.slot(tmp, k.slots().counterLow))
	k.store(fields[chunkStructCounter/4+1], k.slot(tmp, k.slots().counterHigh))

	k.loadKey(key)
	MOVL(U32(flagKeyed|flagChunkStart), flags.As32())
	XORQ(offset, offset)

	label := fmt.Sprintf("block%sx%d", k.name, k.lanes())
	Label(label)
	k.loadMessage(tmp, func(lane, column int) Mem {
		MOVQ(Mem{Base: in, Disp: chunkStructSize * lane}, pointer)
		return Mem{Base: pointer, Index: offset, Scale: 1, Disp: 16 * column}
	})
	MOVL(flags.As32(), k.slot(tmp, k.slots().flags))
	k.load(k.slot(tmp, k.slots().counterLow), k.v(12))
	k.load(k.slot(tmp, k.slots().counterHigh), k.v(13))
	k.compress(tmp)
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
	tmp := k.start("parents")
	key, in, out, flags := reg.RDI, reg.RSI, reg.RDX, reg.R9
	Load(Param("key"), key)
	Load(Param("in"), in)
	Load(Param("out"), out)
	Load(Param("flags"), flags.As32())

	k.loadKey(key)
	k.loadMessage(tmp, func(lane, column int) Mem {
		return Mem{Base: in, Disp: 2*chainingSize*lane + 16*column}
	})
	MOVL(flags.As32(), k.slot(tmp, k.slots().flags))
	k.xor(k.v(12), k.v(12))
	k.xor(k.v(13), k.v(13))
	k.compress(tmp)
	k.storeChaining(out)
	VZEROUPPER()
	RET()
}

func (k kernel) loadKey(key reg.Register) {
	for i := range 8 {
		VPBROADCASTD(Mem{Base: key, Disp: 4 * i}, k.v(i))
	}
}
