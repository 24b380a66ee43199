//go:build !amd64 || purego

package arch

// chunks sets the first n elements of out to the values of the first n
// chunks.
func (k kernel) chunks(key *[8]uint32, in *[maxLanes]Chunk, n int, _ *kernelScratch, out *[maxLanes]Chaining) {
	chunksPortable(key, in[:n], out[:])
}

// parents sets the first n elements of out to the parents of the first n
// pairs. Out may begin where in does, or before.
func (k kernel) parents(key *[8]uint32, in *[2 * maxLanes]Chaining, n int, _ *kernelScratch, out *[maxLanes]Chaining, flags uint32) {
	parentsPortable(key, in[:2*n], out[:], flags)
}
