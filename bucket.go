package lightning

import (
	"fmt"
	"runtime/debug"

	"github.com/lightning-db/lightning/page"
)

// Bucket is a sorted collection of keys, each with a value or a nested bucket.
// It is valid until its transaction ends. In a read-only transaction buckets
// may be used by many goroutines at once, in a writable one by one at a time.
//
// Slices that Get, cursors and iterators return are valid until the
// transaction ends, also when the bucket is changed meanwhile, and must not be
// written to.
type Bucket struct {
	// FillPercent is where full pages are split when it is not
	// DefaultFillPercent, as a part of the page from 0.1 to 1. It holds for
	// this transaction only.
	FillPercent float64

	tx       *Tx
	tree     tree
	sequence uint64
	changed  bool // sequence differs from the parent's cell
	dead     bool // deleted in this transaction
	parent   *Bucket
	name     string
	children *openBuckets // writable transactions only
}

// Tx returns the transaction of the bucket.
func (b *Bucket) Tx() *Tx { return b.tx }

// String shows root page, keys and sequence, for logs.
func (b *Bucket) String() string {
	return fmt.Sprintf("Bucket<root=%d, keys=%d, sequence=%d>", b.Root(), b.Len(), b.sequence)
}

// Writable reports whether the bucket belongs to a writable transaction.
func (b *Bucket) Writable() bool { return b.tx.writable }

// Root returns the number of the bucket's root page, or 0 if it has none yet:
// it is empty, stored inline in its parent, or changed by this transaction.
func (b *Bucket) Root() uint64 { return uint64(b.tree.root.settle().ref.ID) }

// Len returns the number of keys in the bucket, nested buckets included. It
// takes constant time.
func (b *Bucket) Len() int { return int(b.tree.count) }

// Cursor returns a cursor over the bucket, not yet at any key.
func (b *Bucket) Cursor() *Cursor {
	b.tx.cursors.Add(1)
	return b.cursor()
}

// Get returns the value of key, or nil if it does not exist or is a nested
// bucket. It also returns nil when the page could not be read or is damaged:
// then Tx.Err tells, and View, Update and Commit fail.
func (b *Bucket) Get(key []byte) (value []byte) {
	defer b.tx.unguard(debug.SetPanicOnFault(true))
	if !b.usable() {
		return nil
	}
	v, i, found, err := b.tree.find(key)
	if err != nil {
		b.tx.fail(err)
		return nil
	}
	if !found {
		return nil
	}
	c := v.img.Cell(i)
	if c.IsBucket() {
		return nil
	}
	data, err := b.tree.valueOf(v, &c)
	if err != nil {
		b.tx.fail(err)
		return nil
	}
	return b.tx.keep(v, data)
}

// usable reports whether the bucket can be read at all.
func (b *Bucket) usable() bool { return !b.dead && !b.tx.closed.Load() }

// mutable says why the bucket cannot be changed, or nil.
func (b *Bucket) mutable() error {
	switch {
	case b.tx.closed.Load():
		return ErrTxClosed
	case !b.tx.writable:
		return ErrTxNotWritable
	case b.dead:
		return fmt.Errorf("%w: deleted in this transaction", ErrBucketNotFound)
	}
	return b.tx.Err()
}

// Put sets the value of key. Key and value are copied. It fails with
// ErrTxClosed, ErrTxNotWritable, ErrKeyRequired, ErrKeyTooLarge,
// ErrValueTooLarge or, when key is a nested bucket, ErrIncompatibleValue.
func (b *Bucket) Put(key, value []byte) (err error) {
	defer b.tx.unguardErr(debug.SetPanicOnFault(true), &err)
	if err := b.mutable(); err != nil {
		return err
	}
	if err := checkPair(key, value); err != nil {
		return err
	}
	e := &b.tx.edge
	behind := e.serves(b) && e.isBehind(key)
	if !behind {
		path, found, err := b.tree.seek(b.tx.path[:0], key)
		if err != nil {
			return b.tx.fail(err)
		}
		b.tx.path = path
		if found && isBucket(path) {
			return ErrIncompatibleValue
		}
		if behind, err = e.take(b, path); err != nil {
			return b.tx.fail(err)
		}
		if !behind {
			b.tree.fill = b.FillPercent
			return b.tx.fail(b.tree.put(path, found, key, value))
		}
	}
	return b.tx.fail(e.append(key, value))
}

// checkPair says why key and value cannot be stored, or nil.
func checkPair(key, value []byte) error {
	switch {
	case len(key) == 0:
		return ErrKeyRequired
	case len(key) > MaxKeySize:
		return ErrKeyTooLarge
	case int64(len(value)) > MaxValueSize:
		return ErrValueTooLarge
	}
	return nil
}

func isBucket(path []step) bool {
	s := path[len(path)-1]
	c := s.img.Cell(s.i)
	return c.IsBucket()
}

// Delete removes key. A key that does not exist is no error; a nested bucket
// is ErrIncompatibleValue.
func (b *Bucket) Delete(key []byte) (err error) {
	defer b.tx.unguardErr(debug.SetPanicOnFault(true), &err)
	if err := b.mutable(); err != nil {
		return err
	}
	path, found, err := b.tree.seek(b.tx.path[:0], key)
	if err != nil {
		return b.tx.fail(err)
	}
	b.tx.path = path
	if !found {
		return nil
	}
	if isBucket(path) {
		return ErrIncompatibleValue
	}
	return b.tx.fail(b.tree.remove(path))
}

// Sequence returns the bucket's counter without changing it.
func (b *Bucket) Sequence() uint64 { return b.sequence }

// SetSequence sets the bucket's counter.
func (b *Bucket) SetSequence(v uint64) error {
	if err := b.mutable(); err != nil {
		return err
	}
	b.sequence = v
	b.changed = true
	return nil
}

// NextSequence raises the bucket's counter by one and returns it; the first
// value is 1.
func (b *Bucket) NextSequence() (uint64, error) {
	if err := b.SetSequence(b.sequence + 1); err != nil {
		return 0, err
	}
	return b.sequence, nil
}

// Bucket returns the nested bucket with the given name, or nil. A writable
// transaction returns the same *Bucket each time. It also returns nil when the
// bucket is damaged or deeper than MaxBucketDepth: then Tx.Err tells.
func (b *Bucket) Bucket(name []byte) (child *Bucket) {
	defer b.tx.unguard(debug.SetPanicOnFault(true))
	if !b.usable() {
		return nil
	}
	child, err := b.open(name)
	if err != nil {
		return nil
	}
	return child
}

// open returns the nested bucket, or nil if name does not exist or is a plain
// key. An error has failed the transaction.
func (b *Bucket) open(name []byte) (*Bucket, error) {
	if child := b.children.get(name); child != nil {
		if err := b.tree.admit(handle{}); err != nil {
			return nil, b.tx.fail(err)
		}
		return child, nil
	}
	v, i, found, err := b.tree.find(name)
	if err != nil || !found {
		return nil, b.tx.fail(err)
	}
	c := v.img.Cell(i)
	if !c.IsBucket() {
		return nil, nil
	}
	child, err := b.tree.bucketAt(v, i)
	if err != nil {
		return nil, b.tx.fail(err)
	}
	if b.tx.writable {
		b.attach(child, name)
	}
	if b.tree.depth == 0 && b.tx.remembers() && b.tx.snap.remembersMore() {
		head := page.Bucket{Root: child.tree.root.ref, Sequence: child.sequence, Count: child.tree.count}
		b.tx.snap.note(&openedBucket{string(name), head, child.tree.inline})
	}
	return child, nil
}

// bucketAt makes the Bucket for the bucket cell i of the leaf v of t.
func (t *tree) bucketAt(v view, i int) (*Bucket, error) {
	tx := t.tx
	c := v.img.Cell(i)
	payload := c.Value()
	h := page.GetBucket(payload)
	var root handle
	inline := page.InlineOf(payload)
	if inline != nil {
		inline = tx.keep(v, inline)
	} else if !h.Root.IsZero() {
		root = v.at(c.ValueRefAt())
	}
	if err := t.admit(root); err != nil {
		return nil, err
	}
	return tx.bucket(h, root, inline, t), nil
}

// bucket makes the Bucket with the given header and content that is nested in
// above's, or in the root bucket if above is nil.
func (tx *Tx) bucket(h page.Bucket, root handle, inline page.Node, above *tree) *Bucket {
	b := tx.newBucket()
	b.FillPercent, b.tx, b.sequence = DefaultFillPercent, tx, h.Sequence
	b.tree = tree{tx: tx, root: root, inline: inline, count: h.Count, fill: DefaultFillPercent, above: above, depth: 1}
	if above != nil {
		b.tree.depth = above.depth + 1
	}
	return b
}

// admit says why no bucket with the given root can be nested in t, or nil. It
// would be too deep, or the root is that of a bucket around it: the verified bit
// lets a forged reference to a page above it pass, and walks would never end.
func (t *tree) admit(root handle) error {
	if t.depth >= MaxBucketDepth {
		return ErrBucketDepth
	}
	if root.ref.IsZero() {
		return nil
	}
	nested := !t.tx.writable && root.ref.ID == t.tx.snap.meta.Root.Root.ID
	for a := t; a != nil && !nested; a = a.above {
		nested = a.root.ref.ID == root.ref.ID
	}
	if nested {
		return t.tx.db.corrupt(uint64(root.ref.ID), "bucket is nested in itself", nil)
	}
	return nil
}

func (b *Bucket) attach(child *Bucket, name []byte) {
	child.parent = b
	child.tree.above = &b.tree
	child.sink(b.tree.depth + 1)
	child.name = string(name)
	if b.children == nil {
		b.children = new(openBuckets)
	}
	b.children.add(child)
}

// sink sets the depth of the bucket and of those opened in it, which move with
// it.
func (b *Bucket) sink(depth int) {
	b.tree.depth = depth
	for _, child := range b.children.all() {
		child.sink(depth + 1)
	}
}

// CreateBucket creates a nested bucket. It fails with ErrTxClosed,
// ErrTxNotWritable, ErrBucketNameRequired, ErrBucketDepth, ErrBucketExists or,
// when name is a plain key, ErrIncompatibleValue. Names may be longer than
// MaxKeySize.
func (b *Bucket) CreateBucket(name []byte) (child *Bucket, err error) {
	defer b.tx.unguardErr(debug.SetPanicOnFault(true), &err)
	if err := b.mutable(); err != nil {
		return nil, err
	}
	if len(name) == 0 {
		return nil, ErrBucketNameRequired
	}
	if err := b.tree.admit(handle{}); err != nil {
		return nil, err
	}
	path, found, err := b.tree.seek(b.tx.path[:0], name)
	if err != nil {
		return nil, b.tx.fail(err)
	}
	b.tx.path = path
	if found {
		if isBucket(path) {
			return nil, ErrBucketExists
		}
		return nil, ErrIncompatibleValue
	}
	if err := b.tree.putBucket(path, false, name, page.Bucket{}, handle{}, nil); err != nil {
		return nil, b.tx.fail(err)
	}
	child = &Bucket{FillPercent: DefaultFillPercent, tx: b.tx}
	child.tree = tree{tx: b.tx, fill: DefaultFillPercent}
	b.attach(child, name)
	return child, nil
}

// CreateBucketIfNotExists returns the nested bucket, creating it if need be.
func (b *Bucket) CreateBucketIfNotExists(name []byte) (*Bucket, error) {
	if err := b.mutable(); err != nil {
		return nil, err
	}
	if len(name) == 0 {
		return nil, ErrBucketNameRequired
	}
	if err := b.tree.admit(handle{}); err != nil {
		return nil, err
	}
	if child := b.Bucket(name); child != nil {
		return child, nil
	}
	return b.CreateBucket(name)
}

// DeleteBucket deletes a nested bucket with all that it holds. It fails with
// ErrBucketNotFound, ErrIncompatibleValue when name is a plain key, or
// ErrBucketDepth: then nothing is deleted, and if a bucket inside is the one too
// deep the transaction has failed.
func (b *Bucket) DeleteBucket(name []byte) (err error) {
	defer b.tx.unguardErr(debug.SetPanicOnFault(true), &err)
	if err := b.mutable(); err != nil {
		return err
	}
	child, path, err := b.openForChange(name)
	if err != nil {
		return err
	}
	if err := child.tree.discardAll(child.children); err != nil {
		return b.tx.fail(err)
	}
	child.bury()
	b.children.remove(child)
	return b.tx.fail(b.tree.remove(path))
}

// openForChange returns the nested bucket and the path to its cell.
func (b *Bucket) openForChange(name []byte) (*Bucket, []step, error) {
	path, found, err := b.tree.seek(b.tx.path[:0], name)
	if err != nil {
		return nil, nil, b.tx.fail(err)
	}
	b.tx.path = path
	if !found && len(name) == 0 && b.tree.count == 0 { // bbolt's answer, which clients expect
		return nil, nil, ErrIncompatibleValue
	}
	if !found {
		return nil, nil, ErrBucketNotFound
	}
	if !isBucket(path) {
		return nil, nil, ErrIncompatibleValue
	}
	// Here, for open would fail the transaction, and nothing is changed yet.
	if err := b.tree.admit(handle{}); err != nil {
		return nil, nil, err
	}
	child, err := b.open(name)
	if err != nil {
		return nil, nil, err
	}
	return child, path, nil
}

// bury marks the bucket and all below as deleted.
func (b *Bucket) bury() {
	b.dead = true
	for _, child := range b.children.all() {
		child.bury()
	}
}

// MoveBucket moves the nested bucket key, with changes made in this
// transaction, into dst. It fails with ErrBucketNotFound, ErrBucketExists,
// ErrIncompatibleValue, ErrSameBuckets, ErrDifferentDB, ErrMoveIntoSelf or
// ErrBucketDepth.
//
// ErrBucketDepth is about the depth of the moved bucket alone: what is nested in
// it is not looked at. Buckets inside that come to be deeper than MaxBucketDepth
// cannot be opened, and fail what walks over them, until the bucket or one of
// those in it is moved up.
func (b *Bucket) MoveBucket(key []byte, dst *Bucket) (err error) {
	defer b.tx.unguardErr(debug.SetPanicOnFault(true), &err)
	if err := b.mutable(); err != nil {
		return err
	}
	if err := dst.mutable(); err != nil {
		return err
	}
	if b.tx != dst.tx {
		return ErrDifferentDB
	}
	child, path, err := b.openForChange(key)
	if err != nil {
		return err
	}
	if b == dst {
		return ErrSameBuckets
	}
	for at := dst; at != nil; at = at.parent {
		if at == child {
			return ErrMoveIntoSelf
		}
	}
	if err := dst.tree.admit(handle{}); err != nil {
		return err
	}
	dstPath, found, err := dst.tree.seek(nil, key)
	if err != nil {
		return b.tx.fail(err)
	}
	if found {
		if isBucket(dstPath) {
			return ErrBucketExists
		}
		return ErrIncompatibleValue
	}
	// The cell in dst stays empty until spill writes the bucket there.
	if err := dst.tree.putBucket(dstPath, false, key, page.Bucket{}, handle{}, nil); err != nil {
		return b.tx.fail(err)
	}
	b.children.remove(child)
	dst.attach(child, key)
	child.changed = true
	return b.tx.fail(b.tree.remove(path))
}

// spill writes the headers of changed nested buckets into their parents'
// cells, innermost first, and reports whether b itself changed.
func (b *Bucket) spill() (bool, error) {
	for _, child := range b.children.sorted() {
		changed, err := child.spill()
		if err != nil {
			return false, err
		}
		if !changed {
			continue
		}
		b.tx.name = append(b.tx.name[:0], child.name...)
		name := b.tx.name
		path, found, err := b.tree.seek(b.tx.path[:0], name)
		if err != nil {
			return false, err
		}
		b.tx.path = path
		if !found {
			return false, fmt.Errorf("bucket %q is not in its parent", child.name)
		}
		if err := b.tree.putBucket(path, true, name, child.header(), child.tree.root, child.inlineImage()); err != nil {
			return false, err
		}
	}
	return b.changed || b.tree.gen != 0, nil
}

func (b *Bucket) header() page.Bucket {
	return page.Bucket{Sequence: b.sequence, Count: b.tree.count}
}

// inlineImage returns the leaf to be stored in the parent's cell, or nil if the
// bucket is empty or has pages of its own. A small changed bucket gives up its
// page here.
func (b *Bucket) inlineImage() []byte {
	t := &b.tree
	if t.inline != nil {
		return t.inline
	}
	n := t.root.n
	if n == nil || n.owner != b.tx || !canInline(n.img(), b.tx.db.pageSize) {
		return nil
	}
	t.inline = n.img().AppendInline(nil)
	b.tx.discard(t.root, 1)
	t.root = handle{}
	return t.inline
}

func canInline(img page.Node, pageSize int) bool {
	if img.IsBranch() || page.BucketSize+img.Used() > page.MaxInlineValue(pageSize) {
		return false
	}
	for i := range img.Count() {
		if c := img.Cell(i); c.Flags != 0 {
			return false
		}
	}
	return true
}
