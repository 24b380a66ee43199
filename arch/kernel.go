package arch

// maxLanes is how many chunks one call of a kernel takes.
const maxLanes = 16

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

// kernelScratch is memory for what does not fit into a kernel's registers:
// 19 vectors of 32 bytes and a word with AVX2, and room to align them.
type kernelScratch [19*32 + 4 + 31]byte
