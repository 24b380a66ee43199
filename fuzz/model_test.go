package fuzz

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	lightning "github.com/lightning-db/lightning"
)

// model is a bucket as it should be: what the engine holds is compared with it.
type model struct {
	values map[string][]byte // plain keys; the slices are never changed
	nested map[string]*model // disjoint from values
	seq    uint64
}

func newModel() *model {
	return &model{values: map[string][]byte{}, nested: map[string]*model{}}
}

func (m *model) clone() *model {
	c := &model{values: maps.Clone(m.values), nested: make(map[string]*model, len(m.nested)), seq: m.seq}
	for name, child := range m.nested {
		c.nested[name] = child.clone()
	}
	return c
}

func (m *model) len() int { return len(m.values) + len(m.nested) }

// size returns about how many bytes the bucket holds.
func (m *model) size() (n int) {
	for k, v := range m.values {
		n += len(k) + len(v)
	}
	for name, child := range m.nested {
		n += len(name) + child.size()
	}
	return n
}

// keys returns all keys in order.
func (m *model) keys() []string {
	keys := make([]string, 0, m.len())
	for k := range m.values {
		keys = append(keys, k)
	}
	for k := range m.nested {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// paths returns the way to each bucket, the root's first.
func (m *model) paths() [][]string {
	all := [][]string{{}}
	for _, name := range slices.Sorted(maps.Keys(m.nested)) {
		for _, p := range m.nested[name].paths() {
			all = append(all, append([]string{name}, p...))
		}
	}
	return all
}

func (m *model) at(path []string) *model {
	for _, name := range path {
		m = m.nested[name]
	}
	return m
}

// show shortens a key or value for messages.
func show[T string | []byte](b T) string {
	if len(b) > 40 {
		return fmt.Sprintf("%q… (%d bytes)", b[:40], len(b))
	}
	return fmt.Sprintf("%q", b)
}

// unreadable wraps an error by which the engine refused to go on reading: what
// it returned until then was compared.
type unreadable struct{ error }

// compare says how the state that tx sees differs from the model, or nil. If
// the engine reports damage it returns that as unreadable.
func compare(tx *lightning.Tx, want *model) error {
	return compareBucket(tx, tx.Cursor().Bucket(), want, "")
}

func compareBucket(tx *lightning.Tx, b *lightning.Bucket, want *model, path string) error {
	keys := want.keys()
	if b.Len() != len(keys) {
		return fmt.Errorf("bucket %q: Len is %d, want %d", path, b.Len(), len(keys))
	}
	if b.Sequence() != want.seq {
		return fmt.Errorf("bucket %q: sequence is %d, want %d", path, b.Sequence(), want.seq)
	}
	if err := compareForward(tx, b, want, keys, path); err != nil {
		return err
	}
	if err := compareBackward(tx, b, keys, path); err != nil {
		return err
	}
	for _, k := range keys {
		v, plain := want.values[k]
		got := b.Get([]byte(k))
		if err := tx.Err(); err != nil {
			return unreadable{err}
		}
		if !plain {
			v = nil
		}
		if !bytes.Equal(got, v) || (got != nil) != plain {
			return fmt.Errorf("bucket %q: Get(%s) is %s, want %s", path, show(k), show(got), show(v))
		}
	}
	for name, child := range want.nested {
		got := b.Bucket([]byte(name))
		if err := tx.Err(); err != nil {
			return unreadable{err}
		}
		if got == nil {
			return fmt.Errorf("bucket %q: nested bucket %s does not open", path, show(name))
		}
		if err := compareBucket(tx, got, child, path+"/"+strings.ToValidUTF8(show(name), "?")); err != nil {
			return err
		}
	}
	return nil
}

func compareForward(tx *lightning.Tx, b *lightning.Bucket, want *model, keys []string, path string) error {
	c := b.Cursor()
	i := 0
	for k, v := c.First(); ; k, v = c.Next() {
		if err := tx.Err(); err != nil {
			return unreadable{err}
		}
		if k == nil {
			break
		}
		if i >= len(keys) {
			return fmt.Errorf("bucket %q: key %s after the last", path, show(k))
		}
		if string(k) != keys[i] {
			return fmt.Errorf("bucket %q: key %d is %s, want %s", path, i, show(k), show(keys[i]))
		}
		value, plain := want.values[keys[i]]
		if (v != nil) != plain || !bytes.Equal(v, value) {
			return fmt.Errorf("bucket %q: value of %s is %s, want %s", path, show(k), show(v), show(value))
		}
		i++
	}
	if i != len(keys) {
		return fmt.Errorf("bucket %q: %d keys forward, want %d", path, i, len(keys))
	}
	return nil
}

func compareBackward(tx *lightning.Tx, b *lightning.Bucket, keys []string, path string) error {
	i := len(keys)
	for k := range b.Backward() {
		if err := tx.Err(); err != nil {
			return unreadable{err}
		}
		i--
		if i < 0 || string(k) != keys[i] {
			return fmt.Errorf("bucket %q: key %d backward is %s", path, i, show(k))
		}
	}
	if err := tx.Err(); err != nil {
		return unreadable{err}
	}
	if i != 0 {
		return fmt.Errorf("bucket %q: %d keys are missing backward", path, i)
	}
	return nil
}
