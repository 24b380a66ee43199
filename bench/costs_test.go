package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/lightning-db/lightning/arch"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/mmap"
)

// BenchmarkCost measures what the work of the engine is made of, on this
// machine: digests, computing, writes, flushes, page faults, switches of goroutines.
func BenchmarkCost(b *testing.B) {
	const pageSize = 4 << 10
	for _, pages := range []int{1, 4, 64} {
		b.Run(fmt.Sprintf("of=digest/page=%d/pages=%d", pageSize, pages), func(b *testing.B) {
			costOfDigests(b, pageSize, pages)
		})
	}
	b.Run("of=computing", costOfComputing)
	for _, pages := range []int{1, 4, 64} {
		b.Run(fmt.Sprintf("of=pwrite/bytes=%d", pages*pageSize), func(b *testing.B) {
			d := newDevice(b)
			measureShort(b, func() error { return d.write(pages * pageSize) })
		})
	}
	for _, pages := range []int{1, 5, 64} {
		b.Run(fmt.Sprintf("of=pwrite+fdatasync/bytes=%d", pages*pageSize), func(b *testing.B) {
			d := newDevice(b)
			measure(b, func() error { return d.writeSynced(pages * pageSize) })
		})
	}
	for _, pages := range []int{5, 64} {
		b.Run(fmt.Sprintf("of=scattered-pwrite+fdatasync/bytes=%d", pages*pageSize), func(b *testing.B) {
			d := newDevice(b)
			measure(b, func() error { return d.scatterSynced(pages, pageSize) })
		})
	}
	for _, stride := range []int{pageSize, 64 << 10} {
		b.Run(fmt.Sprintf("of=first-touch/stride=%d", stride), func(b *testing.B) {
			costOfFaults(b, pageSize, stride)
		})
	}
	b.Run("of=goroutine-switch", costOfSwitches)
}

// costOfDigests hashes pages in one call, as a flush does.
func costOfDigests(b *testing.B, pageSize, pages int) {
	h := arch.NewHasher(arch.Key{})
	bufs, sums := make([][]byte, pages), make([]arch.Digest, pages)
	for i := range bufs {
		bufs[i] = make([]byte, pageSize)
	}
	b.SetBytes(int64(pages * pageSize))
	for b.Loop() {
		h.SumMany(bufs, sums)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(pages), "ns/page")
}

// costOfComputing computes about as long as a commit without sync takes, and does nothing
// that waits: what its percentiles are apart is the machine's doing.
func costOfComputing(b *testing.B) {
	h, page := arch.NewHasher(arch.Key{}), make([]byte, 4<<10)
	measure(b, func() error {
		for range 20 {
			h.Sum(page)
		}
		return nil
	})
}

// costOfFaults touches places of a mapping for the first time, stride bytes
// apart. All of the file is in memory. The kernel maps neighbours with one
// fault, so a short stride costs less.
func costOfFaults(b *testing.B, pageSize, stride int) {
	const size = 64 << 20
	f, err := fsync.Open(filepath.Join(b.TempDir(), "mapped"), os.O_RDWR|os.O_CREATE, 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	page := make([]byte, pageSize)
	for at := int64(0); at < size; at += int64(pageSize) { // as an engine writes, page by page
		if err := f.WriteAt(fsync.OpPageWrite, page, at); err != nil {
			b.Fatal(err)
		}
	}
	var m *mmap.Map
	at := size
	remap := func() {
		if m != nil {
			if err := m.Close(); err != nil {
				b.Fatal(err)
			}
		}
		if m, err = mmap.New(f.OSFile(), size, mmap.Options{}); err != nil {
			b.Fatal(err)
		}
		at = 0
	}
	for b.Loop() {
		if at >= size {
			b.StopTimer()
			remap()
			b.StartTimer()
		}
		p, ok := m.At(int64(at), 1)
		if !ok {
			b.Fatal("not mapped")
		}
		seen += p[0]
		at += stride
	}
	if err := errors.Join(m.Close(), f.Close()); err != nil {
		b.Fatal(err)
	}
}

// costOfSwitches hands a token to another goroutine and back; an operation is
// one of the two ways.
func costOfSwitches(b *testing.B) {
	there, back := make(chan struct{}), make(chan struct{})
	go func() {
		for range there {
			back <- struct{}{}
		}
		close(back)
	}()
	for b.Loop() {
		there <- struct{}{}
		<-back
	}
	close(there)
	<-back
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2, "ns/switch")
}
