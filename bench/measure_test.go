package bench

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/lightning-db/lightning/fsync"
)

// counter stands between a database and its file and counts what reaches the
// file. DB.Stats does not do for this: it knows write calls and the pages that
// transactions sealed, but not flushes, nor pages that several transactions
// shared, nor those of the map of free space.
type counter struct {
	fsync.File
	bytes   atomic.Int64
	flushes atomic.Int64
}

func (c *counter) wrap(f fsync.File) fsync.File {
	c.File = f
	return c
}

func (c *counter) WriteAt(op fsync.Op, p []byte, off int64) error {
	c.bytes.Add(int64(len(p)))
	return c.File.WriteAt(op, p, off)
}

func (c *counter) WriteAtv(op fsync.Op, bufs [][]byte, off int64) error {
	for _, b := range bufs {
		c.bytes.Add(int64(len(b)))
	}
	return c.File.WriteAtv(op, bufs, off)
}

func (c *counter) Sync(op fsync.Op) error {
	c.flushes.Add(1)
	return c.File.Sync(op)
}

func (c *counter) SyncFull(op fsync.Op) error {
	c.flushes.Add(1)
	return c.File.SyncFull(op)
}

// cost is what a file was asked to do.
type cost struct{ bytes, flushes int64 }

func (c *counter) now() cost { return cost{c.bytes.Load(), c.flushes.Load()} }

func (c *counter) since(before cost) cost {
	return cost{c.bytes.Load() - before.bytes, c.flushes.Load() - before.flushes}
}

// report reports the cost of each of b.N operations.
func (c cost) report(b *testing.B) {
	b.ReportMetric(float64(c.bytes)/float64(b.N), "written-B/op")
	b.ReportMetric(float64(c.flushes)/float64(b.N), "flushes/op")
}

// longest is the longest time that a histogram tells from longer ones.
const longest = int64(time.Minute)

// newTimes returns a histogram of nanoseconds with three significant digits.
func newTimes() *hdrhistogram.Histogram { return hdrhistogram.New(1, longest, 3) }

// record adds the time since began to h.
func record(h *hdrhistogram.Histogram, began time.Time) {
	ns := min(max(int64(time.Since(began)), 1), longest)
	if err := h.RecordValue(ns); err != nil {
		panic(err) // the value is within the range that the histogram was made for
	}
}

// timed calls op and records how long it took.
func timed(h *hdrhistogram.Histogram, op func() error) error {
	began := time.Now()
	err := op()
	record(h, began)
	return err
}

// reportTimes reports the percentiles of h.
func reportTimes(b *testing.B, h *hdrhistogram.Histogram) {
	b.ReportMetric(float64(h.ValueAtQuantile(50)), "p50-ns")
	b.ReportMetric(float64(h.ValueAtQuantile(99)), "p99-ns")
	b.ReportMetric(float64(h.ValueAtQuantile(99.9)), "p999-ns")
}

// measureShort measures an operation that takes less time than two looks at
// the clock cost. ns/op comes from a loop without the clock, the percentiles
// from as many further calls, 100,000 at the most.
func measureShort(b *testing.B, op func() error) {
	b.ReportAllocs()
	for b.Loop() {
		if err := op(); err != nil {
			b.Fatal(err)
		}
	}
	h := newTimes()
	for range min(b.N, 100_000) {
		if err := timed(h, op); err != nil {
			b.Fatal(err)
		}
	}
	reportTimes(b, h)
}

// measure measures an operation beside which the clock costs nothing.
func measure(b *testing.B, op func() error) {
	b.ReportAllocs()
	h := newTimes()
	for b.Loop() {
		if err := timed(h, op); err != nil {
			b.Fatal(err)
		}
	}
	reportTimes(b, h)
}

// measureBetween is measure with something off the clock before each call.
func measureBetween(b *testing.B, before func(), op func() error) {
	b.ReportAllocs()
	h := newTimes()
	for b.Loop() {
		b.StopTimer()
		before()
		b.StartTimer()
		if err := timed(h, op); err != nil {
			b.Fatal(err)
		}
	}
	reportTimes(b, h)
}

// measureCommits is measure with what each operation costs at the file.
func measureCommits(b *testing.B, s *store, op func() error) {
	before := s.disk.now()
	measure(b, op)
	s.disk.since(before).report(b)
}

// device is a file without a database: what a commit costs at the least.
type device struct {
	file fsync.File
	buf  []byte
	at   int64
}

// deviceBytes is the length of the file of a device.
const deviceBytes = 64 << 20

// newDevice returns a file whose blocks have all been written before.
func newDevice(tb testing.TB) *device {
	tb.Helper()
	f, err := fsync.Open(filepath.Join(tb.TempDir(), "device"), os.O_RDWR|os.O_CREATE, 0o600, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := f.Close(); err != nil {
			tb.Error(err)
		}
	})
	d := &device{file: f}
	for range deviceBytes / (1 << 20) {
		if err := d.write(1 << 20); err != nil {
			tb.Fatal(err)
		}
	}
	if err := f.SyncFull(fsync.OpGrowSync); err != nil {
		tb.Fatal(err)
	}
	return d
}

// write writes n bytes behind those of the call before, at the start again
// when the file ends.
func (d *device) write(n int) error {
	if len(d.buf) < n {
		d.buf = make([]byte, n)
	}
	if d.at+int64(n) > deviceBytes {
		d.at = 0
	}
	at := d.at
	d.at += int64(n)
	return d.file.WriteAtv(fsync.OpPageWrite, [][]byte{d.buf[:n]}, at)
}

// writeSynced is write with an fdatasync.
func (d *device) writeSynced(n int) error {
	if err := d.write(n); err != nil {
		return err
	}
	return d.file.Sync(fsync.OpSync)
}

// scatterSynced writes pages that lie apart from each other, with one fdatasync.
func (d *device) scatterSynced(pages, pageSize int) error {
	if len(d.buf) < pageSize {
		d.buf = make([]byte, pageSize)
	}
	for range pages {
		d.at = (d.at + 509*int64(pageSize)) % deviceBytes // odd, so that it comes to every page
		if err := d.file.WriteAtv(fsync.OpPageWrite, [][]byte{d.buf[:pageSize]}, d.at); err != nil {
			return err
		}
	}
	return d.file.Sync(fsync.OpSync)
}
