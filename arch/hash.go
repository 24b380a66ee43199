package arch

import (
	"encoding/binary"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/zeebo/blake3"
)

// Key is a key for keyed BLAKE3.
type Key [32]byte

// Digest is a keyed BLAKE3 digest cut to its first 24 bytes.
type Digest [24]byte

// ParallelBytes is the total length from which SumMany spreads its buffers
// over several goroutines. Starting and joining them costs about ten
// microseconds, and more on busy cores; one goroutine with wide vectors
// hashes this much in a hundred.
const ParallelBytes = 1 << 20

// DeriveKey derives a key with BLAKE3's derive-key mode. The context should
// be a constant that names the purpose and is used for nothing else. The
// pieces of material are taken one after the other with nothing between
// them, so at most one of them may vary in length.
func DeriveKey(context string, material ...[]byte) Key {
	h := blake3.NewDeriveKey(context)
	for _, m := range material {
		h.Write(m) // documented never to fail
	}
	var k Key
	h.Sum(k[:0])
	return k
}

// Hasher computes digests under one key. Its methods are safe for concurrent
// use and do not allocate once their pool is warm, except for SumMany when
// it starts goroutines.
type Hasher struct {
	key    Key
	words  [8]uint32 // of the key
	kernel kernel
	pool   sync.Pool // of *work
}

// other is the BLAKE3 package's hash, with room for its result: a local array
// would escape to the heap on each call.
type other struct {
	h      *blake3.Hasher // keyed and reset; nil until it is needed
	result [32]byte
}

// NewHasher returns a Hasher for key.
func NewHasher(key Key) *Hasher {
	return newHasher(key, bestKernel)
}

func newHasher(key Key, k kernel) *Hasher {
	return &Hasher{key: key, words: keyWords(key), kernel: k}
}

// Sum returns the digest of data.
func (h *Hasher) Sum(data []byte) Digest {
	sum := h.Sum32(data)
	return Digest(sum[:len(Digest{})])
}

// Sum32 returns all 32 bytes of the digest of data.
func (h *Hasher) Sum32(data []byte) [32]byte {
	w := h.get()
	sum := h.sum(w, data)
	h.pool.Put(w)
	return sum
}

// SumMany sets out[i] to the digest of pages[i]. Many small pages in one call
// are several times as fast as one by one, when their lengths are multiples
// of 1 KiB. It uses up to GOMAXPROCS
// goroutines when the buffers hold ParallelBytes or more in total. Out must
// be as long as pages or longer; SumMany panics when it is not.
//
// The pages may lie in mapped memory: the goroutines take over the caller's
// debug.SetPanicOnFault setting, and a panic in one of them goes on in the
// caller with the same value.
func (h *Hasher) SumMany(pages [][]byte, out []Digest) {
	if len(out) < len(pages) {
		panic("arch: SumMany: out is shorter than pages")
	}
	workers := min(runtime.GOMAXPROCS(0), len(pages))
	if workers > 1 && totalLen(pages) >= ParallelBytes {
		h.sumParallel(pages, out, workers)
		return
	}
	w := h.get()
	h.sumPages(w, pages, out)
	h.pool.Put(w)
}

// sumParallel runs SumMany on several goroutines, the caller's among them.
func (h *Hasher) sumParallel(pages [][]byte, out []Digest, workers int) {
	var (
		next     atomic.Int64
		wg       sync.WaitGroup
		panicked atomic.Pointer[any]
	)
	onFault := debug.SetPanicOnFault(false)
	debug.SetPanicOnFault(onFault)
	run := func() {
		defer func() {
			if r := recover(); r != nil {
				panicked.CompareAndSwap(nil, &r)
			}
		}()
		w := h.get()
		for {
			from := int(next.Load())
			if from == len(pages) {
				break
			}
			to := from + share(pages[from:])
			if next.CompareAndSwap(int64(from), int64(to)) {
				h.sumPages(w, pages[from:to], out[from:to])
			}
		}
		h.pool.Put(w)
	}
	for range workers - 1 {
		wg.Go(func() {
			debug.SetPanicOnFault(onFault)
			run()
		})
	}
	run()
	wg.Wait()
	if r := panicked.Load(); r != nil {
		panic(*r)
	}
}

// shareBytes is what a goroutine of sumParallel takes at a time: enough to
// fill the lanes on the lower levels of the trees.
const shareBytes = 64 << 10

// share returns how many of the pages, one at least, make up a share.
func share(pages [][]byte) int {
	n := 1
	for size := len(pages[0]); n < len(pages); n++ {
		if size += len(pages[n]); size > shareBytes {
			break
		}
	}
	return n
}

// get returns room to work in. What a panic kept from the pool is left to
// the garbage collector: it may hold half a page.
func (h *Hasher) get() *work {
	if w, ok := h.pool.Get().(*work); ok {
		return w
	}
	return new(work)
}

// sum returns the whole digest of data.
func (o *other) sum(h *Hasher, data []byte) [32]byte {
	if o.h == nil {
		b, err := blake3.NewKeyed(h.key[:])
		if err != nil {
			panic("arch: a key of 32 bytes was refused: " + err.Error())
		}
		o.h = b
	}
	o.h.Write(data) // documented never to fail
	o.h.Sum(o.result[:0])
	o.h.Reset()
	return o.result
}

func keyWords(key Key) (words [8]uint32) {
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	return words
}

func totalLen(bufs [][]byte) int {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	return n
}
