package lightning

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strings"
)

// crashModel is what a state should hold. The sum does not depend on order.
type crashModel struct {
	entries map[string]uint64 // "bucket/" or "bucket/key" to the hash of its value
	sum     uint64
	undo    []func()
}

var crashHash = maphash.MakeSeed()

func newCrashModel() *crashModel { return &crashModel{entries: make(map[string]uint64)} }

func (m *crashModel) put(entry string, value []byte) {
	var h maphash.Hash
	h.SetSeed(crashHash)
	h.WriteString(entry)
	h.WriteByte(0)
	h.Write(value)
	m.set(entry, h.Sum64()|1)
}

// set stores the hash of an entry, 0 to delete it.
func (m *crashModel) set(entry string, hash uint64) {
	old := m.entries[entry]
	m.undo = append(m.undo, func() { m.replace(entry, hash, old) })
	m.replace(entry, old, hash)
}

func (m *crashModel) replace(entry string, old, hash uint64) {
	m.sum += hash - old
	if hash == 0 {
		delete(m.entries, entry)
		return
	}
	m.entries[entry] = hash
}

// drop removes the bucket and all below.
func (m *crashModel) drop(bucket string) {
	for entry := range m.entries {
		if strings.HasPrefix(entry, bucket+"/") {
			m.set(entry, 0)
		}
	}
}

// load reads a whole state.
func (m *crashModel) load(tx *Tx) error {
	var walk func(path string, b *Bucket) error
	walk = func(path string, b *Bucket) error {
		m.put(path+"/", []byte(fmt.Sprint(b.Sequence())))
		return b.ForEach(func(k, v []byte) error {
			if v == nil {
				return walk(path+"/"+string(k), b.Bucket(k))
			}
			m.put(path+"/"+string(k), v)
			return nil
		})
	}
	if err := tx.ForEach(func(name []byte, b *Bucket) error { return walk(string(name), b) }); err != nil {
		return err
	}
	return tx.Err()
}

const crashBuckets = 3

func crashBucket(i int) string { return fmt.Sprintf("bucket%d", i) }

// transact makes random changes, in the database and in the model. When it
// fails the model is as before.
func (w *crashWorld) transact(tx *Tx, rng *rand.Rand) (err error) {
	m := w.model
	m.undo = nil
	finished := false
	defer func() {
		if finished && err == nil {
			w.states[tx.id] = m.sum
			return
		}
		for i := len(m.undo) - 1; i >= 0; i-- {
			m.undo[i]()
		}
	}()
	for range 1 + rng.IntN(4) {
		if err := w.change(tx, rng); err != nil {
			return err
		}
	}
	switch rng.IntN(16) {
	case 0:
		return errCrashFn
	case 1:
		if tx.managed {
			panic(errCrashFn)
		}
	}
	finished = true
	return nil
}

// change makes one random change.
func (w *crashWorld) change(tx *Tx, rng *rand.Rand) error {
	m := w.model
	path := crashBucket(rng.IntN(crashBuckets))
	b, err := tx.CreateBucketIfNotExists([]byte(path))
	if err != nil {
		return err
	}
	if rng.IntN(3) == 0 {
		sub := fmt.Sprintf("sub%d", rng.IntN(3))
		if b.Bucket([]byte(sub)) != nil && rng.IntN(4) == 0 {
			m.put(path+"/", []byte(fmt.Sprint(b.Sequence())))
			m.drop(path + "/" + sub)
			return b.DeleteBucket([]byte(sub))
		}
		m.put(path+"/", []byte(fmt.Sprint(b.Sequence())))
		if b, err = b.CreateBucketIfNotExists([]byte(sub)); err != nil {
			return err
		}
		path += "/" + sub
	}
	seq := b.Sequence()
	if rng.IntN(4) == 0 {
		if seq, err = b.NextSequence(); err != nil {
			return err
		}
	}
	m.put(path+"/", []byte(fmt.Sprint(seq)))
	n, size, keys := 1+rng.IntN(8), 120, 300
	switch rng.IntN(12) {
	case 0:
		n, size = 1, 60<<10
	case 1:
		n, size = 2, 6000
	case 2:
		n = 150
	}
	remove := rng.IntN(4) == 0
	for range n {
		key := fmt.Sprintf("key%03d", rng.IntN(keys))
		if rng.IntN(30) == 0 {
			key += strings.Repeat("k", 3000)
		}
		if remove {
			m.set(path+"/"+key, 0)
			if err := b.Delete([]byte(key)); err != nil {
				return err
			}
			continue
		}
		value := bytes.Repeat([]byte{byte(rng.Uint32())}, rng.IntN(size))
		m.put(path+"/"+key, value)
		if err := b.Put([]byte(key), value); err != nil {
			return err
		}
	}
	return nil
}
