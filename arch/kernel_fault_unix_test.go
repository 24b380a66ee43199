//go:build unix

package arch

import (
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"
)

// mapFile maps a file of n bytes, which ends with the mapping.
func mapFile(t *testing.T, n int) ([]byte, *os.File) {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(int64(n)); err != nil {
		t.Fatal(err)
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, n, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(b); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, f
}

// deep makes the stack grow, so that it is copied with all frames on it.
func deep(n int) int {
	var room [512]byte
	if n == 0 {
		return len(room)
	}
	room[n%len(room)] = byte(n)
	return deep(n-1) + int(room[n%len(room)]-byte(n))
}

// A fault while a kernel runs is a Go panic that can be recovered, though its
// frame is still on the stack when the collector walks and copies that.
func TestKernel_FaultUnwinds(t *testing.T) {
	kept := os.Getpagesize()
	size := 16 * kept
	forKernels(t, func(t *testing.T, h *Hasher) {
		b, f := mapFile(t, size)
		if err := f.Truncate(int64(kept)); err != nil {
			t.Fatal(err)
		}
		var pages [][]byte
		for at := kept - 4096; at < size; at += 4096 {
			pages = append(pages, b[at:at+4096])
		}
		for name, fn := range map[string]func(){
			"Sum":               func() { h.Sum(b) },
			"Sum, 4 lanes":      func() { h.Sum(b[kept-2048 : kept+2048]) },
			"Sum, 8 lanes":      func() { h.Sum(b[kept-1024 : kept+6*1024]) },
			"SumMany":           func() { h.SumMany(pages, make([]Digest, len(pages))) },
			"SumMany, parallel": func() { h.sumParallel(pages, make([]Digest, len(pages)), 2) },
		} {
			t.Run(name, func(t *testing.T) { wantFault(t, fn) })
		}
		want := theirSum(t, make([]byte, 4096))
		if got := h.Sum32(pages[0]); got != want {
			t.Errorf("after the faults: Sum32 = %x, want %x", got, want)
		}
	})
}

// wantFault runs fn on a fresh, small stack and wants a memory fault from it.
func wantFault(t *testing.T, fn func()) {
	t.Helper()
	done := make(chan any)
	go func() {
		debug.SetPanicOnFault(true)
		defer func() {
			deep(200)
			runtime.GC()
			done <- recover()
		}()
		fn()
	}()
	r := <-done
	err, ok := r.(runtime.Error)
	if !ok {
		t.Fatalf("recovered %v, want a runtime error", r)
	}
	if _, ok := err.(interface{ Addr() uintptr }); !ok {
		t.Errorf("recovered %v, want a memory fault with its address", err)
	}
}

// A kernel reads nothing outside of its chunks, idle lanes included: the
// memory around them may not be there.
func TestKernel_ReadsNothingElse(t *testing.T) {
	kept := os.Getpagesize()
	forKernels(t, func(t *testing.T, h *Hasher) {
		b, f := mapFile(t, 3*kept)
		if err := f.Truncate(int64(kept)); err != nil {
			t.Fatal(err)
		}
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		for n := 1024; n <= kept; n += 1024 {
			want := theirSum(t, make([]byte, n))
			if got := h.Sum32(b[kept-n : kept]); got != want {
				t.Errorf("length %d: Sum32 = %x, want %x", n, got, want)
			}
		}
	})
}
