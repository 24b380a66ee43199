package lightning

import (
	"context"
	"io"
	"runtime/debug"
	"sync/atomic"

	"github.com/lightning-db/lightning/page"
)

// Tx is a transaction. A read-only one sees the newest durable state as of its
// begin until it ends, waits for nobody and delays nobody, and may be used by
// many goroutines at once. Writable ones run one at a time; one is used by one
// goroutine at a time.
//
// Every transaction must be ended: Rollback for read-only ones, Commit or
// Rollback for writable ones. View and Update do it themselves.
type Tx struct {
	// WriteFlag, if not zero, makes WriteTo, Copy and CopyFile read the database
	// past the page cache, which a large copy would otherwise push out. In bbolt
	// it is a flag to open the file with, such as syscall.O_DIRECT.
	WriteFlag int

	db       *DB
	id       page.TxID
	writable bool
	managed  bool
	closed   atomic.Bool
	snap     *snapshot
	slot     *readerSlot            // read-only transactions
	top      atomic.Pointer[Bucket] // the root bucket; read-only transactions make it when they need it
	failure  atomic.Pointer[error]
	cursors  atomic.Int64 // ever made
	inner    spareBucket
	lookup   atomic.Pointer[pageLookup] // what Page has loaded

	*writing // of a writable transaction until it is sealed or rolled back
	*record  // of a writable transaction
}

// spareBucket is room for the first bucket that a read-only transaction opens: it
// spares an allocation where there is but one.
type spareBucket struct {
	bucket Bucket
	taken  atomic.Bool
}

// newBucket returns a zero Bucket.
func (tx *Tx) newBucket() *Bucket {
	if !tx.writable && tx.inner.taken.CompareAndSwap(false, true) {
		return &tx.inner.bucket
	}
	return new(Bucket)
}

// writing is what a writable transaction works with. The next one takes it over.
type writing struct {
	ctx        context.Context
	epoch      uint64   // of the tip it builds on
	flags      uint32   // of the meta page that it leads to
	nodes      []*node  // made by this transaction
	freed      []extent // pages of the file given up
	replaced   []*node  // nodes of earlier transactions given up
	path       []step   // storage for one operation
	cell       []byte   // storage for one operation
	bucketCell []byte   // storage for one operation
	name       []byte   // storage for one operation
	packing    []byte   // storage for packing a page
	arena      []byte   // where slices of pages under change are kept for the user
	edge       edge     // of the tree that Put has appended to last
}

// reset makes w ready for another transaction. The arena is left to whoever holds
// slices of it.
func (w *writing) reset() {
	clear(w.nodes)
	clear(w.replaced)
	clear(w.path[:cap(w.path)])
	clear(w.edge.nodes)
	*w = writing{
		nodes: reuse(w.nodes), freed: reuse(w.freed), replaced: reuse(w.replaced), path: w.path[:0],
		cell: reuse(w.cell), bucketCell: reuse(w.bucketCell), name: reuse(w.name), packing: w.packing,
		edge: edge{nodes: w.edge.nodes[:0]},
	}
}

// record is what is left of a writable transaction after its end.
type record struct {
	stats    TxStats
	handlers []func()
}

// ID returns the transaction's number; a writable one has the number that it
// will be committed under. After the end it is -1.
func (tx *Tx) ID() int {
	if tx.closed.Load() {
		return -1
	}
	return int(tx.id)
}

// DB returns the database of the transaction, nil after the end.
func (tx *Tx) DB() *DB {
	if tx.closed.Load() {
		return nil
	}
	return tx.db
}

// Size returns the size in bytes of the database as this transaction sees it:
// what WriteTo writes. It works after the end, too.
func (tx *Tx) Size() int64 { return int64(tx.snap.meta.End) * int64(tx.db.pageSize) }

// Writable reports whether the transaction can change the database.
func (tx *Tx) Writable() bool { return tx.writable }

// Cursor returns a cursor over the root's buckets and keys.
func (tx *Tx) Cursor() *Cursor { return tx.root().Cursor() }

// Stats returns the transaction's counters. It works after the end, too.
func (tx *Tx) Stats() (s TxStats) {
	if tx.record != nil {
		s = tx.stats.snapshot()
	}
	s.CursorCount = tx.cursors.Load()
	return s
}

// Inspect returns the structure of the database.
func (tx *Tx) Inspect() BucketStructure { return tx.root().Inspect() }

// Bucket returns the top-level bucket with the given name, or nil.
func (tx *Tx) Bucket(name []byte) *Bucket {
	if tx.remembers() && !tx.closed.Load() {
		if o := tx.snap.find(name); o != nil {
			return tx.bucket(o.head, handle{ref: o.head.Root}, o.inline, nil)
		}
	}
	return tx.root().Bucket(name)
}

// remembers reports whether top-level buckets that another reader of the snapshot
// has found need not be looked up again.
func (tx *Tx) remembers() bool { return !tx.writable && tx.db.trusting() }

// root returns the bucket that holds the top-level ones.
func (tx *Tx) root() *Bucket {
	if b := tx.top.Load(); b != nil {
		return b
	}
	b := new(Bucket)
	b.beRoot(tx, stateOf(&tx.snap.meta))
	if tx.top.CompareAndSwap(nil, b) {
		return b
	}
	return tx.top.Load()
}

// beRoot makes the zero Bucket b the root bucket of tx in the state s.
func (b *Bucket) beRoot(tx *Tx, s state) {
	b.FillPercent, b.tx, b.sequence = DefaultFillPercent, tx, s.sequence
	b.tree = tree{tx: tx, root: s.root, count: s.count, fill: DefaultFillPercent}
}

// CreateBucket creates a top-level bucket, see Bucket.CreateBucket.
func (tx *Tx) CreateBucket(name []byte) (*Bucket, error) { return tx.root().CreateBucket(name) }

// CreateBucketIfNotExists returns the top-level bucket, creating it if need be.
func (tx *Tx) CreateBucketIfNotExists(name []byte) (*Bucket, error) {
	return tx.root().CreateBucketIfNotExists(name)
}

// DeleteBucket deletes a top-level bucket, see Bucket.DeleteBucket.
func (tx *Tx) DeleteBucket(name []byte) error { return tx.root().DeleteBucket(name) }

// ForEach calls fn for each top-level bucket in order, and with a nil bucket
// for each key that tx.Cursor().Bucket() was used to store beside them. It
// stops at the first error and returns it.
func (tx *Tx) ForEach(fn func(name []byte, b *Bucket) error) error {
	return tx.root().ForEach(func(k, v []byte) error {
		if v != nil {
			return fn(k, nil)
		}
		return fn(k, tx.root().Bucket(k))
	})
}

// OnCommit adds a function to be called after the transaction is committed and
// its locks are released, in the order added. It is never called for a
// transaction that is rolled back or read-only.
func (tx *Tx) OnCommit(fn func()) {
	if tx.writable {
		tx.handlers = append(tx.handlers, fn)
	}
}

// Err returns the first error that a method without an error result met, such
// as a damaged page under Get, or nil. Once it is set the transaction cannot
// be committed.
func (tx *Tx) Err() error {
	if p := tx.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// fail records err as the transaction's failure, if it is the first, and
// returns it.
func (tx *Tx) fail(err error) error {
	if err == nil {
		return nil
	}
	first := err // a copy, so that only failures allocate
	if tx.failure.CompareAndSwap(nil, &first) {
		tx.db.noteFailure(err)
	}
	return err
}

// Commit makes the changes permanent and ends the transaction. In Sync mode it
// returns when they are on the medium, together with those of all transactions
// that committed meanwhile. When it fails the transaction is rolled back; an
// error that wraps ErrPoisoned says that the outcome is unknown until the
// database is opened again.
func (tx *Tx) Commit() error {
	if tx.managed {
		panic(ErrTxManaged)
	}
	return tx.commit()
}

func (tx *Tx) commit() error {
	if tx.closed.Load() {
		return ErrTxClosed
	}
	if !tx.writable {
		return ErrTxNotWritable
	}
	g, err := tx.seal()
	if err != nil {
		tx.rollback()
		return err
	}
	if err := tx.db.await(g); err != nil {
		return err
	}
	tx.stats.IncWrite(g.writes)
	tx.stats.IncWriteTime(g.took)
	for _, fn := range tx.handlers {
		fn()
	}
	return tx.db.strictCheck()
}

// Rollback ends the transaction and drops its changes. After the end it
// returns ErrTxClosed and does nothing.
func (tx *Tx) Rollback() error {
	if tx.managed {
		panic(ErrTxManaged)
	}
	if tx.closed.Load() {
		return ErrTxClosed
	}
	tx.rollback()
	return nil
}

// rollback ends the transaction without committing. It is the only place that
// drops changes.
func (tx *Tx) rollback() {
	if !tx.closed.CompareAndSwap(false, true) {
		return
	}
	if !tx.writable {
		tx.db.endRead(tx)
		return
	}
	tx.release()
	tx.db.endWrite(tx)
}

// release gives the transaction's storage back. The caller holds the writer lock.
func (tx *Tx) release() {
	tx.writing.reset()
	tx.db.storage, tx.writing = tx.writing, nil
}

// keep returns b, a slice of v's image, so that it stays as it is until the
// transaction ends: a copy if the page is being edited in place.
func (tx *Tx) keep(v view, b []byte) []byte {
	if v.n == nil || v.n.owner != tx {
		return b
	}
	if len(b) == 0 {
		return []byte{}
	}
	if len(b) > page.MaxInlineValue(tx.db.pageSize) {
		return b // in an extent of its own, never edited
	}
	if cap(tx.arena)-len(tx.arena) < len(b) {
		// The last chunk is left to whoever holds slices of it.
		tx.arena = make([]byte, 0, max(arenaChunk, len(b)))
	}
	start := len(tx.arena)
	tx.arena = append(tx.arena, b...)
	return tx.arena[start:len(tx.arena):len(tx.arena)]
}

const arenaChunk = 16 << 10

// scratch returns storage for packing one page.
func (tx *Tx) scratch() []byte {
	if tx.packing == nil {
		tx.packing = tx.db.buffers.get()
	}
	return tx.packing
}

// node returns the branch or leaf at r, which must have the given level.
func (tx *Tx) node(r page.Ref, level int) (page.Node, error) {
	var n page.Node
	if tx.writable && tx.db.trusting() {
		n = tx.db.recent.get(r)
	}
	if n == nil {
		b, err := tx.db.extent(r, 1)
		if err != nil {
			return nil, err
		}
		n = page.Node(b)
	}
	if t := page.TypeOf(n); t != page.TypeLeaf && t != page.TypeBranch {
		return nil, tx.db.corrupt(uint64(r.ID), "type is "+t.String()+", want a branch or leaf", nil)
	}
	if level != anyLevel && n.Level() != level {
		return nil, tx.db.corrupt(uint64(r.ID), "page stands at the wrong level of its tree", nil)
	}
	return n, nil
}

// payload returns the content of the extent of type t and length n at r.
func (tx *Tx) payload(r page.Ref, t page.Type, n uint64) ([]byte, error) {
	b, err := tx.db.extent(r, page.ExtentPages(n, tx.db.pageSize))
	if err != nil {
		return nil, err
	}
	if got := page.TypeOf(b); got != t {
		return nil, tx.db.corrupt(uint64(r.ID), "type is "+got.String()+", want "+t.String(), nil)
	}
	data, err := page.Payload(b, n)
	if err != nil {
		return nil, tx.db.corrupt(uint64(r.ID), err.Error(), nil)
	}
	return data, nil
}

// unguard ends the protection against faults of the mapping that an exported
// method began with debug.SetPanicOnFault(true): a fault in our mapping
// becomes the transaction's failure, any other panic goes on.
func (tx *Tx) unguard(before bool) {
	debug.SetPanicOnFault(before)
	if r := recover(); r != nil {
		tx.fail(tx.db.faultError(r))
	}
}

// unguardErr is unguard for methods that return an error.
func (tx *Tx) unguardErr(before bool, err *error) {
	debug.SetPanicOnFault(before)
	if r := recover(); r != nil {
		*err = tx.fail(tx.db.faultError(r))
	}
}

// Copy writes the database to w.
//
// Deprecated: use WriteTo.
func (tx *Tx) Copy(w io.Writer) error {
	_, err := tx.WriteTo(w)
	return err
}
