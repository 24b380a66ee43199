package differential_test

import (
	"errors"
	"fmt"
	"io"

	"github.com/lightning-db/lightning"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// The constraints are what a program needs of either package. D, T, B and C are
// its *DB, *Tx, *Bucket and *Cursor.

type database[T any] interface {
	comparable
	Begin(writable bool) (T, error)
	Update(func(T) error) error
	View(func(T) error) error
	Batch(func(T) error) error
	Close() error
	Path() string
	IsReadOnly() bool
}

type transaction[B, C any] interface {
	comparable
	ID() int
	Size() int64
	Writable() bool
	Cursor() C
	Bucket(name []byte) B
	CreateBucket(name []byte) (B, error)
	CreateBucketIfNotExists(name []byte) (B, error)
	DeleteBucket(name []byte) error
	MoveBucket(child []byte, src, dst B) error
	ForEach(func(name []byte, b B) error) error
	OnCommit(func())
	Commit() error
	Rollback() error
	WriteTo(io.Writer) (int64, error)
}

type bucket[B, C any] interface {
	comparable
	Writable() bool
	Cursor() C
	Bucket(name []byte) B
	CreateBucket(key []byte) (B, error)
	CreateBucketIfNotExists(key []byte) (B, error)
	DeleteBucket(key []byte) error
	MoveBucket(key []byte, dst B) error
	Get(key []byte) []byte
	Put(key, value []byte) error
	Delete(key []byte) error
	Sequence() uint64
	SetSequence(v uint64) error
	NextSequence() (uint64, error)
	ForEach(func(k, v []byte) error) error
	ForEachBucket(func(k []byte) error) error
}

type cursor[B any] interface {
	comparable
	Bucket() B
	First() (key, value []byte)
	Last() (key, value []byte)
	Next() (key, value []byte)
	Prev() (key, value []byte)
	Seek(seek []byte) (key, value []byte)
	Delete() error
}

type (
	boltDB     = *bbolt.DB
	boltTx     = *bbolt.Tx
	boltBucket = *bbolt.Bucket
	boltCursor = *bbolt.Cursor
	ownDB      = *lightning.DB
	ownTx      = *lightning.Tx
	ownBucket  = *lightning.Bucket
	ownCursor  = *lightning.Cursor
)

// engine is one of the packages. The functions are for what has results of types
// of its own.
type engine[D, T, B any] struct {
	open    func(path string) (D, error)
	compact func(dst, src D, txMaxSize int64) error
	stats   func(D) (txN, openTxN int)
	keys    func(B) (keyN, bucketN int)
	inspect func(T) string
	check   func(T) []error
	err     func(error) string // the name of an error

	defect string // of a control: what this engine does wrong
}

var onBbolt = engine[boltDB, boltTx, boltBucket]{
	open: func(path string) (*bbolt.DB, error) {
		// With less a writer that has to grow the mapping waits for the readers.
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoGrowSync: true, InitialMmapSize: 1 << 28, FreelistType: bbolt.FreelistMapType})
		if err == nil {
			db.MaxBatchSize = 1
		}
		return db, err
	},
	compact: bbolt.Compact,
	stats: func(db *bbolt.DB) (int, int) {
		s := db.Stats()
		return s.TxN, s.OpenTxN
	},
	keys: func(b *bbolt.Bucket) (int, int) {
		s := b.Stats()
		return s.KeyN, s.BucketN
	},
	inspect: func(tx *bbolt.Tx) string { return fmt.Sprintf("%x", tx.Inspect()) },
	check:   func(tx *bbolt.Tx) []error { return drain(tx.Check()) },
	err: func(err error) string {
		return textOf(err,
			bbolterrors.ErrDatabaseNotOpen, bbolterrors.ErrTxNotWritable, bbolterrors.ErrTxClosed,
			bbolterrors.ErrBucketNotFound, bbolterrors.ErrBucketExists, bbolterrors.ErrBucketNameRequired,
			bbolterrors.ErrKeyRequired, bbolterrors.ErrKeyTooLarge, bbolterrors.ErrIncompatibleValue,
			bbolterrors.ErrSameBuckets, bbolterrors.ErrDifferentDB,
		)
	},
}

var onLightning = engine[ownDB, ownTx, ownBucket]{
	open: func(path string) (*lightning.DB, error) {
		db, err := lightning.Open(path, 0o600, &lightning.Options{NoSync: true, NoGrowSync: true})
		if err == nil {
			db.MaxBatchSize = 1
		}
		return db, err
	},
	compact: lightning.Compact,
	stats: func(db *lightning.DB) (int, int) {
		s := db.Stats()
		return s.TxN, s.OpenTxN
	},
	keys: func(b *lightning.Bucket) (int, int) {
		s := b.Stats()
		return s.KeyN, s.BucketN
	},
	inspect: func(tx *lightning.Tx) string { return fmt.Sprintf("%x", tx.Inspect()) },
	check:   func(tx *lightning.Tx) []error { return drain(tx.Check()) },
	err: func(err error) string {
		return textOf(err,
			lightning.ErrDatabaseNotOpen, lightning.ErrTxNotWritable, lightning.ErrTxClosed,
			lightning.ErrBucketNotFound, lightning.ErrBucketExists, lightning.ErrBucketNameRequired,
			lightning.ErrKeyRequired, lightning.ErrKeyTooLarge, lightning.ErrIncompatibleValue,
			lightning.ErrSameBuckets, lightning.ErrDifferentDB,
		)
	},
}

// errOwn is what the functions of a program return that fail.
var errOwn = errors.New("the program's own error")

// textOf returns the text of the sentinel in err: the engines' texts are equal.
func textOf(err error, sentinels ...error) string {
	switch {
	case err == nil:
		return "ok"
	case err == errOwn:
		return "own error"
	}
	for _, e := range sentinels {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return fmt.Sprintf("another error: %v", err)
}

func drain(errs <-chan error) (all []error) {
	for err := range errs {
		all = append(all, err)
	}
	return all
}
