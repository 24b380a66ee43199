package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// loadMessage emits the loads of one block a lane and turns them, so that
// each vector holds one word of all lanes. At gives the place of 16 bytes of
// a lane's block. Words 8 to 15 of the states are free for it.
func (k kernel) loadMessage(at func(lane, column int) Mem) {
	for g := range k.groups {
		for column := range 4 {
			Commentf("Words %d to %d of the block.", 4*column, 4*column+3)
			rows, free := k.state(g)[8:12], k.state(g)[12:16]
			if !k.inMemory() {
				rows = k.regs[16+4*column : 20+4*column]
			}
			k.loadRows(g, rows, func(lane int) Mem { return at(lane, column) })
			transpose(rows, free)
			if k.inMemory() {
				for i, row := range rows {
					k.store(row, k.slot(g, slotMessage+4*column+i))
				}
			}
		}
	}
}

// loadRows emits the loads of 16 bytes from the place of each of a group's
// lanes: lane 4*q+i of the group goes to quarter q of rows[i].
func (k kernel) loadRows(group int, rows []reg.VecPhysical, at func(lane int) Mem) {
	for i, row := range rows {
		for q := range k.quarters {
			from := at(group*k.perGroup() + 4*q + i)
			switch {
			case q == 0:
				k.load128(from, row)
			case k.evex:
				VINSERTI32X4(Imm(uint64(q)), from, row, row)
			default:
				VINSERTI128(Imm(uint64(q)), from, row, row)
			}
		}
	}
}

func (k kernel) load128(from Mem, to reg.VecPhysical) {
	if k.evex {
		VMOVDQU32(from, to.AsX())
		return
	}
	VMOVDQU(from, to.AsX())
}

// transpose emits the turning of 4 rows of 4 words in every quarter:
// afterwards rows[i] holds word i of what was in each of the rows. It
// overwrites free.
func transpose(rows, free []reg.VecPhysical) {
	VPUNPCKLDQ(rows[1], rows[0], free[0])
	VPUNPCKHDQ(rows[1], rows[0], free[1])
	VPUNPCKLDQ(rows[3], rows[2], free[2])
	VPUNPCKHDQ(rows[3], rows[2], free[3])
	VPUNPCKLQDQ(free[2], free[0], rows[0])
	VPUNPCKHQDQ(free[2], free[0], rows[1])
	VPUNPCKLQDQ(free[3], free[1], rows[2])
	VPUNPCKHQDQ(free[3], free[1], rows[3])
}

// storeChaining emits the stores of the chaining values, lane after lane.
func (k kernel) storeChaining(out reg.Register) {
	for g := range k.groups {
		v := k.state(g)
		for half := range 2 {
			rows := v[4*half : 4*half+4]
			transpose(rows, v[8:12])
			for i, row := range rows {
				for q := range k.quarters {
					lane := g*k.perGroup() + 4*q + i
					k.store128(q, row, Mem{Base: out, Disp: chainingSize*lane + 16*half})
				}
			}
		}
	}
}

// store128 emits the store of quarter q of a vector.
func (k kernel) store128(q int, from reg.VecPhysical, to Mem) {
	switch {
	case q == 0 && k.evex:
		VMOVDQU32(from.AsX(), to)
	case q == 0:
		VMOVDQU(from.AsX(), to)
	case k.evex:
		VEXTRACTI32X4(Imm(uint64(q)), from, to)
	default:
		VEXTRACTI128(Imm(uint64(q)), from, to)
	}
}
