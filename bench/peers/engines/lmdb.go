package engines

import (
	"errors"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

// mapSize is what the memory-mapped engines reserve, in bytes.
const mapSize = 64 << 30

var lmdbEngine = Engine{
	Name:     "lmdb",
	Settings: "map of 64 GiB, `MDB_NOTLS`, values not copied (`RawRead`), read transactions reset and renewed; unsynced: `MDB_NOSYNC`; where memory is short `MDB_NORDAHEAD`",
	Open:     openLMDB,
}

type lmdbDB struct {
	env *lmdb.Env
	dbi lmdb.DBI
}

// envCloser makes an environment that did not open an io.Closer.
type envCloser struct{ *lmdb.Env }

func openLMDB(dir string, o Options) (DB, error) {
	env, err := lmdb.NewEnv()
	if err != nil {
		return nil, err
	}
	flags := uint(lmdb.NoTLS)
	if !o.Durable {
		flags |= lmdb.NoSync
	}
	if o.Memory > 0 {
		flags |= lmdb.NoReadahead
	}
	db := &lmdbDB{env: env}
	err = errors.Join(env.SetMapSize(mapSize), env.SetMaxDBs(1), env.SetMaxReaders(256))
	if err == nil {
		err = env.Open(dir, flags, 0o600)
	}
	if err == nil {
		err = env.Update(func(txn *lmdb.Txn) (err error) {
			db.dbi, err = txn.OpenDBI(string(bucketName), lmdb.Create)
			return err
		})
	}
	if err != nil {
		return nil, closeAfter(err, envCloser{env})
	}
	return db, nil
}

func (db *lmdbDB) Update(fn func(Writer) error) error {
	return db.env.Update(func(txn *lmdb.Txn) error { return fn(lmdbWriter{txn, db.dbi}) })
}

func (db *lmdbDB) Sync() error  { return db.env.Sync(true) }
func (db *lmdbDB) Close() error { return db.env.Close() }

type lmdbWriter struct {
	txn *lmdb.Txn
	dbi lmdb.DBI
}

func (w lmdbWriter) Put(key, value []byte) error { return w.txn.Put(w.dbi, key, value, 0) }

func (w lmdbWriter) Append(fill Fill) error {
	return fill(func(key, value []byte) error { return w.txn.Put(w.dbi, key, value, lmdb.Append) })
}

func (w lmdbWriter) Delete(key []byte) error {
	if err := w.txn.Del(w.dbi, key, nil); err != nil && !lmdb.IsNotFound(err) {
		return err
	}
	return nil
}

// lmdbSession has one transaction, reset when nobody reads.
type lmdbSession struct {
	txn    *lmdb.Txn
	dbi    lmdb.DBI
	cursor *lmdb.Cursor
}

func (db *lmdbDB) NewSession() (Session, error) {
	txn, err := db.env.BeginTxn(nil, lmdb.Readonly)
	if err != nil {
		return nil, err
	}
	txn.RawRead = true
	txn.Reset()
	return &lmdbSession{txn: txn, dbi: db.dbi}, nil
}

func (s *lmdbSession) ViewGet(key []byte, use func([]byte)) (bool, error) {
	if err := s.txn.Renew(); err != nil {
		return false, err
	}
	found, err := s.Get(key, use)
	s.txn.Reset()
	return found, err
}

func (s *lmdbSession) Begin() (err error) {
	if err = s.txn.Renew(); err == nil {
		s.cursor, err = s.txn.OpenCursor(s.dbi)
	}
	return err
}

func (s *lmdbSession) End() error {
	s.cursor.Close()
	s.txn.Reset()
	return nil
}

func (s *lmdbSession) Get(key []byte, use func([]byte)) (bool, error) {
	v, err := s.txn.Get(s.dbi, key)
	if lmdb.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	use(v)
	return true, nil
}

func (s *lmdbSession) Scan(from []byte, n int, use func(k, v []byte)) (visited int, err error) {
	k, v, err := s.cursor.Get(from, nil, lmdb.SetRange)
	for ; err == nil; k, v, err = s.cursor.Get(nil, nil, lmdb.Next) {
		use(k, v)
		if visited++; visited == n {
			return visited, nil
		}
	}
	if lmdb.IsNotFound(err) {
		err = nil
	}
	return visited, err
}

func (s *lmdbSession) Close() error {
	s.txn.Abort()
	return nil
}
