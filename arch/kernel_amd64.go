//go:build !purego

package arch

//go:generate go -C gen run -tags purego . -out ../kernel_amd64.s -pkg arch

// chunkSize is the length in bytes of the chunks that BLAKE3 hashes on
// their own; the tree over their values gives the digest.
const chunkSize = 1024

// maxLanes is how many chunks one call of a kernel takes.
const maxLanes = 32

// chaining is what BLAKE3 makes of a chunk, or of a subtree of chunks.
type chaining [32]byte

// chunk is one chunk of a page, anywhere in memory.
type chunk struct {
	data    *[chunkSize]byte
	counter uint64 // chunks before this one in its page
}

// kernelScratch is memory for what does not fit into a kernel's registers: 19
// vectors of 64 bytes, twice, and a word; with room to align them.
type kernelScratch [2*19*64 + 4 + 63]byte

const (
	flagParent = 1 << 2
	flagRoot   = 1 << 3
	flagKeyed  = 1 << 4
)

// The kernels read and write as many elements as they have lanes. They never
// split the stack and have no frame, so a fault in them unwinds like one in Go.

//go:noescape
func chunksAVX2x8(key *[8]uint32, in *[8]chunk, tmp *kernelScratch, out *[8]chaining)

//go:noescape
func chunksAVX512x4(key *[8]uint32, in *[4]chunk, tmp *kernelScratch, out *[4]chaining)

//go:noescape
func chunksAVX512x8(key *[8]uint32, in *[8]chunk, tmp *kernelScratch, out *[8]chaining)

//go:noescape
func chunksAVX512x16(key *[8]uint32, in *[16]chunk, tmp *kernelScratch, out *[16]chaining)

//go:noescape
func chunksAVX512x32(key *[8]uint32, in *[32]chunk, tmp *kernelScratch, out *[32]chaining)

//go:noescape
func parentsAVX2x8(key *[8]uint32, in *[16]chaining, tmp *kernelScratch, out *[8]chaining, flags uint32)

//go:noescape
func parentsAVX512x4(key *[8]uint32, in *[8]chaining, tmp *kernelScratch, out *[4]chaining, flags uint32)

//go:noescape
func parentsAVX512x8(key *[8]uint32, in *[16]chaining, tmp *kernelScratch, out *[8]chaining, flags uint32)

//go:noescape
func parentsAVX512x16(key *[8]uint32, in *[32]chaining, tmp *kernelScratch, out *[16]chaining, flags uint32)

//go:noescape
func parentsAVX512x32(key *[8]uint32, in *[64]chaining, tmp *kernelScratch, out *[32]chaining, flags uint32)

// chunks sets the first n elements of out to the values of the first n
// chunks, one at least, and may overwrite the others of both.
func (k kernel) chunks(key *[8]uint32, in *[maxLanes]chunk, n int, tmp *kernelScratch, out *[maxLanes]chaining) {
	for i := n; i < maxLanes; i++ {
		in[i] = in[0] // idle lanes need something to read
	}
	switch {
	case k == avx2:
		for i := 0; i < n; i += 8 {
			chunksAVX2x8(key, (*[8]chunk)(in[i:]), tmp, (*[8]chaining)(out[i:]))
		}
	case n <= 4:
		chunksAVX512x4(key, (*[4]chunk)(in[:]), tmp, (*[4]chaining)(out[:]))
	case n <= 8:
		chunksAVX512x8(key, (*[8]chunk)(in[:]), tmp, (*[8]chaining)(out[:]))
	case n <= 16:
		chunksAVX512x16(key, (*[16]chunk)(in[:]), tmp, (*[16]chaining)(out[:]))
	default:
		chunksAVX512x32(key, in, tmp, out)
	}
}

// parents sets the first n elements of out to the parents of the first n
// pairs, one at least, and may overwrite the others. Out may begin where in
// does, or before.
func (k kernel) parents(key *[8]uint32, in *[2 * maxLanes]chaining, n int, tmp *kernelScratch, out *[maxLanes]chaining, flags uint32) {
	switch {
	case k == avx2:
		for i := 0; i < n; i += 8 {
			parentsAVX2x8(key, (*[16]chaining)(in[2*i:]), tmp, (*[8]chaining)(out[i:]), flags)
		}
	case n <= 4:
		parentsAVX512x4(key, (*[8]chaining)(in[:]), tmp, (*[4]chaining)(out[:]), flags)
	case n <= 8:
		parentsAVX512x8(key, (*[16]chaining)(in[:]), tmp, (*[8]chaining)(out[:]), flags)
	case n <= 16:
		parentsAVX512x16(key, (*[32]chaining)(in[:]), tmp, (*[16]chaining)(out[:]), flags)
	default:
		parentsAVX512x32(key, in, tmp, out, flags)
	}
}
