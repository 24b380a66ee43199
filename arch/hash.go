package arch

import (
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
// over several goroutines. Starting and joining them costs several
// microseconds: measured on two busy cores, 64 KiB take longer that way,
// 128 KiB as long, and 512 KiB two thirds of the time.
const ParallelBytes = 256 << 10

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
	key  Key
	pool sync.Pool // of *state, each keyed with key and reset
}

// state is a pooled hash with room for its result: a local array would
// escape to the heap on each call.
type state struct {
	h   *blake3.Hasher
	sum [32]byte
}

// NewHasher returns a Hasher for key.
func NewHasher(key Key) *Hasher {
	return &Hasher{key: key}
}

// Sum returns the digest of data.
func (h *Hasher) Sum(data []byte) Digest {
	s := h.get()
	d := s.digest(data)
	h.pool.Put(s)
	return d
}

// Sum32 returns all 32 bytes of the digest of data.
func (h *Hasher) Sum32(data []byte) [32]byte {
	s := h.get()
	s.run(data)
	sum := s.sum
	h.pool.Put(s)
	return sum
}

// SumMany sets out[i] to the digest of pages[i]. It uses up to GOMAXPROCS
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
	s := h.get()
	for i, p := range pages {
		out[i] = s.digest(p)
	}
	h.pool.Put(s)
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
	work := func() {
		defer func() {
			if r := recover(); r != nil {
				panicked.CompareAndSwap(nil, &r)
			}
		}()
		s := h.get()
		for i := next.Add(1) - 1; i < int64(len(pages)); i = next.Add(1) - 1 {
			out[i] = s.digest(pages[i])
		}
		h.pool.Put(s)
	}
	for range workers - 1 {
		wg.Go(func() {
			debug.SetPanicOnFault(onFault)
			work()
		})
	}
	work()
	wg.Wait()
	if r := panicked.Load(); r != nil {
		panic(*r)
	}
}

// get returns a reset state. A state that a panic kept from the pool is left
// to the garbage collector: it may hold half a page.
func (h *Hasher) get() *state {
	if s, ok := h.pool.Get().(*state); ok {
		return s
	}
	b, err := blake3.NewKeyed(h.key[:])
	if err != nil {
		panic("arch: a key of 32 bytes was refused: " + err.Error())
	}
	return &state{h: b}
}

// run leaves the digest of data in s.sum and resets the hash, which keeps
// its key.
func (s *state) run(data []byte) {
	s.h.Write(data) // documented never to fail
	s.h.Sum(s.sum[:0])
	s.h.Reset()
}

func (s *state) digest(data []byte) Digest {
	s.run(data)
	return Digest(s.sum[:len(Digest{})])
}

func totalLen(bufs [][]byte) int {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	return n
}
