package raftstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/lightning-db/lightning"
)

var (
	// ErrKeyNotFound is returned by Get and GetUint64 for a key that was never
	// set. Its text is the one that raft compares with.
	ErrKeyNotFound = errors.New("not found")
	// ErrBadEntry is returned for a key or value in the buckets of a Store that
	// no Store wrote.
	ErrBadEntry = errors.New("damaged or foreign entry in the raft log")
	// ErrGap is returned by StoreLogs for an entry that does not follow the one
	// before it, and by DeleteRange for entries in the middle of the log, unless
	// Options.AllowGaps is set. Nothing was changed.
	ErrGap = errors.New("the raft log would have a gap")
)

// The buckets of a Store. The sequence of logBucket is the commit index.
var (
	logBucket    = []byte("raft.log")
	stableBucket = []byte("raft.stable")
)

const fileMode os.FileMode = 0o600

// Options are the settings of a Store. The zero value is good.
type Options struct {
	// DB is how Open opens the database; nil = lightning.DefaultOptions. With a
	// Durability other than Sync raft can forget its vote in a power cut, and
	// then two leaders may be elected in one term. New does not look at it.
	DB *lightning.Options
	// AllowGaps lets StoreLogs take entries in any order, also in the place of
	// others, and DeleteRange delete in the middle. IsMonotonic then says false.
	// It is for logs copied from stores that have gaps; raft needs none.
	AllowGaps bool
}

// Store is a raft.LogStore, raft.StableStore, raft.MonotonicLogStore and
// raft.CommitTrackingLogStore on a Lightning DB database. A call that changes
// something is one transaction: it happens as a whole or not at all, and when it
// has returned it is as durable as the database is set to be. Methods are safe
// for concurrent use.
type Store struct {
	db        *lightning.DB
	owned     bool // Close closes db
	allowGaps bool

	mu     sync.Mutex
	staged uint64 // commit index for the next StoreLogs

	edgesMu sync.Mutex            // held while edges are read or forgotten
	edges   atomic.Pointer[edges] // of the log as it is; nil = not known
}

// edges are the first and the last index of the log, both 0 if it is empty.
type edges struct{ first, last uint64 }

var (
	_ raft.LogStore               = (*Store)(nil)
	_ raft.StableStore            = (*Store)(nil)
	_ raft.MonotonicLogStore      = (*Store)(nil)
	_ raft.CommitTrackingLogStore = (*Store)(nil)
)

// Open opens the database at path, creating it if need be, and returns the
// Store in it. nil options stand for the zero value. Close closes both. Its
// errors are those of lightning.Open and of New.
func Open(path string, o *Options) (*Store, error) {
	var dbo *lightning.Options
	if o != nil {
		dbo = o.DB
	}
	db, err := lightning.Open(path, fileMode, dbo)
	if err != nil {
		return nil, err
	}
	s, err := New(db, o)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.owned = true
	return s, nil
}

// New returns the Store in a database that the caller has opened and closes,
// and may use for other things: the Store's own are the top-level buckets
// raft.log and raft.stable. There is one Store in a database. It cannot be the
// database of an FSM, which is replaced as a whole by a snapshot. In a database
// opened read-only the buckets must exist.
func New(db *lightning.DB, o *Options) (*Store, error) {
	s := &Store{db: db, allowGaps: o != nil && o.AllowGaps}
	var err error
	if db.IsReadOnly() {
		err = db.View(s.checkBuckets)
	} else {
		err = db.Update(createBuckets)
	}
	if err != nil {
		return nil, fmt.Errorf("open raft store: %w", err)
	}
	return s, nil
}

func createBuckets(tx *lightning.Tx) error {
	for _, name := range [][]byte{logBucket, stableBucket} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return fmt.Errorf("bucket %s: %w", name, err)
		}
	}
	return nil
}

func (s *Store) checkBuckets(tx *lightning.Tx) error {
	for _, name := range [][]byte{logBucket, stableBucket} {
		if _, err := bucket(tx, name); err != nil {
			return err
		}
	}
	return nil
}

func bucket(tx *lightning.Tx, name []byte) (*lightning.Bucket, error) {
	if b := tx.Bucket(name); b != nil {
		return b, nil
	}
	if err := tx.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("bucket %s: %w", name, lightning.ErrBucketNotFound)
}

// Close closes the database if Open opened it, and does nothing otherwise.
func (s *Store) Close() error {
	if !s.owned {
		return nil
	}
	defer s.forgetEdges()
	return s.db.Close()
}

// Sync makes every change durable that has returned. It is for databases opened
// with a Durability other than Sync.
func (s *Store) Sync() error { return s.db.Sync() }

// IsMonotonic implements raft.MonotonicLogStore: raft empties the log before it
// goes on behind a restored snapshot.
func (s *Store) IsMonotonic() bool { return !s.allowGaps }

// FirstIndex returns the index of the first log entry, 0 if there is none.
func (s *Store) FirstIndex() (uint64, error) {
	e, err := s.readEdges()
	return e.first, err
}

// LastIndex returns the index of the last log entry, 0 if there is none.
func (s *Store) LastIndex() (uint64, error) {
	e, err := s.readEdges()
	return e.last, err
}

// readEdges returns the edges that are known, or looks for them.
func (s *Store) readEdges() (edges, error) {
	if known := s.edges.Load(); known != nil {
		return *known, nil
	}
	return s.findEdges()
}

func (s *Store) findEdges() (e edges, err error) {
	s.edgesMu.Lock()
	defer s.edgesMu.Unlock()
	err = s.db.View(func(tx *lightning.Tx) error {
		b, err := bucket(tx, logBucket)
		if err != nil {
			return err
		}
		if e.first, _, err = edgeOf(b, (*lightning.Cursor).First); err != nil {
			return err
		}
		e.last, _, err = edgeOf(b, (*lightning.Cursor).Last)
		return err
	})
	if err != nil {
		return edges{}, err
	}
	s.edges.Store(&e)
	return e, nil
}

// forgetEdges is called after each change. The lock keeps a reader that began
// before it from storing what it saw.
func (s *Store) forgetEdges() {
	s.edgesMu.Lock()
	defer s.edgesMu.Unlock()
	s.edges.Store(nil)
}

// edgeOf returns the first or the last index, and false if there are no entries.
func edgeOf(b *lightning.Bucket, move func(*lightning.Cursor) ([]byte, []byte)) (uint64, bool, error) {
	key, _ := move(b.Cursor())
	if key == nil {
		return 0, false, b.Tx().Err()
	}
	index, err := keyIndex(key)
	return index, err == nil, err
}

// GetLog fills l with the entry of the given index; its slices belong to the
// caller. It fails with raft.ErrLogNotFound, with ErrBadEntry, or with a
// *lightning.CorruptionError.
func (s *Store) GetLog(index uint64, l *raft.Log) error {
	return s.db.View(func(tx *lightning.Tx) error {
		b, err := bucket(tx, logBucket)
		if err != nil {
			return err
		}
		value := b.Get(indexKey(index))
		if value == nil {
			if err := tx.Err(); err != nil {
				return err
			}
			return raft.ErrLogNotFound
		}
		return decodeEntry(index, bytes.Clone(value), l)
	})
}

// StoreLog appends one entry, see StoreLogs.
func (s *Store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs appends entries, all or none, together with the commit index that
// was staged. Each must have the index behind the one before it, or the error is
// ErrGap; the first of an empty log may have any.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.forgetEdges()
	err := s.db.Update(func(tx *lightning.Tx) error {
		b, err := bucket(tx, logBucket)
		if err != nil {
			return err
		}
		if err := s.checkOrder(b, logs); err != nil {
			return err
		}
		var key [indexSize]byte
		var value []byte
		for _, l := range logs {
			binary.BigEndian.PutUint64(key[:], l.Index)
			value = appendEntry(value[:0], l)
			if err := b.Put(key[:], value); err != nil {
				return fmt.Errorf("entry %d: %w", l.Index, err)
			}
		}
		return s.putStaged(b)
	})
	if err != nil {
		return fmt.Errorf("store raft log: %w", err)
	}
	s.staged = 0
	return nil
}

func (s *Store) checkOrder(b *lightning.Bucket, logs []*raft.Log) error {
	if s.allowGaps {
		return nil
	}
	last, ok, err := edgeOf(b, (*lightning.Cursor).Last)
	if err != nil {
		return err
	}
	for _, l := range logs {
		if ok && l.Index != last+1 {
			return fmt.Errorf("%w: entry %d behind %d", ErrGap, l.Index, last)
		}
		last, ok = l.Index, true
	}
	return nil
}

// putStaged stores the staged commit index, which must not reach past the log.
func (s *Store) putStaged(b *lightning.Bucket) error {
	if s.staged == 0 {
		return nil
	}
	last, _, err := edgeOf(b, (*lightning.Cursor).Last)
	if err != nil {
		return err
	}
	return b.SetSequence(min(s.staged, last))
}

// DeleteRange deletes the entries from lo to hi, both inclusive, in one
// transaction, at the cost of what is deleted. It fails with ErrGap when entries
// would be left on both sides.
func (s *Store) DeleteRange(lo, hi uint64) error {
	if lo > hi {
		return nil
	}
	defer s.forgetEdges()
	err := s.db.Update(func(tx *lightning.Tx) error {
		b, err := bucket(tx, logBucket)
		if err != nil {
			return err
		}
		first, ok, err := edgeOf(b, (*lightning.Cursor).First)
		if err != nil || !ok {
			return err
		}
		last, _, err := edgeOf(b, (*lightning.Cursor).Last)
		if err != nil {
			return err
		}
		if !s.allowGaps && first < lo && hi < last {
			return fmt.Errorf("%w: %d to %d of %d to %d", ErrGap, lo, hi, first, last)
		}
		var end []byte
		if hi != math.MaxUint64 {
			end = indexKey(hi + 1)
		}
		if _, err := b.DeleteRange(indexKey(lo), end); err != nil {
			return err
		}
		return lowerCommitIndex(b)
	})
	if err != nil {
		return fmt.Errorf("delete from raft log: %w", err)
	}
	return nil
}

// lowerCommitIndex keeps the commit index from naming entries that are gone:
// others could be stored under their indexes.
func lowerCommitIndex(b *lightning.Bucket) error {
	last, _, err := edgeOf(b, (*lightning.Cursor).Last)
	if err != nil || b.Sequence() <= last {
		return err
	}
	return b.SetSequence(last)
}

// StageCommitIndex implements raft.CommitTrackingLogStore: the next StoreLogs
// stores index in its transaction. raft calls it if Config.RestoreCommittedLogs
// is set.
func (s *Store) StageCommitIndex(index uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.staged = index
	return nil
}

// GetCommitIndex returns the stored commit index, 0 if there is none, and never
// more than the last index.
func (s *Store) GetCommitIndex() (index uint64, err error) {
	err = s.db.View(func(tx *lightning.Tx) error {
		b, err := bucket(tx, logBucket)
		if err != nil {
			return err
		}
		last, _, err := edgeOf(b, (*lightning.Cursor).Last)
		index = min(b.Sequence(), last)
		return err
	})
	return index, err
}

// Set stores a value under a key.
func (s *Store) Set(key, value []byte) error {
	err := s.db.Update(func(tx *lightning.Tx) error {
		b, err := bucket(tx, stableBucket)
		if err != nil {
			return err
		}
		return b.Put(key, value)
	})
	if err != nil {
		return fmt.Errorf("set %q: %w", key, err)
	}
	return nil
}

// Get returns the value of key, which belongs to the caller, or ErrKeyNotFound.
func (s *Store) Get(key []byte) (value []byte, err error) {
	err = s.db.View(func(tx *lightning.Tx) error {
		b, err := bucket(tx, stableBucket)
		if err != nil {
			return err
		}
		if value = b.Get(key); value == nil {
			if err := tx.Err(); err != nil {
				return err
			}
			return ErrKeyNotFound
		}
		value = bytes.Clone(value)
		return nil
	})
	return value, err
}

// SetUint64 stores a number under a key, as eight bytes big-endian. Get finds
// it, too.
func (s *Store) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 returns the number stored under key. It fails with ErrKeyNotFound,
// or with ErrBadEntry for a value that is no number.
func (s *Store) GetUint64(key []byte) (uint64, error) {
	value, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("%w: value of %q has %d bytes, want 8", ErrBadEntry, key, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}
