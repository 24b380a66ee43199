package bench

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/fsync"
)

var (
	keyCount  = flag.Int("bench.keys", 100_000, "keys in the database")
	pageSizes = []int{4 << 10, 8 << 10, 16 << 10}
	bucket    = []byte("bench")
	value     = make([]byte, 100)
)

// TestMain makes the tests do less if they are to be short.
func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		*keyCount = min(*keyCount, 10_000)
		*budgetTime = min(*budgetTime, 100*time.Millisecond)
	}
	m.Run()
}

// batchSize is the number of puts in a transaction of a load.
const batchSize = 1000

// keyBuf is where a key is made, so that loops do not allocate.
type keyBuf [16]byte

// keyOrder makes the key of number i in k.
type keyOrder func(k *keyBuf, i int) []byte

// randomKey spreads numbers in sequence over the key space.
func randomKey(k *keyBuf, i int) []byte {
	binary.BigEndian.PutUint64(k[:], uint64(i)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(k[8:], uint64(i))
	return k[:]
}

// sortedKey makes keys that ascend with the numbers.
func sortedKey(k *keyBuf, i int) []byte {
	binary.BigEndian.PutUint64(k[:], 0)
	binary.BigEndian.PutUint64(k[8:], uint64(i))
	return k[:]
}

// picker makes the keys of random numbers below keyCount. Each goroutine has
// its own.
type picker struct {
	rnd *rand.Rand
	buf keyBuf
}

func newPicker(seed int) *picker {
	return &picker{rnd: rand.New(rand.NewPCG(uint64(seed), 1))}
}

// key returns a key that is valid until the next call.
func (p *picker) key() []byte { return randomKey(&p.buf, p.rnd.IntN(*keyCount)) }

// store is a database and what its file was asked to do.
type store struct {
	*lightning.DB
	disk *counter
}

// newStore returns an empty database that does not sync.
func newStore(tb testing.TB, pageSize int) *store {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "bench.ldb")
	s := &store{disk: new(counter)}
	defer fsync.Intercept(path, s.disk.wrap)()
	var err error
	s.DB, err = lightning.Open(path, 0o600, &lightning.Options{PageSize: pageSize, NoSync: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// open is newStore for those who need the database alone.
func open(tb testing.TB, pageSize int) *lightning.DB {
	tb.Helper()
	return newStore(tb, pageSize).DB
}

// load puts n keys with the value, in batches.
func load(tb testing.TB, db *lightning.DB, n int, order keyOrder, value []byte) {
	tb.Helper()
	each(tb, db, n, func(bk *lightning.Bucket, k *keyBuf, i int) error {
		return bk.Put(order(k, i), value)
	})
}

// each calls fn with the numbers below n, a batch in a transaction.
func each(tb testing.TB, db *lightning.DB, n int, fn func(bk *lightning.Bucket, k *keyBuf, i int) error) {
	tb.Helper()
	var k keyBuf
	for from := 0; from < n; from += batchSize {
		err := db.Update(func(tx *lightning.Tx) error {
			bk, err := tx.CreateBucketIfNotExists(bucket)
			if err != nil {
				return err
			}
			for i := from; i < min(from+batchSize, n); i++ {
				if err := fn(bk, &k, i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// loaded returns a database with keyCount keys. All of it is durable, so that
// the first synced commit does not pay for the load.
func loaded(tb testing.TB, pageSize int) *store {
	tb.Helper()
	s := newStore(tb, pageSize)
	load(tb, s.DB, *keyCount, randomKey, value)
	makeDurable(tb, s)
	return s
}

func makeDurable(tb testing.TB, s *store) {
	tb.Helper()
	if err := s.Sync(); err != nil {
		tb.Fatal(err)
	}
}

// forPageSizes runs fn on a loaded database of each page size.
func forPageSizes(b *testing.B, fn func(b *testing.B, s *store)) {
	for _, size := range pageSizes {
		b.Run(fmt.Sprintf("page=%d/keys=%d", size, *keyCount), func(b *testing.B) {
			fn(b, loaded(b, size))
		})
	}
}

// view runs fn on the bucket in a read-only transaction.
func view(tb testing.TB, db *lightning.DB, fn func(bk *lightning.Bucket) error) {
	tb.Helper()
	if err := db.View(func(tx *lightning.Tx) error { return fn(tx.Bucket(bucket)) }); err != nil {
		tb.Fatal(err)
	}
}

// putOne commits one put.
func putOne(db *lightning.DB, key []byte) error {
	return db.Update(func(tx *lightning.Tx) error { return tx.Bucket(bucket).Put(key, value) })
}

// reportSize reports the length of the file as a multiple of the n keys and
// values in it.
func reportSize(b *testing.B, db *lightning.DB, n int) {
	b.Helper()
	view(b, db, func(bk *lightning.Bucket) error {
		if bk.Len() != n {
			b.Fatalf("%d keys, want %d", bk.Len(), n)
		}
		b.ReportMetric(float64(bk.Tx().Size())/float64(n*(len(keyBuf{})+len(value))), "file/live")
		return nil
	})
}
