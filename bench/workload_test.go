package bench

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lightning-db/lightning"
)

var (
	keyCount  = flag.Int("bench.keys", 100_000, "keys in the database")
	pageSizes = []int{4 << 10, 8 << 10, 16 << 10}
	bucket    = []byte("bench")
	value     = make([]byte, 100)
)

// key returns the 16-byte key of number i; numbers in sequence are spread over
// the key space.
func key(i int) []byte {
	k := make([]byte, 16)
	binary.BigEndian.PutUint64(k, uint64(i)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(k[8:], uint64(i))
	return k
}

// sortedKey returns the 16-byte key of number i; numbers in sequence ascend.
func sortedKey(i int) []byte {
	k := make([]byte, 16)
	binary.BigEndian.PutUint64(k[8:], uint64(i))
	return k
}

// open returns an empty database that does not sync.
func open(b *testing.B, pageSize int) *lightning.DB {
	b.Helper()
	db, err := lightning.Open(filepath.Join(b.TempDir(), "bench.ldb"), 0o600, &lightning.Options{PageSize: pageSize, NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return db
}

// load puts n keys in batches of 1,000.
func load(b *testing.B, db *lightning.DB, n int, key func(int) []byte) {
	b.Helper()
	for i := 0; i < n; i += 1000 {
		err := db.Update(func(tx *lightning.Tx) error {
			bk, err := tx.CreateBucketIfNotExists(bucket)
			if err != nil {
				return err
			}
			for j := i; j < min(i+1000, n); j++ {
				if err := bk.Put(key(j), value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// forPageSizes runs fn on a loaded database of each page size.
func forPageSizes(b *testing.B, fn func(b *testing.B, db *lightning.DB)) {
	for _, size := range pageSizes {
		b.Run(fmt.Sprintf("page=%d/keys=%d", size, *keyCount), func(b *testing.B) {
			db := open(b, size)
			load(b, db, *keyCount, key)
			b.ReportAllocs()
			fn(b, db)
		})
	}
}

func view(b *testing.B, db *lightning.DB, fn func(bk *lightning.Bucket) error) {
	b.Helper()
	if err := db.View(func(tx *lightning.Tx) error { return fn(tx.Bucket(bucket)) }); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkGet(b *testing.B) {
	forPageSizes(b, func(b *testing.B, db *lightning.DB) {
		r := rand.New(rand.NewPCG(1, 1))
		view(b, db, func(bk *lightning.Bucket) error {
			for b.Loop() {
				if bk.Get(key(r.IntN(*keyCount))) == nil {
					b.Fatal("key is missing")
				}
			}
			return nil
		})
	})
}

func BenchmarkViewGet(b *testing.B) {
	forPageSizes(b, func(b *testing.B, db *lightning.DB) {
		r := rand.New(rand.NewPCG(1, 1))
		for b.Loop() {
			view(b, db, func(bk *lightning.Bucket) error {
				if bk.Get(key(r.IntN(*keyCount))) == nil {
					b.Fatal("key is missing")
				}
				return nil
			})
		}
	})
}

// BenchmarkFirstTouch measures reading keys whose pages are not verified yet:
// the price of integrity after an open.
func BenchmarkFirstTouch(b *testing.B) {
	for _, size := range pageSizes {
		b.Run(fmt.Sprintf("page=%d/keys=%d", size, *keyCount), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "bench.ldb")
			reopen := func(db *lightning.DB) *lightning.DB {
				if db != nil {
					if err := db.Close(); err != nil {
						b.Fatal(err)
					}
				}
				db, err := lightning.Open(path, 0o600, &lightning.Options{PageSize: size, NoSync: true})
				if err != nil {
					b.Fatal(err)
				}
				return db
			}
			db := reopen(nil)
			load(b, db, *keyCount, key)
			db = reopen(db) // the sync of what was loaded is not measured
			for b.Loop() {
				db = reopen(db)
				view(b, db, func(bk *lightning.Bucket) error {
					for i := range 1000 {
						bk.Get(key(i * (*keyCount / 1000)))
					}
					return nil
				})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/get")
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkScan(b *testing.B) {
	forPageSizes(b, func(b *testing.B, db *lightning.DB) {
		n := 0
		view(b, db, func(bk *lightning.Bucket) error {
			for b.Loop() {
				c := bk.Cursor()
				for k, _ := c.First(); k != nil; k, _ = c.Next() {
					n++
				}
			}
			return nil
		})
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/key")
	})
}

func BenchmarkLoad(b *testing.B) {
	for _, order := range []struct {
		name string
		key  func(int) []byte
	}{{"random", key}, {"sorted", sortedKey}} {
		for _, size := range pageSizes {
			b.Run(fmt.Sprintf("order=%s/page=%d/keys=%d", order.name, size, *keyCount), func(b *testing.B) {
				var db *lightning.DB
				for b.Loop() {
					if db != nil { // each takes address space
						if err := db.Close(); err != nil {
							b.Fatal(err)
						}
					}
					db = open(b, size)
					load(b, db, *keyCount, order.key)
				}
				perKey := float64(b.Elapsed().Nanoseconds()) / float64(b.N) / float64(*keyCount)
				b.ReportMetric(perKey, "ns/key")
				view(b, db, func(bk *lightning.Bucket) error {
					live := float64(*keyCount) * float64(16+len(value))
					b.ReportMetric(float64(bk.Tx().Size())/live, "file/live")
					return nil
				})
			})
		}
	}
}

// commit measures one put per transaction.
func commit(b *testing.B, db *lightning.DB) {
	r := rand.New(rand.NewPCG(1, 1))
	var times []time.Duration
	before := db.Stats()
	for b.Loop() {
		began := time.Now()
		err := db.Update(func(tx *lightning.Tx) error {
			return tx.Bucket(bucket).Put(key(r.IntN(*keyCount)), value)
		})
		if err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(began))
	}
	after := db.Stats()
	diff := after.Sub(&before)
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2]), "p50-ns")
	b.ReportMetric(float64(times[len(times)*99/100]), "p99-ns")
	pages := float64(diff.TxStats.GetSpill()) / float64(b.N)
	b.ReportMetric(pages*float64(db.Info().PageSize)+4096, "written-B/op")
}

func BenchmarkCommitNoSync(b *testing.B) { forPageSizes(b, commit) }

func BenchmarkCommitSync(b *testing.B) {
	forPageSizes(b, func(b *testing.B, db *lightning.DB) {
		db.NoSync = false
		commit(b, db)
	})
}

// BenchmarkCommitSyncGroup measures durable commits of concurrent writers.
func BenchmarkCommitSyncGroup(b *testing.B) {
	for _, writers := range []int{16, 64} {
		for _, size := range pageSizes {
			b.Run(fmt.Sprintf("writers=%d/page=%d/keys=%d", writers, size, *keyCount), func(b *testing.B) {
				db := open(b, size)
				load(b, db, *keyCount, key)
				db.NoSync = false
				b.SetParallelism((writers + 1) / 2)
				b.ReportAllocs()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						err := db.Update(func(tx *lightning.Tx) error {
							return tx.Bucket(bucket).Put(key(rand.IntN(*keyCount)), value)
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			})
		}
	}
}
