package bench

import (
	"fmt"
	"testing"

	"github.com/lightning-db/lightning"
)

// BenchmarkLoad measures the load of an empty database in batches, without
// sync. One operation is one load.
func BenchmarkLoad(b *testing.B) {
	for _, way := range []struct {
		name string
		load func(tb testing.TB, db *lightning.DB)
	}{
		{"order=random/by=put", func(tb testing.TB, db *lightning.DB) { load(tb, db, *keyCount, randomKey, value) }},
		{"order=sorted/by=put", func(tb testing.TB, db *lightning.DB) { load(tb, db, *keyCount, sortedKey, value) }},
		{"order=sorted/by=load", func(tb testing.TB, db *lightning.DB) { bulkLoad(tb, db, *keyCount, batchSize) }},
		{"order=sorted/by=load-at-once", func(tb testing.TB, db *lightning.DB) { bulkLoad(tb, db, *keyCount, *keyCount) }},
	} {
		for _, size := range pageSizes {
			b.Run(fmt.Sprintf("%s/page=%d/keys=%d", way.name, size, *keyCount), func(b *testing.B) {
				b.ReportAllocs()
				var db *lightning.DB
				for b.Loop() {
					b.StopTimer()
					if db != nil { // each takes address space
						if err := db.Close(); err != nil {
							b.Fatal(err)
						}
					}
					db = open(b, size)
					b.StartTimer()
					way.load(b, db)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(*keyCount), "ns/key")
				reportSize(b, db, *keyCount)
			})
		}
	}
}

// bulkLoad stores n sorted keys by Bucket.Load, a batch in a transaction.
func bulkLoad(tb testing.TB, db *lightning.DB, n, batch int) {
	tb.Helper()
	var k keyBuf
	for from := 0; from < n; from += batch {
		if err := db.Update(func(tx *lightning.Tx) error {
			bk, err := tx.CreateBucketIfNotExists(bucket)
			if err != nil {
				return err
			}
			_, err = bk.Load(func(put func(key, value []byte) error) error {
				for i := from; i < min(from+batch, n); i++ {
					if err := put(sortedKey(&k, i), value); err != nil {
						return err
					}
				}
				return nil
			})
			return err
		}); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkPut measures random puts within transactions of a batch. The time
// of their commits is in ns/op, but not in the percentiles.
func BenchmarkPut(b *testing.B) {
	forPageSizes(b, func(b *testing.B, s *store) {
		b.ReportAllocs()
		puts := newPuts(s)
		for b.Loop() {
			if err := puts.one(); err != nil {
				b.Fatal(err)
			}
		}
		if err := puts.end(); err != nil {
			b.Fatal(err)
		}
		reportTimes(b, puts.times)
	})
}

// BenchmarkCommitNoSync measures one random put a commit, without sync.
func BenchmarkCommitNoSync(b *testing.B) {
	forPageSizes(b, func(b *testing.B, s *store) {
		p := newPicker(1)
		measureCommits(b, s, func() error { return putOne(s.DB, p.key()) })
	})
}

// BenchmarkCommitSync measures one random put a durable commit, and beside it
// what the device takes for one write of as many bytes and one fdatasync.
func BenchmarkCommitSync(b *testing.B) {
	forPageSizes(b, func(b *testing.B, s *store) {
		s.NoSync = false
		p := newPicker(1)
		size, err := commitBytes(s, p)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("by=engine", func(b *testing.B) {
			measureCommits(b, s, func() error { return putOne(s.DB, p.key()) })
		})
		b.Run("by=device", func(b *testing.B) {
			d := newDevice(b)
			measure(b, func() error { return d.writeSynced(size) })
			b.ReportMetric(float64(size), "written-B/op")
		})
	})
}

// commitBytes returns how many bytes a commit of one put writes, as the mean
// of a few.
func commitBytes(s *store, p *picker) (int, error) {
	const commits = 32
	before := s.disk.now()
	for range commits {
		if err := putOne(s.DB, p.key()); err != nil {
			return 0, err
		}
	}
	return int(s.disk.since(before).bytes / commits), nil
}

// TestCommitCost holds that a durable commit of one put is one flush of few
// bytes.
func TestCommitCost(t *testing.T) {
	const commits, mostBytes = 200, 24 << 10
	s := loaded(t, lightning.DefaultPageSize)
	s.NoSync = false
	p := newPicker(1)
	before := s.disk.now()
	for range commits {
		if err := putOne(s.DB, p.key()); err != nil {
			t.Fatal(err)
		}
	}
	got := s.disk.since(before)
	// The file may grow once or twice on the way, with a flush of its own.
	if got.flushes < commits || got.flushes > commits+2 {
		t.Errorf("%d flushes in %d commits, want one each", got.flushes, commits)
	}
	if got.bytes > commits*mostBytes {
		t.Errorf("%d bytes written by a commit of one put, want %d at the most", got.bytes/commits, mostBytes)
	}
}
