package lightning

import (
	"bytes"
	"iter"
	"runtime/debug"

	"github.com/lightning-db/lightning/page"
)

// ForEach calls fn for each key in order; nested buckets have a nil value. It
// stops at the first error and returns it. fn may change the bucket: the walk
// then goes on behind the key it was at.
func (b *Bucket) ForEach(fn func(k, v []byte) error) error {
	if b.tx.closed.Load() {
		return ErrTxClosed
	}
	for k, v := range b.All() {
		if err := fn(k, v); err != nil {
			return err
		}
	}
	return b.tx.Err()
}

// ForEachBucket calls fn for the name of each nested bucket in order. It stops
// at the first error and returns it.
func (b *Bucket) ForEachBucket(fn func(k []byte) error) error {
	if b.tx.closed.Load() {
		return ErrTxClosed
	}
	c := b.cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if v != nil {
			continue
		}
		if err := fn(k); err != nil {
			return err
		}
	}
	return b.tx.Err()
}

// All yields every key with its value in ascending order; nested buckets have
// a nil value. After the loop Tx.Err tells whether a page could not be read.
func (b *Bucket) All() iter.Seq2[[]byte, []byte] { return b.Range(nil, nil) }

// Range yields the keys from from (inclusive) to to (exclusive) in ascending
// order; nil leaves that side open.
func (b *Bucket) Range(from, to []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		c := b.cursor()
		k, v := c.Seek(from)
		for k != nil && (to == nil || bytes.Compare(k, to) < 0) && yield(k, v) {
			k, v = c.Next()
		}
	}
}

// Prefix yields the keys that begin with prefix in ascending order.
func (b *Bucket) Prefix(prefix []byte) iter.Seq2[[]byte, []byte] {
	return b.Range(prefix, prefixEnd(prefix))
}

// prefixEnd returns the least key greater than all that begin with prefix, or
// nil if there is none.
func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			end := bytes.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}

// Backward yields every key with its value in descending order.
func (b *Bucket) Backward() iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		c := b.cursor()
		for k, v := c.Last(); k != nil && yield(k, v); {
			k, v = c.Prev()
		}
	}
}

// DeleteRange deletes the keys from from (inclusive) to to (exclusive) and
// returns how many; nil leaves that side open. Whole subtrees are given up
// without touching their keys one by one. If a nested bucket lies in the range
// nothing is deleted and the error is ErrIncompatibleValue.
func (b *Bucket) DeleteRange(from, to []byte) (n int, err error) {
	defer b.tx.unguardErr(debug.SetPanicOnFault(true), &err)
	if err := b.mutable(); err != nil {
		return 0, err
	}
	if from != nil && to != nil && bytes.Compare(from, to) >= 0 {
		return 0, nil
	}
	before := b.tree.count
	if err := b.tree.removeRange(from, to); err != nil {
		if err == ErrIncompatibleValue {
			return 0, err
		}
		return 0, b.tx.fail(err)
	}
	return int(before - b.tree.count), nil
}

// Clear removes all keys and nested buckets and keeps the sequence.
func (b *Bucket) Clear() (err error) {
	defer b.tx.unguardErr(debug.SetPanicOnFault(true), &err)
	if err := b.mutable(); err != nil {
		return err
	}
	if err := b.tree.discardAll(b.children); err != nil {
		return b.tx.fail(err)
	}
	for _, child := range b.children.all() {
		child.bury()
	}
	b.children = nil
	b.tree.inline, b.tree.root, b.tree.count = nil, handle{}, 0
	b.tree.gen++
	return nil
}

// MoveBucket moves the nested bucket child from src to dst; nil stands for the
// root. See Bucket.MoveBucket.
func (tx *Tx) MoveBucket(child []byte, src, dst *Bucket) error {
	if src == nil {
		src = tx.root()
	}
	if dst == nil {
		dst = tx.root()
	}
	return src.MoveBucket(child, dst)
}

// extents counts the pages of a key and a value of b that have pages of their
// own.
func (v *visits) extents(b *Bucket, key, value []byte) error {
	size := v.tx.db.pageSize
	pages := 0
	if len(key) > page.MaxInlineKey(size) {
		pages += page.ExtentPages(uint64(len(key)), size)
	}
	if len(value) > page.MaxInlineValue(size) {
		pages += page.ExtentPages(uint64(len(value)), size)
	}
	return v.pages(&b.tree, pages)
}

// Inspect returns the structure of the bucket and all below it.
func (b *Bucket) Inspect() BucketStructure { return b.inspect("root", b.tx.newVisits()) }

func (b *Bucket) inspect(name string, seen *visits) BucketStructure {
	s := BucketStructure{Name: name}
	if seen.bucket(b) != nil {
		return s
	}
	for k, v := range b.All() {
		if v != nil {
			s.KeyN++
			continue
		}
		if child := b.Bucket(k); child != nil {
			s.Children = append(s.Children, child.inspect(string(k), seen))
		}
		if seen.over {
			break
		}
	}
	return s
}

// Stats walks the bucket and all below it and returns what they take.
func (b *Bucket) Stats() (s BucketStats) {
	defer b.tx.unguard(debug.SetPanicOnFault(true))
	if b.usable() {
		s = b.stats(b.tx.newVisits())
	}
	return s
}

func (b *Bucket) stats(seen *visits) (s BucketStats) {
	s.BucketN = 1
	if b.tree.inline != nil || b.tree.root.isZero() {
		s.InlineBucketN = 1
		s.KeyN = int(b.tree.count)
		if b.tree.inline != nil {
			s.InlineBucketInuse = len(b.tree.inline)
		}
		if s.KeyN > 0 || b.parent != nil {
			s.Depth = 1
		}
		return s
	}
	nested := BucketStats{}
	err := b.tree.walk(func(v view) error {
		s.Depth = max(s.Depth, v.img.Level()+1)
		if err := seen.page(&b.tree); err != nil {
			return err
		}
		b.addNode(&s, &nested, v, seen)
		return nil
	})
	if err != nil {
		b.tx.fail(err)
	}
	s.Add(nested)
	return s
}

// addNode counts the page v, its extents and the buckets in its cells.
func (b *Bucket) addNode(s, nested *BucketStats, v view, seen *visits) {
	pageSize := b.tx.db.pageSize
	if v.img.IsBranch() {
		s.BranchPageN++
		s.BranchInuse += v.img.Used()
		s.BranchAlloc += pageSize
		return
	}
	s.LeafPageN++
	s.LeafInuse += v.img.Used()
	s.LeafAlloc += pageSize
	s.KeyN += v.img.Count()
	for i := range v.img.Count() {
		c := v.img.Cell(i)
		if c.IsBig() {
			pages := page.ExtentPages(uint64(c.ValueLen()), pageSize)
			s.LeafOverflowN += pages
			s.LeafInuse += c.ValueLen() + page.HeaderSize
			s.LeafAlloc += pages * pageSize
		}
		if !c.IsBucket() {
			continue
		}
		name, err := b.tree.key(v, i)
		if err != nil {
			b.tx.fail(err)
			continue
		}
		if child, err := b.open(name); err == nil && child != nil {
			nested.Add(child.stats(seen))
		}
		if seen.over {
			break
		}
	}
}
