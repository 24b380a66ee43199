package engines

import (
	"errors"

	"github.com/dgraph-io/badger/v4"
)

var badgerEngine = Engine{
	Name:         "badger",
	Settings:     "defaults, an iterator kept for a transaction; durable: `SyncWrites`",
	Open:         openBadger,
	WritesMapped: true,
}

type badgerDB struct {
	*badger.DB
}

func openBadger(dir string, o Options) (DB, error) {
	options := badger.DefaultOptions(dir).WithLogger(nil).WithSyncWrites(o.Durable).WithBlockCacheSize(o.cache())
	db, err := badger.Open(options)
	if err != nil {
		return nil, err
	}
	return badgerDB{db}, nil
}

// Update tries again when another writer was in the way, as Badger's users must.
func (db badgerDB) Update(fn func(Writer) error) error {
	for {
		err := db.DB.Update(func(txn *badger.Txn) error { return fn(badgerWriter{txn}) })
		if !errors.Is(err, badger.ErrConflict) {
			return err
		}
	}
}

type badgerWriter struct {
	txn *badger.Txn
}

func (w badgerWriter) Put(key, value []byte) error { return w.txn.Set(key, value) }
func (w badgerWriter) Delete(key []byte) error     { return w.txn.Delete(key) }

type badgerSession struct {
	db       *badger.DB
	txn      *badger.Txn
	iterator *badger.Iterator // made when first used
}

func (db badgerDB) NewSession() (Session, error) { return &badgerSession{db: db.DB}, nil }

func badgerGet(txn *badger.Txn, key []byte, use func([]byte)) (bool, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, item.Value(func(v []byte) error {
		use(v)
		return nil
	})
}

func (s *badgerSession) ViewGet(key []byte, use func([]byte)) (found bool, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		found, err = badgerGet(txn, key, use)
		return err
	})
	return found, err
}

func (s *badgerSession) Begin() error {
	s.txn = s.db.NewTransaction(false)
	return nil
}

func (s *badgerSession) End() error {
	if s.iterator != nil {
		s.iterator.Close()
		s.iterator = nil
	}
	s.txn.Discard()
	return nil
}

func (s *badgerSession) Get(key []byte, use func([]byte)) (bool, error) {
	return badgerGet(s.txn, key, use)
}

// Scan fetches values ahead where many entries are wanted.
func (s *badgerSession) Scan(from []byte, n int, use func(k, v []byte)) (visited int, err error) {
	if s.iterator == nil {
		options := badger.DefaultIteratorOptions
		options.PrefetchSize = min(n, options.PrefetchSize)
		s.iterator = s.txn.NewIterator(options)
	}
	for s.iterator.Seek(from); s.iterator.Valid(); s.iterator.Next() {
		item := s.iterator.Item()
		err := item.Value(func(v []byte) error {
			use(item.Key(), v)
			return nil
		})
		if err != nil {
			return visited, err
		}
		if visited++; visited == n {
			break
		}
	}
	return visited, nil
}

func (s *badgerSession) Close() error { return nil }
