//go:build !purego

package arch

//go:generate go -C gen run -tags purego . -out ../kernel_amd64.s -pkg arch

// The kernels read and write as many elements as they have lanes. They never
// split the stack and have no frame, so a fault in them unwinds like one in Go.

//go:noescape
func chunksAVX2x8(key *[8]uint32, in *[8]Chunk, tmp *kernelScratch, out *[8]Chaining)

//go:noescape
func chunksAVX512x4(key *[8]uint32, in *[4]Chunk, tmp *kernelScratch, out *[4]Chaining)

//go:noescape
func chunksAVX512x8(key *[8]uint32, in *[8]Chunk, tmp *kernelScratch, out *[8]Chaining)

//go:noescape
func chunksAVX512x16(key *[8]uint32, in *[16]Chunk, tmp *kernelScratch, out *[16]Chaining)

//go:noescape
func chunksAVX512x32(key *[8]uint32, in *[32]Chunk, tmp *kernelScratch, out *[32]Chaining)

//go:noescape
func parentsAVX2x8(key *[8]uint32, in *[16]Chaining, tmp *kernelScratch, out *[8]Chaining, flags uint32)

//go:noescape
func parentsAVX512x4(key *[8]uint32, in *[8]Chaining, tmp *kernelScratch, out *[4]Chaining, flags uint32)

//go:noescape
func parentsAVX512x8(key *[8]uint32, in *[16]Chaining, tmp *kernelScratch, out *[8]Chaining, flags uint32)

//go:noescape
func parentsAVX512x16(key *[8]uint32, in *[32]Chaining, tmp *kernelScratch, out *[16]Chaining, flags uint32)

//go:noescape
func parentsAVX512x32(key *[8]uint32, in *[64]Chaining, tmp *kernelScratch, out *[32]Chaining, flags uint32)

// chunks sets the first n elements of out to the values of the first n
// chunks, one at least, and may overwrite the others of both.
func (k kernel) chunks(key *[8]uint32, in *[maxLanes]Chunk, n int, tmp *kernelScratch, out *[maxLanes]Chaining) {
	if k == portable {
		chunksPortable(key, in[:n], out[:])
		return
	}
	for i := n; i < maxLanes; i++ {
		in[i] = in[0] // idle lanes need something to read
	}
	switch {
	case k == avx2:
		for i := 0; i < n; i += 8 {
			chunksAVX2x8(key, (*[8]Chunk)(in[i:]), tmp, (*[8]Chaining)(out[i:]))
		}
	case n <= 4:
		chunksAVX512x4(key, (*[4]Chunk)(in[:]), tmp, (*[4]Chaining)(out[:]))
	case n <= 8:
		chunksAVX512x8(key, (*[8]Chunk)(in[:]), tmp, (*[8]Chaining)(out[:]))
	case n <= 16:
		chunksAVX512x16(key, (*[16]Chunk)(in[:]), tmp, (*[16]Chaining)(out[:]))
	default:
		chunksAVX512x32(key, in, tmp, out)
	}
}

// parents sets the first n elements of out to the parents of the first n
// pairs, one at least, and may overwrite the others. Out may begin where in
// does, or before.
func (k kernel) parents(key *[8]uint32, in *[2 * maxLanes]Chaining, n int, tmp *kernelScratch, out *[maxLanes]Chaining, flags uint32) {
	switch {
	case k == portable:
		parentsPortable(key, in[:2*n], out[:], flags)
	case k == avx2:
		for i := 0; i < n; i += 8 {
			parentsAVX2x8(key, (*[16]Chaining)(in[2*i:]), tmp, (*[8]Chaining)(out[i:]), flags)
		}
	case n <= 4:
		parentsAVX512x4(key, (*[8]Chaining)(in[:]), tmp, (*[4]Chaining)(out[:]), flags)
	case n <= 8:
		parentsAVX512x8(key, (*[16]Chaining)(in[:]), tmp, (*[8]Chaining)(out[:]), flags)
	case n <= 16:
		parentsAVX512x16(key, (*[32]Chaining)(in[:]), tmp, (*[16]Chaining)(out[:]), flags)
	default:
		parentsAVX512x32(key, in, tmp, out, flags)
	}
}
