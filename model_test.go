package lightning_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sort"
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
)

// The model test steps a database and a sorted map in memory side by side, through random operations, and
// compares them at every step. -model.seed replays a run; the seed of a failed run is in its output.
var (
	modelOps  = flag.Int("model.ops", 1500, "operations of the model test per page size and durability mode")
	modelSeed = flag.Uint64("model.seed", 0, "seed of the model test; 0 takes one from the clock")
)

// A modelBucket is what a bucket should hold. Once its transaction has committed it is never changed again,
// so snapshots share it.
type modelBucket struct {
	seq   uint64
	items []modelItem // sorted by key, each key once
}

// A modelItem is a plain key, or a nested bucket if bucket is not nil.
type modelItem struct {
	key, value string
	bucket     *modelBucket
}

func (m *modelBucket) clone() *modelBucket {
	c := &modelBucket{seq: m.seq, items: append([]modelItem(nil), m.items...)}
	for i, item := range c.items {
		if item.bucket != nil {
			c.items[i].bucket = item.bucket.clone()
		}
	}
	return c
}

// search returns the position of key, or where it would be inserted.
func (m *modelBucket) search(key string) (int, bool) {
	i := sort.Search(len(m.items), func(i int) bool { return m.items[i].key >= key })
	return i, i < len(m.items) && m.items[i].key == key
}

func (m *modelBucket) set(item modelItem) {
	i, found := m.search(item.key)
	if !found {
		m.items = append(m.items, modelItem{})
		copy(m.items[i+1:], m.items[i:])
	}
	m.items[i] = item
}

func (m *modelBucket) cut(from, to int) { m.items = append(m.items[:from], m.items[to:]...) }

func (m *modelBucket) holds(other *modelBucket) bool {
	if m == other {
		return true
	}
	for _, item := range m.items {
		if item.bucket != nil && item.bucket.holds(other) {
			return true
		}
	}
	return false
}

// compareModel returns the first difference between the bucket and what it should hold.
func compareModel(b *lightning.Bucket, m *modelBucket) error {
	if got := b.Sequence(); got != m.seq {
		return fmt.Errorf("sequence: got %d, want %d", got, m.seq)
	}
	if got := b.Len(); got != len(m.items) {
		return fmt.Errorf("Len: got %d, want %d", got, len(m.items))
	}
	i := 0
	err := b.ForEach(func(k, v []byte) error {
		if i >= len(m.items) {
			return fmt.Errorf("key %.60q is too many", k)
		}
		want := m.items[i]
		i++
		if err := sameItem(k, v, want); err != nil {
			return err
		}
		if want.bucket == nil {
			return nil
		}
		child := b.Bucket(k)
		if child == nil {
			return fmt.Errorf("nested bucket %.60q cannot be opened", k)
		}
		if err := compareModel(child, want.bucket); err != nil {
			return fmt.Errorf("in %.20q: %w", k, err)
		}
		return nil
	})
	if err == nil && i < len(m.items) {
		err = fmt.Errorf("key %.60q and %d more are missing", m.items[i].key, len(m.items)-i-1)
	}
	return err
}

func sameItem(k, v []byte, want modelItem) error {
	if string(k) != want.key {
		return fmt.Errorf("key: got %.60q, want %.60q", k, want.key)
	}
	if want.bucket != nil && v != nil || string(v) != want.value {
		return fmt.Errorf("value of %.60q: got %.40q (%d bytes), want %.40q (%d bytes)",
			k, v, len(v), want.value, len(want.value))
	}
	return nil
}

// A modelRun is one database with the state that it should have, and its open readers.
type modelRun struct {
	t         *testing.T
	rng       *rand.Rand
	db        *lightning.DB
	opts      *lightning.Options
	committed *modelBucket
	readers   []modelReader
	commits   int
}

type modelReader struct {
	tx   *lightning.Tx
	want *modelBucket
}

func TestModel(t *testing.T) {
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	modes := []lightning.Durability{lightning.Sync, lightning.NoSync, lightning.Periodic(5 * time.Millisecond)}
	for _, pageSize := range pageSizes {
		for i, mode := range modes {
			t.Run(fmt.Sprintf("page=%d/durability=%d", pageSize, i), func(t *testing.T) {
				t.Logf("seed: -model.seed=%d", seed)
				opts := &lightning.Options{PageSize: pageSize, Durability: mode}
				run := &modelRun{
					t:         t,
					rng:       rand.New(rand.NewPCG(seed, uint64(pageSize+i))),
					db:        openDB(t, opts),
					opts:      opts,
					committed: &modelBucket{},
				}
				for ops := *modelOps; ops > 0 && !t.Failed(); {
					ops -= run.step()
				}
				run.closeReaders()
			})
		}
	}
}

// step does one thing with the database and returns how many operations it took.
func (r *modelRun) step() int {
	switch n := r.rng.IntN(100); {
	case n < 8:
		if len(r.readers) < 4 {
			r.readers = append(r.readers, modelReader{mustBegin(r.t, r.db, false), r.committed})
		}
	case n < 14:
		if len(r.readers) > 0 {
			r.closeReader(r.rng.IntN(len(r.readers)))
		}
	case n < 15:
		r.closeReaders()
		r.db = reopen(r.t, r.db, r.opts)
		r.compareCommitted()
	case n < 17:
		r.compareCommitted()
	default:
		return 1 + r.transaction()
	}
	return 1
}

// closeReader compares a reader's snapshot in full, and ends it.
func (r *modelRun) closeReader(i int) {
	reader := r.readers[i]
	r.readers = append(r.readers[:i], r.readers[i+1:]...)
	if err := compareModel(reader.tx.Cursor().Bucket(), reader.want); err != nil {
		r.t.Errorf("snapshot of transaction %d: %v", reader.tx.ID(), err)
	}
	mustRollback(r.t, reader.tx)
}

func (r *modelRun) closeReaders() {
	for len(r.readers) > 0 {
		r.closeReader(0)
	}
}

func (r *modelRun) compareCommitted() {
	mustView(r.t, r.db, func(tx *lightning.Tx) {
		if err := compareModel(tx.Cursor().Bucket(), r.committed); err != nil {
			r.t.Errorf("committed state after %d commits: %v", r.commits, err)
		}
	})
}

var errModelRefused = errors.New("refused")

// transaction runs one write transaction of a random kind and returns the number of its operations.
func (r *modelRun) transaction() int {
	ops := 1 + r.rng.IntN(30)
	seed := r.rng.Uint64()
	var after *modelBucket
	// Batch may run the function more than once, so each run starts anew from the same seed.
	work := func(tx *lightning.Tx) error {
		mt := &modelTx{
			t: r.t, rng: rand.New(rand.NewPCG(seed, 0)), pageSize: r.opts.PageSize,
			root: tx.Cursor().Bucket(), want: r.committed.clone(),
		}
		after = mt.want
		mt.run(ops)
		return nil
	}
	committed := false
	var err error
	switch kind := r.rng.IntN(20); {
	case kind < 8:
		err = r.db.Update(work)
		committed = true
	case kind < 10:
		r.db.MaxBatchSize = 1
		err = r.db.Batch(work)
		committed = true
	case kind < 14:
		tx := mustBegin(r.t, r.db, true)
		work(tx)
		err = tx.Commit()
		committed = true
	case kind < 16:
		tx := mustBegin(r.t, r.db, true)
		work(tx)
		err = tx.Rollback()
	case kind < 18:
		err = r.db.Update(func(tx *lightning.Tx) error { work(tx); return errModelRefused })
		if err == errModelRefused {
			err = nil
		}
	default:
		value := recovered(func() {
			err = r.db.Update(func(tx *lightning.Tx) error { work(tx); panic(errModelRefused) })
		})
		if value != errModelRefused {
			r.t.Errorf("panic in Update: recovered %v, want the value itself", value)
		}
	}
	if err != nil {
		r.t.Errorf("end of transaction: %v", err)
	}
	if committed {
		r.committed = after
		r.commits++
		if r.commits%modelCheckEvery == 0 {
			checkDB(r.t, r.db)
		}
	}
	return ops
}
