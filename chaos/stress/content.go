package stress

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"

	"github.com/lightning-db/lightning"
)

// A worker has a bucket to itself, so that it knows at any time what must be
// in it: the version of each of its keys. What is stored under a version says
// whose it is, so that a value at the wrong place is noticed anywhere.

const (
	keysPerWorker = 2000
	nestedKeys    = 40
	nestedFrom    = 1_000_000 // number of the first of them
	blobSize      = 1 << 20
	maxValue      = 200 << 10
	headerSize    = 12 // of a value: worker, key, version
)

// content is what a worker's bucket holds.
type content struct {
	versions [keysPerWorker]uint32 // 0 = no such key
	nested   uint32                // version of the keys of the nested bucket; 0 = no such bucket
}

// nestedName sorts behind all keys.
var nestedName = []byte("~nested")

// keyOf returns a worker's key number i. A few are long, some very long; their
// order is that of their numbers.
func keyOf(i int) []byte {
	key := fmt.Appendf(nil, "key%06d", i)
	switch {
	case i%97 == 0:
		key = append(key, bytes.Repeat([]byte{'-'}, 2500)...)
	case i%17 == 0:
		key = append(key, bytes.Repeat([]byte{'-'}, 150)...)
	}
	return key
}

// valueSize returns the length of a value behind its header: mostly short, some
// longer than a page, a few much longer.
func valueSize(h uint32) int {
	switch {
	case h%1000 == 0:
		return int(h>>10) % maxValue
	case h%50 == 0:
		return int(h>>10) % (20 << 10)
	}
	return int(h>>10) % 300
}

// appendValue appends to b the value of a worker's key in a version.
func (r *runner) appendValue(b []byte, worker, key int, version uint32) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(worker))
	b = binary.BigEndian.AppendUint32(b, uint32(key))
	b = binary.BigEndian.AppendUint32(b, version)
	h := fnv.New32a()
	h.Write(b[start:])
	sum := h.Sum32()
	from := int(sum % (blobSize - maxValue))
	return append(b, r.blob[from:from+valueSize(sum)]...)
}

// verify compares what was read under one of the worker's keys with its version.
func (w *worker) verify(key int, version uint32, got []byte) error {
	if version == 0 {
		if got != nil {
			return fmt.Errorf("worker %d, key %d: found %d bytes, want no such key", w.number, key, len(got))
		}
		return nil
	}
	return w.verifyOf(w.number, key, version, got)
}

// verifyWhole compares what was read under a key of another worker, whose
// version is not known, with the version that it claims to be.
func (w *worker) verifyWhole(worker, key int, got []byte) error {
	if got == nil {
		return nil
	}
	version := uint32(0)
	if len(got) >= headerSize {
		version = binary.BigEndian.Uint32(got[headerSize-4:])
	}
	return w.verifyOf(worker, key, version, got)
}

func (w *worker) verifyOf(worker, key int, version uint32, got []byte) error {
	w.want = w.runner.appendValue(w.want[:0], worker, key, version)
	if got == nil || !bytes.Equal(got, w.want) {
		return fmt.Errorf("worker %d, key %d: found %d bytes (%x...), want the %d of version %d",
			worker, key, len(got), got[:min(len(got), headerSize)], len(w.want), version)
	}
	return nil
}

// bucket returns a bucket that must be there.
func bucket(tx *lightning.Tx, name []byte) (*lightning.Bucket, error) {
	b := tx.Bucket(name)
	if b == nil {
		return nil, fmt.Errorf("bucket %q is gone (%v)", name, tx.Err())
	}
	return b, nil
}

// compare compares the worker's whole bucket with c.
func (w *worker) compare(tx *lightning.Tx, c *content) error {
	b, err := bucket(tx, w.bucket)
	if err != nil {
		return err
	}
	i := 0
	for k, v := range b.All() {
		if bytes.Equal(k, nestedName) {
			continue
		}
		for i < keysPerWorker && c.versions[i] == 0 {
			i++
		}
		if i == keysPerWorker || !bytes.Equal(k, w.runner.keys[i]) {
			return fmt.Errorf("worker %d: found key %.30q where key %d was expected", w.number, k, i)
		}
		if err := w.verify(i, c.versions[i], v); err != nil {
			return err
		}
		i++
	}
	for ; i < keysPerWorker; i++ {
		if c.versions[i] != 0 {
			return fmt.Errorf("worker %d: key %d is missing (%v)", w.number, i, tx.Err())
		}
	}
	return w.compareNested(b, c.nested)
}

func (w *worker) compareNested(b *lightning.Bucket, version uint32) error {
	n := b.Bucket(nestedName)
	if (n != nil) != (version != 0) {
		return fmt.Errorf("worker %d: nested bucket there: %v, want %v (%v)", w.number, n != nil, version != 0, b.Tx().Err())
	}
	if n == nil {
		return nil
	}
	i := 0
	for k, v := range n.All() {
		if i == nestedKeys || !bytes.Equal(k, w.runner.keys[i]) {
			return fmt.Errorf("worker %d: found key %.30q in the nested bucket where key %d was expected", w.number, k, i)
		}
		if err := w.verify(nestedFrom+i, version, v); err != nil {
			return fmt.Errorf("nested bucket: %w", err)
		}
		i++
	}
	if i != nestedKeys {
		return fmt.Errorf("worker %d: the nested bucket ends before key %d (%v)", w.number, i, b.Tx().Err())
	}
	return nil
}

// The shared counters are raised by all workers: an update that is lost shows.
const counters = 8

var sharedName = []byte("shared")

func counterKey(i int) []byte { return []byte{byte(i)} }

// counter returns what a shared counter stands at.
func counter(tx *lightning.Tx, i int) (int64, error) {
	b, err := bucket(tx, sharedName)
	if err != nil {
		return 0, err
	}
	v := b.Get(counterKey(i))
	if len(v) != 8 {
		return 0, fmt.Errorf("shared counter %d has %d bytes (%v)", i, len(v), tx.Err())
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}

// raise adds one to a shared counter.
func raise(tx *lightning.Tx, i int) error {
	n, err := counter(tx, i)
	if err != nil {
		return err
	}
	return tx.Bucket(sharedName).Put(counterKey(i), binary.BigEndian.AppendUint64(nil, uint64(n+1)))
}

// create makes the buckets and counters that the workers find.
func (r *runner) create() error {
	return r.db.Update(func(tx *lightning.Tx) error {
		b, err := tx.CreateBucket(sharedName)
		if err != nil {
			return err
		}
		for i := range counters {
			if err := b.Put(counterKey(i), make([]byte, 8)); err != nil {
				return err
			}
		}
		for _, w := range r.workers {
			if _, err := tx.CreateBucket(w.bucket); err != nil {
				return err
			}
		}
		return nil
	})
}
