package arch

import (
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/cpuid/v2"
)

const is64 = int64(^uint(0) >> 63) // 1 on 64-bit, 0 on 32-bit

// MaxReserve is the upper bound, in bytes, of an address-space reservation:
// 64 TiB where words have 64 bits, 256 MiB where they have 32, because there
// the heap and other databases live in the same three gigabytes. The kernel
// may agree to less.
const MaxReserve = is64*(64<<40) + (1-is64)*(256<<20)

// relevant lists the processor features that the engine, its hash or the Go
// runtime gain from.
var relevant = []cpuid.FeatureID{
	cpuid.SSE2, cpuid.SSSE3, cpuid.SSE4, cpuid.SSE42, cpuid.POPCNT,
	cpuid.AVX, cpuid.AVX2, cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512VL,
	cpuid.BMI1, cpuid.BMI2, cpuid.AESNI, cpuid.CLMUL, cpuid.SHA,
	cpuid.ASIMD, cpuid.CRC32, cpuid.SHA2, cpuid.SHA3, cpuid.ATOMICS, cpuid.SVE,
}

// Info describes the machine as far as it matters to a database.
type Info struct {
	GOARCH   string   // architecture that the program was built for
	HashPath string   // "avx512", "avx2", "sse4.1" or "portable": the code that hashes pages
	Features []string // processor features of interest, sorted
	CPU      string   // the processor's brand name; empty where it has none
	PageSize int      // page size of the operating system, in bytes
	WordBits int      // 32 or 64
}

// Features describes the machine that the program runs on.
func Features() Info {
	info := Info{
		GOARCH:   runtime.GOARCH,
		HashPath: hashPath(os.Getenv, runtime.GOARCH, cpuid.CPU.Has),
		CPU:      cpuid.CPU.BrandName,
		PageSize: os.Getpagesize(),
		WordBits: bits.UintSize,
	}
	for _, id := range relevant {
		if cpuid.CPU.Has(id) {
			info.Features = append(info.Features, id.String())
		}
	}
	slices.Sort(info.Features)
	return info
}

// String returns the description on one line.
func (i Info) String() string {
	cpu := i.CPU
	if cpu == "" {
		cpu = "unknown processor"
	}
	return fmt.Sprintf("%s %d-bit, %s, blake3 %s, page %d, features %s",
		i.GOARCH, i.WordBits, cpu, i.HashPath, i.PageSize, strings.Join(i.Features, ","))
}

// bestKernel is the fastest kernel that the processor runs.
var bestKernel = kernelFor(hashPath(os.Getenv, runtime.GOARCH, cpuid.CPU.Has))

// hashPath chooses the code that hashes: by build tag, by environment, by
// processor. Our kernels obey the BLAKE3 package's variables, so that these
// turn off all vector code, and BLAKE3_DISABLE_AVX512. Without a kernel the
// package makes its own choice, the same as here; it does not tell it.
func hashPath(getenv func(string) string, goarch string, has func(cpuid.FeatureID) bool) string {
	switch {
	case purego || goarch != "amd64" || getenv("BLAKE3_PUREGO") != "":
		return "portable"
	case has(cpuid.AVX2) && getenv("BLAKE3_DISABLE_AVX2") == "":
		if has(cpuid.AVX512F) && has(cpuid.AVX512VL) && getenv("BLAKE3_DISABLE_AVX512") == "" {
			return "avx512"
		}
		return "avx2"
	case has(cpuid.SSE4) && getenv("BLAKE3_DISABLE_SSE41") == "":
		return "sse4.1"
	}
	return "portable"
}
