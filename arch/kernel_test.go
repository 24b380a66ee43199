package arch

import (
	"math/rand/v2"
	"testing"

	"github.com/klauspost/cpuid/v2"
	"github.com/zeebo/blake3"

	"github.com/lightning-db/lightning/internal/seed"
)

// kernelNames are in the order of the constants.
var kernelNames = []string{"portable", "avx2", "avx512"}

// usableKernels lists the kernels that this processor runs.
func usableKernels() []kernel {
	kernels := []kernel{portable}
	if purego {
		return kernels
	}
	path := hashPath(func(string) string { return "" }, Features().GOARCH, cpuid.CPU.Has)
	for k := avx2; k <= kernelFor(path); k++ {
		kernels = append(kernels, k)
	}
	return kernels
}

// forKernels runs fn on a Hasher for every kernel.
func forKernels(t *testing.T, fn func(t *testing.T, h *Hasher)) {
	for _, k := range usableKernels() {
		t.Run(kernelNames[k], func(t *testing.T) { fn(t, newHasher(testKey(), k)) })
	}
}

// theirSum is the BLAKE3 package's digest under the test's key.
func theirSum(t testing.TB, data []byte) (sum [32]byte) {
	t.Helper()
	key := testKey()
	h, err := blake3.NewKeyed(key[:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Write(data); err != nil {
		t.Fatal(err)
	}
	h.Sum(sum[:0])
	return sum
}

func randomBytes(r *rand.Rand, n int) []byte {
	var key [32]byte
	for i := range key {
		key[i] = byte(r.Uint32())
	}
	b := make([]byte, n)
	if _, err := rand.NewChaCha8(key).Read(b); err != nil {
		panic(err) // documented never to happen
	}
	return b
}

// checkPages compares SumMany, and Sum of each page, with the BLAKE3 package.
func checkPages(t *testing.T, h *Hasher, pages [][]byte) {
	t.Helper()
	out := make([]Digest, len(pages)+1)
	h.SumMany(pages, out)
	for i, p := range pages {
		want := theirSum(t, p)
		if out[i] != Digest(want[:24]) {
			t.Fatalf("page %d of %d, length %d: SumMany gives %x, want %x", i, len(pages), len(p), out[i], want[:24])
		}
		if got := h.Sum32(p); got != want {
			t.Fatalf("length %d: Sum32 = %x, want %x", len(p), got, want)
		}
	}
	if out[len(pages)] != (Digest{}) {
		t.Fatal("a digest beyond the pages was written")
	}
}

func TestKernel_BestIsUsable(t *testing.T) {
	kernels := usableKernels()
	if bestKernel > kernels[len(kernels)-1] {
		t.Errorf("the kernel in use is %s; this processor has %d of them", kernelNames[bestKernel], len(kernels))
	}
	if want := kernelFor(Features().HashPath); bestKernel != want {
		t.Errorf("the kernel in use is %s, Features tells %s", kernelNames[bestKernel], kernelNames[want])
	}
}

func TestKernel_Lengths(t *testing.T) {
	r := seed.Rand(t)
	data := randomBytes(r, 20<<10+64)
	forKernels(t, func(t *testing.T, h *Hasher) {
		for n := 0; n <= 20<<10; n += 64 {
			at := r.IntN(64)
			checkPages(t, h, [][]byte{data[at : at+n]})
			odd := n - n/64%64 // 63 for 64, 126 for 128, and so on
			checkPages(t, h, [][]byte{data[at : at+odd]})
		}
	})
}

func TestKernel_PageSizes(t *testing.T) {
	r := seed.Rand(t)
	data := randomBytes(r, 40*64<<10+64)
	forKernels(t, func(t *testing.T, h *Hasher) {
		for kib := 4; kib <= 64; kib += 4 {
			for count := 1; count <= 40; count += 1 + count/5*r.IntN(4) {
				pages, at := make([][]byte, count), r.IntN(64)
				for i := range pages {
					pages[i] = data[at+i*kib<<10:][:kib<<10]
				}
				checkPages(t, h, pages)
			}
		}
	})
}

// Pages of all sizes in one call, some of which no kernel serves.
func TestKernel_Mixed(t *testing.T) {
	r := seed.Rand(t)
	data := randomBytes(r, 300<<10)
	forKernels(t, func(t *testing.T, h *Hasher) {
		for range 60 {
			pages := make([][]byte, 1+r.IntN(40))
			for i := range pages {
				n := r.IntN(12) << 10
				switch r.IntN(8) {
				case 0:
					n = r.IntN(200) << 10
				case 1:
					n = r.IntN(5000)
				}
				at := r.IntN(len(data) - n + 1)
				pages[i] = data[at : at+n]
			}
			checkPages(t, h, pages)
		}
	})
}

func TestKernel_Large(t *testing.T) {
	data := randomBytes(seed.Rand(t), 5<<20+1)
	forKernels(t, func(t *testing.T, h *Hasher) {
		for _, kib := range []int{127, 128, 129, 132, 255, 256, 257, 384, 388, 640, 1023, 1024, 1025, 1536, 2052, 3000, 4096, 5116, 5120} {
			checkPages(t, h, [][]byte{data[1 : 1+kib<<10]})
		}
	})
}

// FuzzSumMany hashes pages cut from the input; each two bytes of cuts are a
// length in units of 256 bytes and where it begins.
func FuzzSumMany(f *testing.F) {
	f.Add([]byte("abc"), []byte{16, 0, 16, 1, 32, 3, 20, 5, 17, 7})
	f.Add([]byte{0}, []byte{255, 1, 4, 1, 8, 1, 12, 1, 1, 1})
	f.Fuzz(func(t *testing.T, content, cuts []byte) {
		data := make([]byte, 255*256+256)
		for i := range data {
			data[i] = byte(i / 251)
			if len(content) > 0 {
				data[i] ^= content[i%len(content)]
			}
		}
		var pages [][]byte
		for ; len(cuts) > 1 && len(pages) < 64; cuts = cuts[2:] {
			pages = append(pages, data[cuts[1]:][:int(cuts[0])*256])
		}
		for _, k := range usableKernels() {
			checkPages(t, newHasher(testKey(), k), pages)
		}
	})
}
