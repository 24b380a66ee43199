package lightning

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/mmap"
	"github.com/lightning-db/lightning/page"
)

// Open opens the database at path, creating it with the given mode if it does
// not exist and the options are not read-only. nil options stand for
// DefaultOptions. The file stays locked until Close: exclusively, or shared
// with other readers if opened read-only.
//
// Opening validates what the last commit wrote and replays and repairs
// nothing, so it takes the same time whatever the size of the file and however
// it was closed. It fails with an *OpenError that names the path and what to do
// about ErrInvalid, ErrVersionMismatch, ErrChecksum, ErrIntegrityKey,
// ErrTimeout, ErrNotRegular, ErrIncrement or an error of the file system; the file is then as
// it was.
func Open(path string, mode os.FileMode, options *Options) (*DB, error) {
	if options == nil {
		options = DefaultOptions
	}
	db := newDB(path, options)
	if err := db.begin(&recovery{db: db}, mode); err != nil {
		return nil, err
	}
	if db.mode.every > 0 && !db.readOnly {
		db.syncer.Add(1)
		go db.syncEvery(db.mode.every)
	}
	return db, nil
}

// begin brings db to life by r. After an error nothing of it is left open.
func (db *DB) begin(r *recovery, mode os.FileMode) error {
	path := db.path
	err := r.run(mode)
	if err == nil {
		return nil
	}
	return openError(path, errors.Join(err, db.release()))
}

// release gives up the file as it is.
func (db *DB) release() (err error) {
	if db.data != nil {
		err = db.data.Close()
	}
	if db.file != nil {
		err = errors.Join(err, db.file.Close())
	}
	return err
}

func newDB(path string, o *Options) *DB {
	db := &DB{
		NoSync:          o.NoSync || o.Durability == NoSync,
		NoFreelistSync:  o.NoFreelistSync,
		FreelistType:    o.FreelistType,
		NoGrowSync:      o.NoGrowSync,
		PreLoadFreelist: o.PreLoadFreelist,
		MmapFlags:       o.MmapFlags,
		MaxBatchSize:    defaultMaxBatchSize,
		MaxBatchDelay:   defaultMaxBatchDelay,
		AllocSize:       defaultAllocSize,
		MaxSize:         o.MaxSize,
		Mlock:           o.Mlock,

		path:     path,
		options:  *o,
		logger:   o.Logger,
		verify:   o.Verify,
		readOnly: o.ReadOnly,
		mode:     o.Durability,
		found:    math.MaxUint64,

		largeTxPages: cmp.Or(o.LargeTxPages, DefaultLargeTxPages),
		memory:       memory(),

		closed:  make(chan struct{}),
		ended:   make(chan struct{}),
		drained: make(chan struct{}, 1),
		writer:  make(chan struct{}, 1),
		flusher: make(chan struct{}, 1),
	}
	if db.mode == NoSync {
		db.mode = Sync // NoSync itself is the field, which can be changed
	}
	return db
}

const defaultAllocSize = 16 << 20

// openFile opens the file of the database.
func (db *DB) openFile(mode os.FileMode) error {
	flag := os.O_RDWR | os.O_CREATE
	if db.readOnly {
		flag = os.O_RDONLY
	}
	f, err := fsync.Open(db.path, flag, mode, db.options.OpenFile)
	if err != nil {
		return err
	}
	db.file = f
	named, err := f.Named()
	if err != nil {
		return err
	}
	db.nameless = !named || db.options.AllowRemoved
	if of := f.OSFile(); of != nil {
		db.path = of.Name() // Options.OpenFile may have chosen another place
	}
	return nil
}

// lockFile takes the lock between processes.
func (db *DB) lockFile() error {
	err := fsync.Lock(context.Background(), db.file, !db.readOnly, db.options.Timeout)
	if errors.Is(err, fsync.ErrLockTimeout) {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return err
}

// useKey derives the keys of the file from its id and the user's key.
func (db *DB) useKey(fileID [16]byte) (keyCheck [16]byte) {
	db.hasher, keyCheck = page.Keys(db.options.IntegrityKey, fileID)
	return keyCheck
}

// usePageSize settles what depends on the page size.
func (db *DB) usePageSize(n int) {
	db.pageSize = n
	db.buffers.size = n
}

// mapFile maps the file.
func (db *DB) mapFile(size int64) error {
	if db.file.OSFile() == nil {
		return fmt.Errorf("%w: no file to map", ErrInvalidMapping)
	}
	m, err := mmap.New(db.file.OSFile(), size, mmap.Options{Populate: populate(db.MmapFlags), Lock: db.Mlock})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidMapping, err)
	}
	db.data, db.base = m, m.Base()
	db.adviseMap(size)
	db.filePages.Store(uint64(size / int64(db.pageSize)))
	db.verified.reach(page.ID(db.filePages.Load()))
	return nil
}

// Close ends the database: it waits until open transactions have ended, lets
// new ones fail with ErrDatabaseNotOpen, makes everything durable and releases
// file and memory. Slices of transactions are invalid afterwards. A second
// Close does nothing. Called inside a function that View or Update runs it
// would wait for itself, and fails with ErrCloseInTx.
func (db *DB) Close() error {
	if db.published.Load() == nil {
		return nil
	}
	if db.runsHere() {
		return ErrCloseInTx
	}
	if !db.closing.CompareAndSwap(false, true) {
		<-db.ended
		return nil
	}
	defer close(db.ended)
	close(db.closed)
	db.writer <- struct{}{} // never released: the last one
	db.awaitReaders()
	db.syncer.Wait()
	db.flusher.lock()
	defer db.flusher.unlock()
	db.flushPending()
	err := db.settleFile()
	return errors.Join(err, db.release())
}

// awaitReaders returns when no reader is left; new ones see that the database
// is closing.
func (db *DB) awaitReaders() {
	for len(db.readers.snapshots()) > 0 {
		<-db.drained
	}
}

// settleFile makes the last commits durable and says so in a second meta, so
// that the next Open has nothing to validate and takes damage to the last
// commit for what it is, not for a commit that was cut short. It cuts the file
// to its end and the reserve. Where nobody was told of a failed sync it says
// that acknowledged transactions may be lost.
func (db *DB) settleFile() error {
	if db.readOnly {
		return nil
	}
	if err := db.poisoned(); err != nil {
		if db.promised > db.durable {
			return err
		}
		return nil
	}
	if err := db.syncLocked(); err != nil {
		return err
	}
	if m := db.published.Load().meta; db.slots[1-db.durableSlot].tx != m.TxID {
		m.DurableTx = m.TxID
		if err := db.writeMetaSlot(1-db.durableSlot, &m); err != nil {
			return err
		}
		db.slots[1-db.durableSlot] = slotState{m.TxID, m.End}
		if err := db.file.Sync(fsync.OpCloseSync); err != nil {
			return fmt.Errorf("sync on close: %w", err)
		}
	}
	end := uint64(max(db.slots[0].end, db.slots[1].end))
	if free, keep := db.space.free.freePages(), db.reserve(); free < keep {
		end += keep - free
	}
	if end < db.filePages.Load() {
		db.truncate(end)
	}
	return nil
}
