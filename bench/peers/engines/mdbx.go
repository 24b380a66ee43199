package engines

import (
	"errors"

	"github.com/erigontech/mdbx-go/mdbx"
)

var mdbxEngine = Engine{
	Name:     "mdbx",
	Settings: "up to 64 GiB, pages of 4 KiB, `MDBX_LIFORECLAIM`, `MDBX_NOSTICKYTHREADS`, read transactions reset and renewed; unsynced: `MDBX_UTTERLY_NOSYNC`; where memory is short `MDBX_NORDAHEAD`",
	Open:     openMDBX,
}

type mdbxDB struct {
	env *mdbx.Env
	dbi mdbx.DBI
}

func openMDBX(dir string, o Options) (DB, error) {
	env, err := mdbx.NewEnv(mdbx.Default)
	if err != nil {
		return nil, err
	}
	flags := uint(mdbx.LifoReclaim | mdbx.NoStickyThreads)
	if !o.Durable {
		flags |= mdbx.UtterlyNoSync
	}
	if o.Memory > 0 {
		flags |= mdbx.NoReadahead
	}
	db := &mdbxDB{env: env}
	err = errors.Join(
		env.SetOption(mdbx.OptMaxDB, 1),
		env.SetOption(mdbx.OptMaxReaders, 256),
		env.SetGeometry(-1, -1, mapSize, -1, -1, 4096),
	)
	if err == nil {
		err = env.Open(dir, flags, 0o600)
	}
	if err == nil {
		err = env.Update(func(txn *mdbx.Txn) (err error) {
			db.dbi, err = txn.OpenDBI(string(bucketName), mdbx.Create, nil, nil)
			return err
		})
	}
	if err != nil {
		env.Close()
		return nil, err
	}
	return db, nil
}

func (db *mdbxDB) Update(fn func(Writer) error) error {
	return db.env.Update(func(txn *mdbx.Txn) error { return fn(mdbxWriter{txn, db.dbi}) })
}

func (db *mdbxDB) Sync() error { return db.env.Sync(true, false) }

func (db *mdbxDB) Close() error {
	db.env.Close()
	return nil
}

type mdbxWriter struct {
	txn *mdbx.Txn
	dbi mdbx.DBI
}

func (w mdbxWriter) Put(key, value []byte) error { return w.txn.Put(w.dbi, key, value, 0) }

func (w mdbxWriter) Append(fill Fill) error {
	return fill(func(key, value []byte) error { return w.txn.Put(w.dbi, key, value, mdbx.Append) })
}

func (w mdbxWriter) Delete(key []byte) error {
	if err := w.txn.Del(w.dbi, key, nil); err != nil && !mdbx.IsNotFound(err) {
		return err
	}
	return nil
}

// mdbxSession has one transaction, reset when nobody reads.
type mdbxSession struct {
	txn    *mdbx.Txn
	dbi    mdbx.DBI
	cursor *mdbx.Cursor
}

func (db *mdbxDB) NewSession() (Session, error) {
	txn, err := db.env.BeginTxn(nil, mdbx.Readonly)
	if err != nil {
		return nil, err
	}
	txn.Reset()
	return &mdbxSession{txn: txn, dbi: db.dbi}, nil
}

func (s *mdbxSession) ViewGet(key []byte, use func([]byte)) (bool, error) {
	if err := s.txn.Renew(); err != nil {
		return false, err
	}
	found, err := s.Get(key, use)
	s.txn.Reset()
	return found, err
}

func (s *mdbxSession) Begin() (err error) {
	if err = s.txn.Renew(); err == nil {
		s.cursor, err = s.txn.OpenCursor(s.dbi)
	}
	return err
}

func (s *mdbxSession) End() error {
	s.cursor.Close()
	s.txn.Reset()
	return nil
}

func (s *mdbxSession) Get(key []byte, use func([]byte)) (bool, error) {
	v, err := s.txn.Get(s.dbi, key)
	if mdbx.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	use(v)
	return true, nil
}

func (s *mdbxSession) Scan(from []byte, n int, use func(k, v []byte)) (visited int, err error) {
	k, v, err := s.cursor.Get(from, nil, mdbx.SetRange)
	for ; err == nil; k, v, err = s.cursor.Get(nil, nil, mdbx.Next) {
		use(k, v)
		if visited++; visited == n {
			return visited, nil
		}
	}
	if mdbx.IsNotFound(err) {
		err = nil
	}
	return visited, err
}

func (s *mdbxSession) Close() error {
	s.txn.Abort()
	return nil
}
