package lightning

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lightning-db/lightning/arch"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/mutant"
	"github.com/lightning-db/lightning/mmap"
	"github.com/lightning-db/lightning/page"
)

// DB is an open database. Its methods are safe for concurrent use. Fields are
// those of bbolt; set them before the handle is shared.
//
// Lock order, outermost first: file lock, writer, flush, mu (newest sealed state
// and pending group). The flush lock also guards the space map. Publishing, the
// reader table and the statistics are atomic and have no lock. User code runs
// under the writer lock only, but for the Logger, see Options.
type DB struct {
	// StrictMode checks the whole database after each commit, which then fails
	// if something is wrong. Slow; for tests.
	StrictMode bool
	// NoSync leaves durability to DB.Sync. A change takes effect at the next
	// commit; see Durability.
	NoSync bool
	// NoFreelistSync has no effect.
	NoFreelistSync bool
	// FreelistType has no effect.
	FreelistType FreelistType
	// NoGrowSync skips the fsync after the file grew.
	NoGrowSync bool
	// PreLoadFreelist has no effect.
	PreLoadFreelist bool
	// MmapFlags are the flags given to Open.
	MmapFlags int
	// MaxBatchSize is how many functions one Batch transaction runs at the
	// most; 0 makes Batch run each alone.
	MaxBatchSize int
	// MaxBatchDelay is how long Batch waits for more functions; 0 makes Batch
	// run each alone.
	MaxBatchDelay time.Duration
	// AllocSize is the largest step in bytes by which the file grows.
	AllocSize int
	// MaxSize limits the size of the file in bytes; 0 = no limit.
	MaxSize int
	// Mlock tells whether the file's pages are locked in memory.
	Mlock bool

	path     string
	options  Options
	logger   Logger
	file     fsync.File
	data     *mmap.Map
	base     uintptr // address of the mapping
	hasher   *arch.Hasher
	pageSize int
	found    page.TxID // newest transaction that the file had when it was opened; until that is known, any
	verify   Verify
	readOnly bool
	frozen   atomic.Bool // by SetReadOnly: what tip says, for who does not hold mu
	mode     Durability

	largeTxPages int // Options.LargeTxPages, or the default

	memory  uint64      // bytes that ReadAheadAuto goes by, 0 = not known
	sparing atomic.Bool // the kernel reads no neighbours along

	published atomic.Pointer[snapshot]
	readers   readerTable
	verified  verifiedSet
	filePages atomic.Uint64 // length of the file in pages
	endPages  atomic.Uint64 // high-water mark of the published state
	failed    atomic.Pointer[error]
	buffers   pageBuffers
	extents   extentBuffers

	closing atomic.Bool
	closed  chan struct{} // closed when Close begins
	ended   chan struct{} // closed when Close is done
	drained chan struct{} // a reader left while closing

	writer   writerLock         // lock of the one writable transaction
	holder   atomic.Pointer[Tx] // the transaction that holds it, nil while it begins and ends
	storage  *writing           // of the last writable transaction, for the next one; guarded by writer
	recent   recentPages        // guarded by writer
	flusher  flushLock          // flush lock: guards the fields below
	space    *space
	flushing flush
	slots    [2]slotState

	metaImage [page.MetaSize]byte // of the meta slot being written

	keepLength bool // cutting the file has failed
	nameless   bool // nobody minds that no name leads to the file

	durable     page.TxID // D: newest transaction known durable
	proven      *snapshot // D's state
	durableSlot int       // slot of D's meta; never overwritten (rule B)
	written     page.TxID // newest transaction whose meta was written
	promised    page.TxID // newest transaction acknowledged before its sync
	rejected    bool      // the other slot holds a rejected newer meta (rule D)

	mu          stateLock
	tip         state   // newest sealed state; writers build on it
	pending     *group  // sealed and not yet being flushed
	inFlight    int     // dirty pages of the group being flushed
	retired     []*node // written, perhaps still read by the transaction that runs
	epoch       uint64  // raised when a flush failed
	lastFailure error   // why

	batch  batcher
	gauges gauges
	syncer sync.WaitGroup // the goroutine of Periodic
}

// slotState is what a meta slot holds.
type slotState struct {
	tx  page.TxID
	end page.ID
}

// Path returns the path of the open database, "" after Close.
func (db *DB) Path() string {
	if !db.isOpen() {
		return ""
	}
	return db.path
}

// String returns the path in a form for logs.
func (db *DB) String() string { return fmt.Sprintf("DB<%q>", db.Path()) }

// GoString is String for %#v.
func (db *DB) GoString() string { return fmt.Sprintf("lightning.DB{path:%q}", db.Path()) }

// IsReadOnly reports whether the database was opened read-only or made so by
// SetReadOnly.
func (db *DB) IsReadOnly() bool { return db.readOnly || db.frozen.Load() }

// Logger returns the logger that Open was given, or one that discards.
func (db *DB) Logger() Logger {
	if db == nil || db.logger == nil {
		return discardLogger()
	}
	return db.logger
}

// Info returns the address of the mapping and the page size in bytes.
func (db *DB) Info() *Info {
	if !db.isOpen() {
		return &Info{}
	}
	return &Info{Data: db.base, PageSize: db.pageSize}
}

func (db *DB) isOpen() bool { return db.published.Load() != nil && !db.closing.Load() }

// Begin starts a transaction. A read-only one sees the newest durable state
// and never waits; a writable one waits until the one before it has committed
// or rolled back. Begun inside a function that Update runs for the same
// database in the same goroutine, it fails with ErrNestedUpdate. Every
// transaction must be ended with Commit or Rollback.
func (db *DB) Begin(writable bool) (*Tx, error) {
	return db.BeginContext(context.Background(), writable)
}

// BeginContext is Begin that gives up waiting when ctx ends. A writable
// transaction whose context has ended cannot be committed.
func (db *DB) BeginContext(ctx context.Context, writable bool) (*Tx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if writable {
		return db.beginWrite(ctx)
	}
	return db.beginRead()
}

func (db *DB) beginRead() (*Tx, error) {
	snap := db.published.Load()
	if snap == nil || db.closing.Load() {
		return nil, ErrDatabaseNotOpen
	}
	slot := db.readers.enter(snap.meta.TxID)
	for {
		if db.closing.Load() {
			db.leave(slot)
			return nil, ErrDatabaseNotOpen
		}
		// A flush that did not see the slot published before it looked.
		now := db.published.Load()
		if now == snap {
			break
		}
		snap = now
		slot.move(snap.meta.TxID)
	}
	return &Tx{db: db, id: snap.meta.TxID, snap: snap, slot: slot}, nil
}

func (db *DB) leave(slot *readerSlot) {
	slot.leave()
	if db.closing.Load() {
		select {
		case db.drained <- struct{}{}:
		default:
		}
	}
}

func (db *DB) endRead(tx *Tx) {
	if n := tx.cursors.Load(); n > 0 {
		tx.slot.cursors.Add(n)
	}
	db.leave(tx.slot)
}

func (db *DB) beginWrite(ctx context.Context) (*Tx, error) {
	switch {
	case !db.isOpen():
		return nil, ErrDatabaseNotOpen
	case db.IsReadOnly():
		return nil, ErrDatabaseReadOnly
	}
	checkRank(rankWriter)
	if err := db.lockWriter(ctx); err != nil {
		return nil, err
	}
	if db.closing.Load() {
		db.writer.unlock()
		return nil, ErrDatabaseNotOpen
	}
	tx, err := db.newWrite(ctx)
	if err != nil {
		return nil, err
	}
	if tx.flags&page.MetaReadOnly != 0 {
		tx.rollback()
		return nil, ErrDatabaseReadOnly
	}
	return tx, nil
}

// newWrite starts a writable transaction. The caller holds the writer lock, which passes
// to the transaction, or is released on an error.
func (db *DB) newWrite(ctx context.Context) (*Tx, error) {
	if db.pendingBytes() > maxPendingBytes {
		db.drain()
	}
	w := newWritable(db)
	tx := &w.Tx
	tx.ctx = ctx
	db.mu.Lock()
	tx.epoch = db.epoch
	tip := db.tip
	db.mu.Unlock()
	// After the tip was read: a failed flush poisons before it takes the tip
	// back, so no transaction runs under the number of one whose fate is unknown.
	if err := db.poisoned(); err != nil {
		db.writer.unlock()
		return nil, err
	}
	tx.id, tx.flags = tip.id+1, tip.flags
	w.root.beRoot(tx, tip)
	tx.top.Store(&w.root)
	db.holder.Store(tx)
	return tx, nil
}

// writableTx is a writable transaction in one allocation.
type writableTx struct {
	Tx
	record record
	root   Bucket
}

func newWritable(db *DB) *writableTx {
	w := &writableTx{Tx: Tx{db: db, writable: true, snap: db.published.Load(), writing: db.storage}}
	if w.writing == nil {
		w.writing = new(writing)
	}
	db.storage = nil
	w.Tx.record = &w.record
	return w
}

func (db *DB) pendingBytes() int {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.pending == nil {
		return 0
	}
	return db.pending.pages * db.pageSize
}

// endWrite releases the writer lock.
func (db *DB) endWrite(tx *Tx) {
	db.gauges.noteWrite(db, tx)
	db.holder.Store(nil)
	db.reclaim()
	db.writer.unlock()
}

// View runs fn in a read-only transaction. It returns fn's error, or that of
// Tx.Err. A panic of fn ends the transaction and goes on; a fault of the
// mapped file inside fn comes back as an error.
func (db *DB) View(fn func(*Tx) error) error {
	return db.ViewContext(context.Background(), fn)
}

// ViewContext is View that does not begin when ctx has ended.
func (db *DB) ViewContext(ctx context.Context, fn func(*Tx) error) error {
	return db.manage(ctx, false, fn)
}

// Update runs fn in a writable transaction and commits it. When fn returns an
// error or panics, its changes alone are dropped and the error is returned or
// the panic goes on. Concurrent Updates share one flush. An Update inside fn
// fails with ErrNestedUpdate, if it is called by the same goroutine.
func (db *DB) Update(fn func(*Tx) error) error {
	return db.UpdateContext(context.Background(), fn)
}

// UpdateContext is Update that gives up when ctx ends, until the transaction
// is sealed: from then on only the disk decides.
func (db *DB) UpdateContext(ctx context.Context, fn func(*Tx) error) error {
	return db.manage(ctx, true, fn)
}

// manage runs fn in a transaction and ends it, whatever fn does.
func (db *DB) manage(ctx context.Context, writable bool, fn func(*Tx) error) error {
	tx, err := db.BeginContext(ctx, writable)
	if err != nil {
		return err
	}
	tx.managed = true
	defer tx.rollback()
	if err := db.run(tx, fn); err != nil {
		return err
	}
	if writable {
		return tx.commit()
	}
	return tx.Err()
}

// run calls fn with faults of the mapping turned into errors. Tracebacks show
// its arguments, which onStack looks for: db and tx are in use to the end.
func (db *DB) run(tx *Tx, fn func(*Tx) error) (err error) {
	defer tx.unguardErr(debug.SetPanicOnFault(true), &err)
	err = fn(tx)
	runtime.KeepAlive(db)
	return err
}

// Sync makes every commit durable that has returned. It is for NoSync and
// Periodic; in Sync mode there is nothing left to do.
func (db *DB) Sync() error {
	if !db.isOpen() {
		return ErrDatabaseNotOpen
	}
	if db.readOnly {
		return nil
	}
	db.flusher.lock()
	defer db.flusher.unlock()
	return db.syncLocked()
}

// syncLocked advances D to the newest written transaction, whose slot then is
// the one that is kept. The caller holds the flush lock.
func (db *DB) syncLocked() error {
	if err := db.poisoned(); err != nil {
		return err
	}
	if db.durable == db.written {
		return nil
	}
	if err := db.checkNamed(); err != nil {
		return err
	}
	if err := db.file.Sync(fsync.OpSync); err != nil {
		return db.poison(fmt.Errorf("sync transaction %d: %w", db.written, err))
	}
	db.durable = db.written
	db.durableSlot = 1 - db.durableSlot
	db.proven = db.published.Load()
	return nil
}

// durability returns the mode of the next commit.
func (db *DB) durability() Durability {
	if db.NoSync {
		return NoSync
	}
	return db.mode
}

// syncEvery makes commits durable every d until the database is closed.
func (db *DB) syncEvery(d time.Duration) {
	defer db.syncer.Done()
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-db.closed:
			return
		case <-t.C:
		}
		if db.poisoned() != nil {
			return
		}
		db.flusher.lock()
		err := db.syncLocked()
		db.flusher.unlock()
		if err != nil {
			db.noteFailure(err)
			return
		}
	}
}

// poison makes all later writes fail: what is on disk is unknown.
// Readers go on with the newest durable state. The page cache may hold pages
// that never reach the medium, so from here on every access is verified.
func (db *DB) poison(cause error) error {
	if mutant.Is(mutant.GoOnAfterSync) {
		return cause
	}
	err := fmt.Errorf("%w: %w; the outcome of the last commits is unknown: close the database, check the disk and open it again", ErrPoisoned, cause)
	if db.failed.CompareAndSwap(nil, &err) && db.published.Load().meta.TxID > db.durable {
		db.published.Store(db.proven)
	}
	return err
}

func (db *DB) poisoned() error {
	if p := db.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// noteFailure tells the logger what went wrong.
func (db *DB) noteFailure(err error) { db.Logger().Errorf("%s: %v", db.path, err) }
