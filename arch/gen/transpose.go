package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// loadMessage emits the loads of one block a lane and turns them, so that
// each vector holds one word of all lanes. At gives the place of 16 bytes of
// a lane's block. Words 8 to 15 of the state are free for it.
func (k kernel) loadMessage(tmp reg.Register, at func(lane, column int) Mem) {
	for column := range 4 {
		Commentf("Words %d to %d of the block.", 4*column, 4*column+3)
		rows := k.regs[8:12]
		if k.evex {
			rows = k.regs[16+4*column : 20+4*column]
		}
		k.loadRows(rows, func(lane int) Mem { return at(lane, column) })
		for i, w := range k.transpose(rows, k.regs[12:16]) {
			if !k.evex {
				k.store(w, k.slot(tmp, k.slots().message+4*column+i))
			}
		}
	}
}

// loadRows emits the loads of 16 bytes from each lane's place: lane 4*q+i
// goes to quarter q of rows[i].
func (k kernel) loadRows(rows []reg.VecPhysical, at func(lane int) Mem) {
	for i, row := range rows {
		for q := range k.quarters {
			from := at(4*q + i)
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

// transpose turns 4 rows of 4 words in every quarter: afterwards rows[i]
// holds word i of what was in each of the rows. It overwrites t.
func (k kernel) transpose(rows, t []reg.VecPhysical) []reg.VecPhysical {
	VPUNPCKLDQ(rows[1], rows[0], t[0])
	VPUNPCKHDQ(rows[1], rows[0], t[1])
	VPUNPCKLDQ(rows[3], rows[2], t[2])
	VPUNPCKHDQ(rows[3], rows[2], t[3])
	VPUNPCKLQDQ(t[2], t[0], rows[0])
	VPUNPCKHQDQ(t[2], t[0], rows[1])
	VPUNPCKLQDQ(t[3], t[1], rows[2])
	VPUNPCKHQDQ(t[3], t[1], rows[3])
	return rows
}

// storeChaining emits the stores of the chaining values, lane after lane.
func (k kernel) storeChaining(out reg.Register) {
	for half := range 2 {
		for i, row := range k.transpose(k.regs[4*half:4*half+4], k.regs[8:12]) {
			for q := range k.quarters {
				k.store128(q, row, Mem{Base: out, Disp: chainingSize*(4*q+i) + 16*half})
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
