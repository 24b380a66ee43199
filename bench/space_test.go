package bench

import (
	"fmt"
	"testing"

	"github.com/lightning-db/lightning"
)

// BenchmarkChurn measures five rounds in which nine of ten keys are deleted
// and put again, in batches without sync. One operation is all five rounds.
func BenchmarkChurn(b *testing.B) {
	const rounds = 5
	forPageSizes(b, func(b *testing.B, s *store) {
		b.ReportAllocs()
		for b.Loop() {
			for round := range rounds {
				churn(b, s, round, func(bk *lightning.Bucket, key []byte) error { return bk.Delete(key) })
				churn(b, s, round, func(bk *lightning.Bucket, key []byte) error { return bk.Put(key, value) })
			}
		}
		reportSize(b, s.DB, *keyCount)
	})
}

// churn calls fn with nine of ten keys, others in each round.
func churn(b *testing.B, s *store, round int, fn func(bk *lightning.Bucket, key []byte) error) {
	each(b, s.DB, *keyCount, func(bk *lightning.Bucket, k *keyBuf, i int) error {
		if i%10 == round {
			return nil
		}
		return fn(bk, randomKey(k, i))
	})
}

// sparseValue is the length of values in BenchmarkCommitSparse: a file of
// 1 GiB holds a million of them.
const sparseValue = 900

// BenchmarkCommitSparse measures one put a durable commit in a file nine tenths
// of whose pages are free.
func BenchmarkCommitSparse(b *testing.B) {
	for _, size := range pageSizes {
		b.Run(fmt.Sprintf("page=%d/keys=%d", size, *keyCount), func(b *testing.B) {
			s := sparse(b, size)
			s.NoSync = false
			p := newPicker(1)
			if err := putOne(s.DB, p.key()); err != nil {
				b.Fatal(err) // the first after many that did not sync
			}
			measureCommits(b, s, func() error { return putOne(s.DB, p.key()) })
			var pages int64
			view(b, s.DB, func(bk *lightning.Bucket) error {
				pages = bk.Tx().Size() / int64(size)
				return nil
			})
			b.ReportMetric(100*float64(s.Stats().FreePageN)/float64(pages), "free-%")
		})
	}
}

// sparse returns a durable database of keyCount keys of which the greater nine
// tenths were deleted again.
func sparse(b *testing.B, pageSize int) *store {
	b.Helper()
	s := newStore(b, pageSize)
	load(b, s.DB, *keyCount, randomKey, make([]byte, sparseValue))
	makeDurable(b, s)
	err := s.Update(func(tx *lightning.Tx) error {
		_, err := tx.Bucket(bucket).DeleteRange([]byte{256 / 12}, nil)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	makeDurable(b, s)
	return s
}
