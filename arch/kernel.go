package arch

// kernel names the code that hashes chunks.
type kernel uint8

const (
	portable kernel = iota // none of ours: pages go to the BLAKE3 package
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
