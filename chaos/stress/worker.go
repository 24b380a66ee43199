package stress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/lightning-db/lightning"
)

// worker is one goroutine with a bucket of its own.
type worker struct {
	runner  *runner
	number  int
	bucket  []byte
	rng     *rand.Rand
	latency latencies
	want    []byte // storage for a value
	version uint32 // newest that was put

	content content
	long    *longReader
}

// longReader is a read-only transaction that outlives many changes.
type longReader struct {
	tx   *lightning.Tx
	want content
}

func newWorker(r *runner, number int) *worker {
	return &worker{
		runner: r, number: number, bucket: fmt.Appendf(nil, "worker%04d", number),
		rng: rand.New(rand.NewPCG(r.config.Seed, uint64(number))), latency: newLatencies(),
	}
}

// mix is what workers do, with weights.
var mix = []struct {
	weight int
	do     func(*worker) error
}{
	{45_000, (*worker).get},
	{5_000, (*worker).getForeign},
	{8_000, (*worker).scan},
	{22_000, (*worker).put},
	{5_000, (*worker).remove},
	{1_000, (*worker).batch},
	{6_000, (*worker).transaction},
	{2_000, (*worker).failing},
	{400, (*worker).nested},
	{600, (*worker).longRead},
	{200, (*worker).sync},
	{5, (*worker).check},
	{5, (*worker).copy},
}

var mixWeight = func() (sum int) {
	for _, m := range mix {
		sum += m.weight
	}
	return sum
}()

// run works until all workers together have done enough, or ctx ends.
func (w *worker) run(ctx context.Context) {
	r := w.runner
	defer func() {
		if p := recover(); p != nil {
			r.fail("worker %d: panic: %v\n%s", w.number, p, debug.Stack())
		}
	}()
	defer w.endLongRead()
	for ctx.Err() == nil && r.done.Load() < int64(r.config.Ops) {
		n := w.rng.IntN(mixWeight)
		for _, m := range mix {
			if n -= m.weight; n < 0 {
				w.try(m.do)
				break
			}
		}
	}
	if w.number == 0 { // short runs have one, too
		w.try((*worker).check)
		w.try((*worker).copy)
	}
}

func (w *worker) try(do func(*worker) error) {
	if err := do(w); err != nil {
		w.runner.fail("worker %d: %v", w.number, err)
	}
}

func (w *worker) did(operations int) { w.runner.done.Add(int64(operations)) }

func (w *worker) anyKey() int { return w.rng.IntN(keysPerWorker) }

func (w *worker) get() error {
	i := w.anyKey()
	return w.getOf(w.bucket, i, func(v []byte) error { return w.verify(i, w.content.versions[i], v) })
}

// getForeign reads what another worker may be changing.
func (w *worker) getForeign() error {
	other, i := w.runner.workers[w.rng.IntN(len(w.runner.workers))], w.anyKey()
	return w.getOf(other.bucket, i, func(v []byte) error { return w.verifyWhole(other.number, i, v) })
}

func (w *worker) getOf(name []byte, i int, verify func([]byte) error) error {
	defer w.did(1)
	defer w.latency.since(get, time.Now())
	return w.runner.db.View(func(tx *lightning.Tx) error {
		b, err := bucket(tx, name)
		if err != nil {
			return err
		}
		return verify(b.Get(w.runner.keys[i]))
	})
}

// scanned is how many keys a scan compares.
const scanned = 20

func (w *worker) scan() error {
	defer w.did(1)
	defer w.latency.since(scan, time.Now())
	return w.runner.db.View(func(tx *lightning.Tx) error {
		b, err := bucket(tx, w.bucket)
		if err != nil {
			return err
		}
		i := w.anyKey()
		c := b.Cursor()
		k, v := c.Seek(w.runner.keys[i])
		for range scanned {
			for i < keysPerWorker && w.content.versions[i] == 0 {
				i++
			}
			if i == keysPerWorker {
				if k != nil && !bytes.Equal(k, nestedName) {
					return fmt.Errorf("scan: key %.30q after the last one", k)
				}
				return nil
			}
			if !bytes.Equal(k, w.runner.keys[i]) {
				return fmt.Errorf("scan: key %.30q, want key %d (%v)", k, i, tx.Err())
			}
			if err := w.verify(i, w.content.versions[i], v); err != nil {
				return fmt.Errorf("scan: %w", err)
			}
			i++
			k, v = c.Next()
		}
		return nil
	})
}

// change is one key and the version it is to have; 0 deletes it.
type change struct {
	key     int
	version uint32
}

func (w *worker) newChange() change {
	w.version++
	return change{w.anyKey(), w.version}
}

// apply makes a change within a transaction.
func (w *worker) apply(tx *lightning.Tx, c change) error {
	b, err := bucket(tx, w.bucket)
	if err != nil {
		return err
	}
	key := w.runner.keys[c.key]
	if c.version == 0 {
		defer w.latency.since(remove, time.Now())
		return b.Delete(key)
	}
	value := w.runner.appendValue(nil, w.number, c.key, c.version)
	defer w.latency.since(put, time.Now())
	return b.Put(key, value)
}

func (w *worker) put() error { return w.update(w.newChange()) }

func (w *worker) remove() error { return w.update(change{key: w.anyKey()}) }

// update makes one change in a transaction of its own.
func (w *worker) update(c change) error {
	defer w.did(1)
	began := time.Now()
	err := w.runner.db.Update(func(tx *lightning.Tx) error { return w.apply(tx, c) })
	w.latency.since(update, began)
	if err != nil {
		return fmt.Errorf("update: %w", err)
	}
	w.committed(c)
	return nil
}

// committed brings the model up to date.
func (w *worker) committed(changes ...change) {
	w.runner.commits.Add(1)
	for _, c := range changes {
		w.content.versions[c.key] = c.version
	}
}

func (w *worker) batch() error {
	defer w.did(1)
	c := w.newChange()
	began := time.Now()
	// The function may run several times, in a transaction with those of others.
	err := w.runner.db.Batch(func(tx *lightning.Tx) error {
		return tx.Bucket(w.bucket).Put(w.runner.keys[c.key], w.runner.appendValue(nil, w.number, c.key, c.version))
	})
	w.latency.since(batch, began)
	if err != nil {
		return fmt.Errorf("batch: %w", err)
	}
	w.committed(c)
	return nil
}

// transaction makes several changes, reads what it has changed, raises two
// shared counters and commits, or rolls all of it back.
func (w *worker) transaction() error {
	tx, err := w.runner.db.Begin(true)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	var changes []change
	up, also := w.rng.IntN(counters), w.rng.IntN(counters)
	err = func() error {
		for range 2 + w.rng.IntN(12) {
			c := w.newChange()
			if w.rng.IntN(5) == 0 {
				c.version = 0
			}
			if err := w.apply(tx, c); err != nil {
				return err
			}
			changes = append(changes, c)
		}
		last := changes[len(changes)-1]
		if err := w.verify(last.key, last.version, tx.Bucket(w.bucket).Get(w.runner.keys[last.key])); err != nil {
			return fmt.Errorf("in the transaction that changed it: %w", err)
		}
		return errors.Join(raise(tx, up), raise(tx, also))
	}()
	w.did(len(changes))
	if err != nil || w.rng.IntN(4) == 0 {
		return errors.Join(err, tx.Rollback())
	}
	began := time.Now()
	err = tx.Commit()
	w.latency.since(commit, began)
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	w.committed(changes...)
	w.runner.totals[up].Add(1)
	w.runner.totals[also].Add(1)
	return nil
}

var errWanted = errors.New("the function fails")

// failing makes a change in a function that fails: it must not be seen.
func (w *worker) failing() error {
	defer w.did(1)
	c := w.newChange()
	err := w.runner.db.Update(func(tx *lightning.Tx) error {
		if err := w.apply(tx, c); err != nil {
			return err
		}
		return errWanted
	})
	if err != errWanted {
		return fmt.Errorf("update whose function fails: %w", err)
	}
	return nil
}

// nested makes or deletes the bucket within the worker's bucket.
func (w *worker) nested() error {
	version := uint32(0)
	err := w.runner.db.Update(func(tx *lightning.Tx) error {
		b, err := bucket(tx, w.bucket)
		if err != nil {
			return err
		}
		if w.content.nested != 0 {
			return b.DeleteBucket(nestedName)
		}
		n, err := b.CreateBucket(nestedName)
		if err != nil {
			return err
		}
		w.version++
		version = w.version
		for i := range nestedKeys {
			if err := n.Put(w.runner.keys[i], w.runner.appendValue(nil, w.number, nestedFrom+i, version)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("nested bucket: %w", err)
	}
	w.did(1)
	w.committed()
	w.content.nested = version
	return nil
}

// longRead begins a reader, or ends the one that was begun.
func (w *worker) longRead() error {
	if w.long != nil {
		w.endLongRead()
		return nil
	}
	tx, err := w.runner.db.Begin(false)
	if err != nil {
		return fmt.Errorf("begin a reader: %w", err)
	}
	w.long = &longReader{tx, w.content}
	return nil
}

// endLongRead compares what the reader sees with what was there when it began.
func (w *worker) endLongRead() {
	if w.long == nil {
		return
	}
	if err := w.compare(w.long.tx, &w.long.want); err != nil {
		w.runner.fail("long reader: %v", err)
	}
	if err := w.long.tx.Rollback(); err != nil {
		w.runner.fail("end of a long reader: %v", err)
	}
	w.long = nil
}

func (w *worker) sync() error { return w.runner.db.Sync() }

// check looks the database through beside the other workers.
func (w *worker) check() error {
	return w.runner.db.View(func(tx *lightning.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// copy copies the database beside the other workers and compares the worker's
// bucket in the copy.
func (w *worker) copy() error {
	defer w.did(1)
	path := filepath.Join(w.runner.dir, fmt.Sprintf("copy%04d.db", w.number))
	err := w.runner.db.View(func(tx *lightning.Tx) (err error) {
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		defer w.latency.since(copied, time.Now())
		_, err = tx.WriteTo(f)
		return err
	})
	if err != nil {
		return fmt.Errorf("write the copy: %w", err)
	}
	db, err := lightning.Open(path, 0, &lightning.Options{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("open the copy: %w", err)
	}
	err = db.View(func(tx *lightning.Tx) error { return w.compare(tx, &w.content) })
	if err := errors.Join(err, db.Close(), os.Remove(path)); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return nil
}
