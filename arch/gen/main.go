// Command gen writes the BLAKE3 kernels of package arch: functions in
// assembly that compress several inputs side by side, one in each 32-bit
// element of the vectors. Go generate in package arch runs it.
//
// Reading order: main.go, kernel.go (the two kinds of function), block.go
// (one compression), transpose.go (inputs into vectors and back).
package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
)

// BLAKE3's constants.
const (
	chunkSize = 1024
	blockSize = 64

	flagChunkStart = 1 << 0
	flagChunkEnd   = 1 << 1
	flagKeyed      = 1 << 4
)

var iv = [4]uint32{0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A}

// permutation is applied to the words of a block between two rounds.
var permutation = [16]int{2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8}

// Layouts of types of package arch, in bytes; a test there compares them.
const (
	chunkStructSize    = 16
	chunkStructCounter = 8
	chainingSize       = 32
)

func main() {
	Package("github.com/lightning-db/lightning/arch")
	ConstraintExpr("amd64,!purego")
	c := constants{
		iv:       words("iv", iv[:]...),
		blockLen: words("blockLen", blockSize),
		rotate16: rotation("rotate16", 16),
		rotate8:  rotation("rotate8", 8),
	}
	for _, isa := range []isa{avx2(), avx512(4), avx512(8), avx512(16), avx512(32)} {
		k := kernel{isa, c}
		k.chunks()
		k.parents()
	}
	Generate()
}

// constants are places in read-only memory.
type constants struct {
	iv       operand.Mem // the first four words of the initial value
	blockLen operand.Mem // bytes in a block
	rotate16 operand.Mem // byte shuffles that rotate words right
	rotate8  operand.Mem
}

func words(name string, values ...uint32) operand.Mem {
	mem := GLOBL(name, dataAttributes)
	for i, v := range values {
		DATA(4*i, operand.U32(v))
	}
	return mem
}

// rotation is the operand of VPSHUFB, for 32 bytes, that rotates each word
// right by a multiple of 8 bits.
func rotation(name string, bits int) operand.Mem {
	mem := GLOBL(name, dataAttributes)
	for i := range 32 {
		lane := i % 16 // the shuffle counts from the start of 16 bytes
		DATA(i, operand.U8(lane&^3|(lane+bits/8)&3))
	}
	return mem
}
