package arch

import (
	"encoding/binary"
	"math/bits"
)

const (
	flagChunkStart = 1 << 0
	flagChunkEnd   = 1 << 1
	flagParent     = 1 << 2
	flagRoot       = 1 << 3
	flagKeyed      = 1 << 4
)

const blockSize = 64

var (
	iv = [4]uint32{0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A}

	// schedule is the order of a block's words in each of the rounds.
	schedule = [7][16]uint8{
		{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
		{2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8},
		{3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1},
		{10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6},
		{12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4},
		{9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7},
		{11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13},
	}
)

// chunksPortable sets out to the values of chunks, one by one.
func chunksPortable(key *[8]uint32, chunks []Chunk, out []Chaining) {
	for i, c := range chunks {
		cv := *key
		for at := 0; at < ChunkSize; at += blockSize {
			flags := uint32(flagKeyed)
			switch at {
			case 0:
				flags |= flagChunkStart
			case ChunkSize - blockSize:
				flags |= flagChunkEnd
			}
			compress(&cv, (*[blockSize]byte)(c.Data[at:]), c.Counter, flags)
		}
		out[i] = chainingOf(&cv)
	}
}

// parentsPortable sets out to the parents of pairs of values, one by one.
func parentsPortable(key *[8]uint32, pairs, out []Chaining, flags uint32) {
	for i := range len(pairs) / 2 {
		var block [blockSize]byte
		copy(block[:], pairs[2*i][:])
		copy(block[len(Chaining{}):], pairs[2*i+1][:])
		cv := *key
		compress(&cv, &block, 0, flags)
		out[i] = chainingOf(&cv)
	}
}

// compress replaces cv by the compression of a whole block.
func compress(cv *[8]uint32, block *[blockSize]byte, counter uint64, flags uint32) {
	var m [16]uint32
	for i := range m {
		m[i] = binary.LittleEndian.Uint32(block[4*i:])
	}
	v0, v1, v2, v3 := cv[0], cv[1], cv[2], cv[3]
	v4, v5, v6, v7 := cv[4], cv[5], cv[6], cv[7]
	v8, v9, v10, v11 := iv[0], iv[1], iv[2], iv[3]
	v12, v13, v14, v15 := uint32(counter), uint32(counter>>32), uint32(blockSize), flags
	for r := range schedule {
		s := &schedule[r]
		v0, v4, v8, v12 = mix(v0, v4, v8, v12, m[s[0]&15], m[s[1]&15])
		v1, v5, v9, v13 = mix(v1, v5, v9, v13, m[s[2]&15], m[s[3]&15])
		v2, v6, v10, v14 = mix(v2, v6, v10, v14, m[s[4]&15], m[s[5]&15])
		v3, v7, v11, v15 = mix(v3, v7, v11, v15, m[s[6]&15], m[s[7]&15])
		v0, v5, v10, v15 = mix(v0, v5, v10, v15, m[s[8]&15], m[s[9]&15])
		v1, v6, v11, v12 = mix(v1, v6, v11, v12, m[s[10]&15], m[s[11]&15])
		v2, v7, v8, v13 = mix(v2, v7, v8, v13, m[s[12]&15], m[s[13]&15])
		v3, v4, v9, v14 = mix(v3, v4, v9, v14, m[s[14]&15], m[s[15]&15])
	}
	*cv = [8]uint32{v0 ^ v8, v1 ^ v9, v2 ^ v10, v3 ^ v11, v4 ^ v12, v5 ^ v13, v6 ^ v14, v7 ^ v15}
}

// mix is small enough for the compiler to put it in place.
func mix(a, b, c, d, x, y uint32) (uint32, uint32, uint32, uint32) {
	a += b + x
	d = bits.RotateLeft32(d^a, -16)
	c += d
	b = bits.RotateLeft32(b^c, -12)
	a += b + y
	d = bits.RotateLeft32(d^a, -8)
	c += d
	b = bits.RotateLeft32(b^c, -7)
	return a, b, c, d
}

func chainingOf(cv *[8]uint32) (out Chaining) {
	for i, w := range cv {
		binary.LittleEndian.PutUint32(out[4*i:], w)
	}
	return out
}

func keyWords(key Key) (words [8]uint32) {
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	return words
}
