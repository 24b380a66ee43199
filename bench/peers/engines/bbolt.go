package engines

import (
	"path/filepath"

	"go.etcd.io/bbolt"
)

const bboltSettings = "defaults, free list as a hash map; unsynced: `Options.NoSync`"

var bboltEngine = Engine{Name: "bbolt", Settings: bboltSettings, Open: openBbolt}

// bboltBatchEngine commits with Batch instead of Update, at its best: a batch
// starts as soon as all writers are in it, instead of 10 ms later.
var bboltBatchEngine = Engine{
	Name:     "bbolt-batch",
	Variant:  "bbolt",
	Settings: "as bbolt, writes with `Batch` and `MaxBatchSize` = number of writers",
	Open: func(dir string, o Options) (DB, error) {
		db, err := openBbolt(dir, o)
		if err != nil {
			return nil, err
		}
		b := bboltBatchDB{db.(bboltDB)}
		b.MaxBatchSize = max(1, o.Writers)
		return b, nil
	},
}

type bboltDB struct {
	*bbolt.DB
}

type bboltBatchDB struct {
	bboltDB
}

func openBbolt(dir string, o Options) (DB, error) {
	options := *bbolt.DefaultOptions
	options.FreelistType = bbolt.FreelistMapType
	options.NoSync = !o.Durable
	db, err := bbolt.Open(filepath.Join(dir, "data.bolt"), 0o600, &options)
	if err != nil {
		return nil, err
	}
	exists := false
	err = db.View(func(tx *bbolt.Tx) error {
		exists = tx.Bucket(bucketName) != nil
		return nil
	})
	if err == nil && !exists {
		err = db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket(bucketName)
			return err
		})
	}
	if err != nil {
		return nil, closeAfter(err, db)
	}
	return bboltDB{db}, nil
}

func (db bboltDB) Update(fn func(Writer) error) error {
	return db.DB.Update(func(tx *bbolt.Tx) error { return fn(tx.Bucket(bucketName)) })
}

func (db bboltBatchDB) Update(fn func(Writer) error) error {
	return db.Batch(func(tx *bbolt.Tx) error { return fn(tx.Bucket(bucketName)) })
}

func (db bboltDB) NewSession() (Session, error) {
	s := &bboltSession{db: db.DB}
	s.view = s.viewGet
	return s, nil
}

// bboltSession keeps the arguments of ViewGet, so that the closure which View
// takes is made once.
type bboltSession struct {
	db    *bbolt.DB
	view  func(*bbolt.Tx) error
	key   []byte
	use   func([]byte)
	found bool

	tx     *bbolt.Tx
	bucket *bbolt.Bucket
	cursor *bbolt.Cursor
}

func (s *bboltSession) viewGet(tx *bbolt.Tx) error {
	v := tx.Bucket(bucketName).Get(s.key)
	if s.found = v != nil; s.found {
		s.use(v)
	}
	return nil
}

func (s *bboltSession) ViewGet(key []byte, use func([]byte)) (bool, error) {
	s.key, s.use = key, use
	err := s.db.View(s.view)
	return s.found, err
}

func (s *bboltSession) Begin() error {
	tx, err := s.db.Begin(false)
	if err != nil {
		return err
	}
	s.tx, s.bucket = tx, tx.Bucket(bucketName)
	s.cursor = s.bucket.Cursor()
	return nil
}

func (s *bboltSession) End() error { return s.tx.Rollback() }

func (s *bboltSession) Get(key []byte, use func([]byte)) (bool, error) {
	v := s.bucket.Get(key)
	if v == nil {
		return false, nil
	}
	use(v)
	return true, nil
}

func (s *bboltSession) Scan(from []byte, n int, use func(k, v []byte)) (visited int, err error) {
	for k, v := s.cursor.Seek(from); k != nil; k, v = s.cursor.Next() {
		use(k, v)
		if visited++; visited == n {
			break
		}
	}
	return visited, nil
}

func (s *bboltSession) Close() error { return nil }
