package arch

import (
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// lengths are around every border of blocks, chunks and the hash's buffer.
var lengths = []int{
	0, 1, 63, 64, 65, 127, 128, 1023, 1024, 1025, 2047, 2048, 2049, 3072, 4096, 5120, 7168, 8191, 8192, 8193,
	9216, 12288, 16384, 16385, 20480, 31744, 32768, 65535, 65536, 65537, 102400,
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func testKey() Key {
	return Key([]byte("whats the Elvish word for friend"))
}

func TestReference_PublishedVectors(t *testing.T) {
	sum := refKeyedSum(testKey(), nil)
	if got, want := hex.EncodeToString(sum[:]), "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"; got != want {
		t.Errorf("keyed digest of nothing = %s, want %s", got, want)
	}
	key := refDeriveKey("BLAKE3 2019-12-27 16:29:52 test vectors context", nil)
	if got, want := hex.EncodeToString(key[:]), "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d"; got != want {
		t.Errorf("key derived from nothing = %s, want %s", got, want)
	}
}

func TestHasher_MatchesReference(t *testing.T) {
	h := NewHasher(testKey())
	for _, n := range lengths {
		data := pattern(n)
		want := refKeyedSum(testKey(), data)
		for round := range 3 { // the second and third use a reset hash
			if got := h.Sum32(data); got != want {
				t.Fatalf("length %d, round %d: Sum32 = %x, want %x", n, round, got, want)
			}
			if got := h.Sum(data); got != Digest(want[:24]) {
				t.Fatalf("length %d, round %d: Sum = %x, want %x", n, round, got, want[:24])
			}
		}
	}
}

func TestHasher_KeysDiffer(t *testing.T) {
	data := pattern(4096)
	a, b := NewHasher(Key{1}), NewHasher(Key{2})
	if a.Sum(data) == b.Sum(data) {
		t.Error("two keys gave the same digest")
	}
	if got, want := b.Sum32(data), refKeyedSum(Key{2}, data); got != want {
		t.Errorf("Sum32 = %x, want %x", got, want)
	}
}

func TestDeriveKey_MatchesReference(t *testing.T) {
	const context = "lightning 2026 test"
	data := pattern(3000)
	want := refDeriveKey(context, data)
	if got := DeriveKey(context, data); got != want {
		t.Errorf("DeriveKey = %x, want %x", got, want)
	}
	if got := DeriveKey(context, data[:7], nil, data[7:]); got != want {
		t.Errorf("DeriveKey of pieces = %x, want %x", got, want)
	}
	if got := DeriveKey(context+"2", data); got == want {
		t.Error("two contexts gave the same key")
	}
}

func TestHasher_SumMany(t *testing.T) {
	h := NewHasher(testKey())
	for _, tt := range []struct {
		name  string
		count int
	}{{"none", 0}, {"serial", 5}, {"parallel", 220}} {
		t.Run(tt.name, func(t *testing.T) {
			pages := make([][]byte, tt.count)
			for i := range pages {
				pages[i] = pattern(1000 + 37*i)
			}
			if parallel := totalLen(pages) >= ParallelBytes; parallel != (tt.name == "parallel") {
				t.Fatalf("%d bytes are on the wrong side of ParallelBytes", totalLen(pages))
			}
			out := make([]Digest, tt.count+1)
			h.SumMany(pages, out)
			for i, p := range pages {
				want := refKeyedSum(testKey(), p)
				if out[i] != Digest(want[:24]) {
					t.Errorf("page %d: digest %x, want %x", i, out[i], want[:24])
				}
			}
			if out[tt.count] != (Digest{}) {
				t.Error("a digest beyond the pages was written")
			}
		})
	}
}

func TestHasher_SumMany_ShortOut(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic for an out that is too short")
		}
	}()
	NewHasher(Key{}).SumMany([][]byte{{1}, {2}}, make([]Digest, 1))
}

func TestHasher_Concurrent(t *testing.T) {
	h := NewHasher(testKey())
	var wg sync.WaitGroup
	for g := range 4 {
		data := pattern(4096 + g)
		want := refKeyedSum(testKey(), data)
		wg.Go(func() {
			for range 200 {
				if got := h.Sum32(data); got != want {
					t.Errorf("goroutine %d: Sum32 = %x, want %x", g, got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

// forKernelsBench runs fn for every kernel and, as "package", for the BLAKE3
// package.
func forKernelsBench(b *testing.B, fn func(b *testing.B, h *Hasher)) {
	for _, k := range usableKernels() {
		name := kernelNames[k]
		if k == portable {
			name = "package"
		}
		b.Run("kernel="+name, func(b *testing.B) { fn(b, newHasher(testKey(), k)) })
	}
}

func BenchmarkSum(b *testing.B) {
	for _, kib := range []int{4, 8, 16, 64, 1024} {
		b.Run(fmt.Sprintf("size=%dK", kib), func(b *testing.B) {
			forKernelsBench(b, func(b *testing.B, h *Hasher) {
				data := pattern(kib << 10)
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					h.Sum(data)
				}
			})
		})
	}
}

func BenchmarkSumMany(b *testing.B) {
	for _, count := range []int{1, 4, 5, 16, 64} {
		b.Run(fmt.Sprintf("pages=%d", count), func(b *testing.B) {
			pages := slices.Collect(slices.Chunk(pattern(count<<12), 4096))
			out := make([]Digest, count)
			forKernelsBench(b, func(b *testing.B, h *Hasher) {
				b.ReportAllocs()
				for b.Loop() {
					h.SumMany(pages, out)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*count), "ns/page")
			})
		})
	}
}

// BenchmarkSumMany_Goroutines shows from which length on goroutines pay:
// ParallelBytes.
func BenchmarkSumMany_Goroutines(b *testing.B) {
	h := NewHasher(testKey())
	for _, kib := range []int{64, 128, 256, 512, 1024, 4096} {
		pages := slices.Collect(slices.Chunk(pattern(kib<<10), 4096))
		out := make([]Digest, len(pages))
		for workers := 1; workers <= runtime.GOMAXPROCS(0); workers *= 2 {
			b.Run(fmt.Sprintf("total=%dK/goroutines=%d", kib, workers), func(b *testing.B) {
				b.SetBytes(int64(kib << 10))
				for b.Loop() {
					h.sumParallel(pages, out, workers)
				}
			})
		}
	}
}
