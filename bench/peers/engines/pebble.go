package engines

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

var pebbleEngine = Engine{
	Name:     "pebble",
	Settings: "newest format, memtables of 64 MiB, block cache of 256 MiB, Bloom filters of 10 bits, an iterator kept for a transaction; durable: `pebble.Sync`, unsynced: `pebble.NoSync`",
	Open:     openPebble,
}

type pebbleDB struct {
	db    *pebble.DB
	write *pebble.WriteOptions
}

// quiet drops what Pebble says of its work; errors come back from its calls.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

// Fatalf is called when Pebble cannot go on, and must not return.
func (quiet) Fatalf(format string, args ...any) { pebble.DefaultLogger.Fatalf(format, args...) }

func openPebble(dir string, o Options) (DB, error) {
	options := &pebble.Options{
		FormatMajorVersion: pebble.FormatNewest,
		CacheSize:          o.cache(),
		MemTableSize:       uint64(min(64<<20, o.cache()/4)),
		Logger:             quiet{},
	}
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(dir, options)
	if err != nil {
		return nil, err
	}
	p := &pebbleDB{db: db, write: pebble.NoSync}
	if o.Durable {
		p.write = pebble.Sync
	}
	return p, nil
}

func (db *pebbleDB) Update(fn func(Writer) error) error {
	batch := db.db.NewBatch()
	if err := fn(pebbleWriter{batch}); err != nil {
		return closeAfter(err, batch)
	}
	if err := batch.Commit(db.write); err != nil {
		return closeAfter(err, batch)
	}
	return batch.Close()
}

// Sync commits an empty record durably: what is in the log before it is then
// durable too.
func (db *pebbleDB) Sync() error  { return db.db.LogData(nil, pebble.Sync) }
func (db *pebbleDB) Close() error { return db.db.Close() }

type pebbleWriter struct {
	batch *pebble.Batch
}

func (w pebbleWriter) Put(key, value []byte) error { return w.batch.Set(key, value, nil) }
func (w pebbleWriter) Delete(key []byte) error     { return w.batch.Delete(key, nil) }

type pebbleSession struct {
	db       *pebble.DB
	snapshot *pebble.Snapshot
	iterator *pebble.Iterator // made when first used
}

func (db *pebbleDB) NewSession() (Session, error) { return &pebbleSession{db: db.db}, nil }

func pebbleGet(from pebble.Reader, key []byte, use func([]byte)) (bool, error) {
	v, closer, err := from.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	use(v)
	return true, closer.Close()
}

func (s *pebbleSession) ViewGet(key []byte, use func([]byte)) (bool, error) {
	return pebbleGet(s.db, key, use)
}

func (s *pebbleSession) Begin() error {
	s.snapshot = s.db.NewSnapshot()
	return nil
}

func (s *pebbleSession) End() error {
	var err error
	if s.iterator != nil {
		err = s.iterator.Close()
		s.iterator = nil
	}
	return errors.Join(err, s.snapshot.Close())
}

func (s *pebbleSession) Get(key []byte, use func([]byte)) (bool, error) {
	return pebbleGet(s.snapshot, key, use)
}

func (s *pebbleSession) Scan(from []byte, n int, use func(k, v []byte)) (visited int, err error) {
	if s.iterator == nil {
		if s.iterator, err = s.snapshot.NewIter(nil); err != nil {
			return 0, err
		}
	}
	for ok := s.iterator.SeekGE(from); ok; ok = s.iterator.Next() {
		v, err := s.iterator.ValueAndErr()
		if err != nil {
			return visited, err
		}
		use(s.iterator.Key(), v)
		if visited++; visited == n {
			break
		}
	}
	return visited, s.iterator.Error()
}

func (s *pebbleSession) Close() error { return nil }
