//go:build unix

package mmap

import (
	"errors"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/lightning-db/lightning/arch"
)

// faultAddr runs fn and returns the address of the memory fault in it.
func faultAddr(t *testing.T, fn func()) (addr uintptr) {
	t.Helper()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		f, ok := r.(interface{ Addr() uintptr })
		if !ok {
			t.Fatalf("recovered %v, want a memory fault", r)
		}
		addr = f.Addr()
	}()
	fn()
	return 0
}

func TestMap_Truncated(t *testing.T) {
	for _, reserve := range []bool{true, false} {
		f := newFile(t, 64*page)
		m := openMap(t, f, 64*page, Options{}, reserve)
		b := wantAt(t, m, 32*page, 16*page)
		if err := f.Truncate(16 * page); err != nil {
			t.Fatal(err)
		}
		var sink byte
		addr := faultAddr(t, func() { sink = b[0] })
		if !m.Contains(addr) {
			t.Errorf("reserve %v: Contains(%#x) is false for the fault (read %d)", reserve, addr, sink)
		}
		wantAt(t, m, 0, 16*page)
		fill(t, f, 16*page, 64*page)
		wantAt(t, m, 32*page, 16*page)
	}
}

func TestMap_FaultElsewhere(t *testing.T) {
	f := newFile(t, page)
	m := openMap(t, f, page, Options{Reserve: 2 * granularity}, true)
	other := openMap(t, f, page, Options{Reserve: 2 * granularity}, true)
	b, ok := other.At(granularity, page)
	if !ok {
		t.Fatal("the reservation is not mapped")
	}
	addr := faultAddr(t, func() { t.Log(b[0]) })
	if m.Contains(addr) || !other.Contains(addr) {
		t.Error("a fault was taken for another map's")
	}
}

// A fault in a goroutine that SumMany started must reach the caller, who can
// recover it; anything else ends the process.
func TestMap_FaultWhileHashing(t *testing.T) {
	const size = 2 * arch.ParallelBytes
	f := newFile(t, size)
	m := openMap(t, f, size, Options{}, true)
	var pages [][]byte
	for off := int64(0); off < size; off += page {
		pages = append(pages, wantAt(t, m, off, page))
	}
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	h := arch.NewHasher(arch.Key{})
	addr := faultAddr(t, func() { h.SumMany(pages, make([]arch.Digest, len(pages))) })
	if !m.Contains(addr) {
		t.Errorf("Contains(%#x) is false for the fault", addr)
	}
}

func TestMap_RaceExtend(t *testing.T) {
	const size = 128 * page
	f := newFile(t, size)
	m := openMap(t, f, page, Options{}, false)
	var mapped atomic.Int64
	mapped.Store(page)
	var wg sync.WaitGroup
	for g := range 3 {
		wg.Go(func() {
			for i := int64(g); ; i++ {
				end := mapped.Load()
				off := i * page % end
				n := int(min(end-off, (i%7+1)*page))
				b, ok := at(m, off, n)
				if !ok || b[0] != byte(off/page)+1 || b[n-1] != byte((off+int64(n)-1)/page)+1 {
					t.Errorf("[%d, +%d): mapped %v, or wrong bytes", off, n, ok)
					return
				}
				if !m.Contains(base(b)) {
					t.Errorf("[%d, +%d): Contains is false", off, n)
					return
				}
				if end == size && i > 2*size/page {
					return
				}
			}
		})
	}
	for end := int64(page); end < size; {
		end += page
		if err := m.Extend(end); err != nil {
			t.Error(err)
		}
		mapped.Store(end)
	}
	wg.Wait()
}

func TestMap_LockAndAdvise(t *testing.T) {
	for _, reserve := range []bool{true, false} {
		f := newFile(t, 8*page)
		m, err := open(f, 4*page, Options{Lock: true, Populate: true}, reserve)
		if errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EPERM) {
			t.Skipf("this process may not lock memory: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		for name, err := range map[string]error{
			"Advise(true)": m.Advise(true), "Extend": m.Extend(8 * page), "Advise(false)": m.Advise(false),
			"Unlock": m.Unlock(), "Lock": m.Lock(),
		} {
			if err != nil {
				t.Errorf("reserve %v: %s: %v", reserve, name, err)
			}
		}
		wantAt(t, m, 0, 8*page)
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}
