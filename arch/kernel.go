package arch

// maxLanes is how many chunks one call of a kernel takes.
const maxLanes = 32

// kernel names the code that hashes chunks.
type kernel uint8

const (
	portable kernel = iota // ours for chunks; pages go to the BLAKE3 package
	avx2
	avx512
)

// kernelFor returns the kernel for a result of hashPath.
func kernelFor(path string) kernel {
	switch path {
	case "avx512":
		return avx512
	case "avx2":
		return avx2
	}
	return portable
}

// kernelScratch is memory for what does not fit into a kernel's registers: 19
// vectors of 64 bytes, twice, and a word; with room to align them.
type kernelScratch [2*19*64 + 4 + 63]byte
