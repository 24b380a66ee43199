package bench

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/lightning-db/lightning"
)

// seen keeps what was read from being optimised away.
var seen byte

var errMissing = errors.New("a key is missing")

// get reads a random key, which is there.
func get(bk *lightning.Bucket, p *picker) error {
	if bk.Get(p.key()) == nil {
		return errMissing
	}
	return nil
}

// BenchmarkGet measures random gets in one long transaction.
func BenchmarkGet(b *testing.B) {
	forPageSizes(b, func(b *testing.B, s *store) {
		p := newPicker(1)
		view(b, s.DB, func(bk *lightning.Bucket) error {
			measureShort(b, func() error { return get(bk, p) })
			return nil
		})
	})
}

// BenchmarkViewGet measures random gets in a View each.
func BenchmarkViewGet(b *testing.B) {
	forPageSizes(b, func(b *testing.B, s *store) {
		measureShort(b, viewGet(s, newPicker(1)))
	})
}

// viewGet returns a function that gets a random key in a View.
func viewGet(s *store, p *picker) func() error {
	fn := func(tx *lightning.Tx) error { return get(tx.Bucket(bucket), p) }
	return func() error { return s.View(fn) }
}

// BenchmarkViewGetParallel is BenchmarkViewGet from GOMAXPROCS goroutines at
// once; -cpu 1,2,4 shows how it scales.
func BenchmarkViewGetParallel(b *testing.B) {
	forPageSizes(b, func(b *testing.B, s *store) {
		b.ReportAllocs()
		b.ResetTimer()
		var seed atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			op := viewGet(s, newPicker(int(seed.Add(1))))
			for pb.Next() {
				if err := op(); err != nil {
					b.Error(err)
					return
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "gets/s")
	})
}

// BenchmarkSeekNext measures a seek to a random key and ten steps from it.
func BenchmarkSeekNext(b *testing.B) {
	forPageSizes(b, func(b *testing.B, s *store) {
		p := newPicker(1)
		view(b, s.DB, func(bk *lightning.Bucket) error {
			c := bk.Cursor()
			measureShort(b, func() error { return seekNext(c, p) })
			return nil
		})
	})
}

// seekNext moves c to a random key and ten entries on.
func seekNext(c *lightning.Cursor, p *picker) error {
	k, v := c.Seek(p.key())
	if k == nil {
		return errMissing
	}
	for i := 0; i < 10 && k != nil; i++ {
		seen += k[0] + v[0]
		k, v = c.Next()
	}
	return nil
}

// BenchmarkScan measures a walk over all entries in order that looks at a byte
// of each key and value. One operation is one walk.
func BenchmarkScan(b *testing.B) {
	forPageSizes(b, func(b *testing.B, s *store) {
		b.ReportAllocs()
		n := 0
		view(b, s.DB, func(bk *lightning.Bucket) error {
			for b.Loop() {
				c := bk.Cursor()
				for k, v := c.First(); k != nil; k, v = c.Next() {
					seen += k[0] + v[0]
					n++
				}
			}
			return nil
		})
		if n != b.N**keyCount {
			b.Fatalf("%d entries in %d walks of %d keys", n, b.N, *keyCount)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/key")
	})
}
