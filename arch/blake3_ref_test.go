package arch

import (
	"encoding/binary"
	"math/bits"
)

// A plain BLAKE3, straight from the definition of the function: recursive,
// one block at a time, with none of the tricks of the one in use.

const (
	refChunkStart = 1 << iota
	refChunkEnd
	refParent
	refRoot
	refKeyed
	refContext
	refMaterial
)

var refIV = [8]uint32{
	0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
	0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
}

var refPermutation = [16]int{2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8}

func refCompress(cv [8]uint32, m [16]uint32, counter uint64, length, flags uint32) [8]uint32 {
	v := [16]uint32{
		cv[0], cv[1], cv[2], cv[3], cv[4], cv[5], cv[6], cv[7],
		refIV[0], refIV[1], refIV[2], refIV[3],
		uint32(counter), uint32(counter >> 32), length, flags,
	}
	mix := func(a, b, c, d int, x, y uint32) {
		v[a] += v[b] + x
		v[d] = bits.RotateLeft32(v[d]^v[a], -16)
		v[c] += v[d]
		v[b] = bits.RotateLeft32(v[b]^v[c], -12)
		v[a] += v[b] + y
		v[d] = bits.RotateLeft32(v[d]^v[a], -8)
		v[c] += v[d]
		v[b] = bits.RotateLeft32(v[b]^v[c], -7)
	}
	for range 7 {
		for i := range 4 {
			mix(i, 4+i, 8+i, 12+i, m[2*i], m[2*i+1])
		}
		for i := range 4 {
			mix(i, 4+(i+1)%4, 8+(i+2)%4, 12+(i+3)%4, m[8+2*i], m[9+2*i])
		}
		var p [16]uint32
		for i, from := range refPermutation {
			p[i] = m[from]
		}
		m = p
	}
	var out [8]uint32
	for i := range out {
		out[i] = v[i] ^ v[i+8]
	}
	return out
}

// refNode returns the chaining value of the subtree over data, whose first
// chunk has the given number.
func refNode(key [8]uint32, data []byte, chunk uint64, flags, root uint32) [8]uint32 {
	if len(data) <= 1024 {
		return refChunk(key, data, chunk, flags, root)
	}
	left := 1 << (bits.Len(uint(len(data)-1)/1024) - 1) // chunks: the largest power of two that leaves some
	l := refNode(key, data[:left*1024], chunk, flags, 0)
	r := refNode(key, data[left*1024:], chunk+uint64(left), flags, 0)
	var m [16]uint32
	copy(m[:8], l[:])
	copy(m[8:], r[:])
	return refCompress(key, m, 0, 64, flags|refParent|root)
}

func refChunk(cv [8]uint32, data []byte, chunk uint64, flags, root uint32) [8]uint32 {
	start := uint32(refChunkStart)
	for {
		var block [64]byte
		n := copy(block[:], data)
		data = data[n:]
		var m [16]uint32
		for i := range m {
			m[i] = binary.LittleEndian.Uint32(block[4*i:])
		}
		if len(data) == 0 {
			return refCompress(cv, m, chunk, uint32(n), flags|start|refChunkEnd|root)
		}
		cv = refCompress(cv, m, chunk, uint32(n), flags|start)
		start = 0
	}
}

func refSum(key [8]uint32, data []byte, flags uint32) (sum [32]byte) {
	for i, w := range refNode(key, data, 0, flags, refRoot) {
		binary.LittleEndian.PutUint32(sum[4*i:], w)
	}
	return sum
}

func refWords(b [32]byte) (w [8]uint32) {
	for i := range w {
		w[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return w
}

func refKeyedSum(key Key, data []byte) [32]byte {
	return refSum(refWords(key), data, refKeyed)
}

func refDeriveKey(context string, material []byte) Key {
	ctx := refSum(refIV, []byte(context), refContext)
	return Key(refSum(refWords(ctx), material, refMaterial))
}
