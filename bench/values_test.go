package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/arch"
)

// The big values; together more than the processor's caches hold.
const (
	bigSize  = 1 << 20
	bigCount = 64
)

// BenchmarkBigValue measures values of 1 MiB: durable and other puts beside
// what hashing and writing as much takes without a database, gets that look at
// a byte of each cache line, and puts of a small value beside the big ones.
func BenchmarkBigValue(b *testing.B) {
	b.Run(fmt.Sprintf("size=%d", bigSize), func(b *testing.B) {
		s := newStore(b, lightning.DefaultPageSize)
		big := make([]byte, bigSize)
		for i := range bigSize / 8 {
			binary.LittleEndian.PutUint64(big[8*i:], rand.Uint64())
		}
		load(b, s.DB, bigCount, randomKey, big)
		makeDurable(b, s)
		at := 0
		var k keyBuf
		next := func() []byte { // in another order than they lie in the file
			at = (at + 37) % bigCount
			return randomKey(&k, at)
		}
		b.Run("op=get", func(b *testing.B) { benchmarkBigGet(b, s, next) })
		b.Run("op=put", func(b *testing.B) {
			benchmarkBigPut(b, s, func(bk *lightning.Bucket) error { return bk.Put(next(), big) })
		})
		b.Run("op=bare-put", func(b *testing.B) {
			d, h := newDevice(b), arch.NewHasher(arch.Key{})
			b.SetBytes(bigSize)
			measure(b, func() error {
				seen += h.Sum(big)[0]
				return d.write(bigSize)
			})
		})
		s.NoSync = false
		makeDurable(b, s) // of what the puts above wrote
		b.Run("op=durable-put", func(b *testing.B) {
			benchmarkBigPut(b, s, func(bk *lightning.Bucket) error { return bk.Put(next(), big) })
		})
		b.Run("op=bare-durable-put", func(b *testing.B) {
			d, h := newDevice(b), arch.NewHasher(arch.Key{})
			b.SetBytes(bigSize)
			measure(b, func() error {
				seen += h.Sum(big)[0]
				return d.writeSynced(bigSize)
			})
		})
		b.Run("op=neighbour", func(b *testing.B) {
			measureCommits(b, s, func() error { return putOne(s.DB, []byte("neighbour")) })
		})
	})
}

// benchmarkBigPut measures commits of one put of a big value.
func benchmarkBigPut(b *testing.B, s *store, put func(bk *lightning.Bucket) error) {
	b.SetBytes(bigSize)
	measureCommits(b, s, func() error {
		return s.Update(func(tx *lightning.Tx) error { return put(tx.Bucket(bucket)) })
	})
}

var errShort = errors.New("a big value is not there or too short")

// benchmarkBigGet measures gets of big values that were verified before.
func benchmarkBigGet(b *testing.B, s *store, next func() []byte) {
	view(b, s.DB, func(bk *lightning.Bucket) error {
		op := func() error {
			v := bk.Get(next())
			if len(v) != bigSize {
				return errShort
			}
			for i := 0; i < len(v); i += 64 {
				seen += v[i]
			}
			return nil
		}
		for range bigCount {
			if err := op(); err != nil {
				return err
			}
		}
		b.SetBytes(bigSize)
		measure(b, op)
		return nil
	})
}
