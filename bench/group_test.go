package bench

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// BenchmarkCommitGroup measures durable commits of one random put by
// concurrent writers, which call Update and nothing else.
func BenchmarkCommitGroup(b *testing.B) {
	forPageSizes(b, func(b *testing.B, s *store) {
		s.NoSync = false
		for _, writers := range []int{16, 64} {
			b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
				b.ReportAllocs()
				pickers := make([]*picker, writers)
				for i := range pickers {
					pickers[i] = newPicker(i)
				}
				before := s.disk.now()
				concurrently(b, writers, func(worker int) error {
					return putOne(s.DB, pickers[worker].key())
				})
				s.disk.since(before).report(b)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			})
		}
	})
}

// concurrently lets workers call op, b.N times in all, and reports the
// percentiles of the calls.
func concurrently(b *testing.B, workers int, op func(worker int) error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	times := make([]*hdrhistogram.Histogram, workers)
	errs := make([]error, workers)
	for w := range times {
		times[w] = newTimes()
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for left.Add(-1) >= 0 && errs[w] == nil {
				errs[w] = timed(times[w], func() error { return op(w) })
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
	for _, h := range times[1:] {
		times[0].Merge(h)
	}
	reportTimes(b, times[0])
}

// BenchmarkReadBesideWriter measures random gets, in a View each, while
// another goroutine commits durably without a pause.
func BenchmarkReadBesideWriter(b *testing.B) {
	forPageSizes(b, func(b *testing.B, s *store) {
		s.NoSync = false
		var stop atomic.Bool
		var commits int
		var failed error
		var wg sync.WaitGroup
		wg.Go(func() {
			for p := newPicker(2); failed == nil && (!stop.Load() || commits == 0); commits++ {
				failed = putOne(s.DB, p.key())
			}
		})
		measure(b, viewGet(s, newPicker(1)))
		took := b.Elapsed()
		stop.Store(true)
		wg.Wait()
		if failed != nil {
			b.Fatal(failed)
		}
		b.ReportMetric(float64(commits)/took.Seconds(), "commits/s")
	})
}
