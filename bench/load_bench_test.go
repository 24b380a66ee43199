package bench

import (
	"encoding/binary"
	"flag"
	"fmt"
	"testing"

	"github.com/lightning-db/lightning"
)

var bulkKeys = flag.Int("bench.bulkkeys", 100_000, "keys that BenchmarkBulk stores in an empty database")

// storeBulk stores the 16-byte keys [from, to), in order, with values of 100 bytes.
type storeBulk func(bk *lightning.Bucket, from, to int) error

func putSorted(bk *lightning.Bucket, from, to int) error {
	var k [16]byte
	for i := from; i < to; i++ {
		binary.BigEndian.PutUint64(k[8:], uint64(i))
		if err := bk.Put(k[:], value); err != nil {
			return err
		}
	}
	return nil
}

func loadSorted(bk *lightning.Bucket, from, to int) error {
	_, err := bk.Load(func(put func(key, value []byte) error) error {
		var k [16]byte
		for i := from; i < to; i++ {
			binary.BigEndian.PutUint64(k[8:], uint64(i))
			if err := put(k[:], value); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// BenchmarkBulk stores sorted keys in an empty database that does not sync, by Put
// and by Load, in transactions of 1,000 keys and in one. An operation is a key,
// commits included.
func BenchmarkBulk(b *testing.B) {
	for _, by := range []struct {
		name  string
		store storeBulk
	}{{"put", putSorted}, {"load", loadSorted}} {
		for _, batch := range []int{1000, *bulkKeys} {
			for _, size := range pageSizes {
				b.Run(fmt.Sprintf("by=%s/batch=%d/page=%d/keys=%d", by.name, batch, size, *bulkKeys), func(b *testing.B) {
					bulk(b, size, batch, by.store)
				})
			}
		}
	}
}

func bulk(b *testing.B, pageSize, batch int, store storeBulk) {
	b.ReportAllocs()
	var db *lightning.DB
	for b.Loop() {
		b.StopTimer()
		if db != nil { // each takes address space
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
		}
		db = open(b, pageSize)
		b.StartTimer()
		for from := 0; from < *bulkKeys; from += batch {
			err := db.Update(func(tx *lightning.Tx) error {
				bk, err := tx.CreateBucketIfNotExists(bucket)
				if err != nil {
					return err
				}
				return store(bk, from, min(from+batch, *bulkKeys))
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(*bulkKeys), "ns/key")
	view(b, db, func(bk *lightning.Bucket) error {
		if bk.Len() != *bulkKeys {
			b.Fatalf("%d keys, want %d", bk.Len(), *bulkKeys)
		}
		b.ReportMetric(float64(bk.Tx().Size())/float64(*bulkKeys*(16+len(value))), "file/live")
		return nil
	})
}
