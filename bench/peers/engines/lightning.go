package engines

import (
	"path/filepath"

	"github.com/lightning-db/lightning"
)

var lightningEngine = Engine{
	Name:     "lightning",
	Settings: "defaults, digests verified; unsynced: `Options.NoSync`; where memory is short `ReadAheadOff`, which files beyond half of the memory get by themselves",
	Open:     openLightning,
}

type lightningDB struct {
	*lightning.DB
}

func openLightning(dir string, o Options) (DB, error) {
	options := &lightning.Options{NoSync: !o.Durable}
	if o.Memory > 0 {
		options.ReadAhead = lightning.ReadAheadOff // the memory of the harness is not the machine's
	}
	db, err := lightning.Open(filepath.Join(dir, "data.ldb"), 0o600, options)
	if err != nil {
		return nil, err
	}
	exists := false
	err = db.View(func(tx *lightning.Tx) error {
		exists = tx.Bucket(bucketName) != nil
		return nil
	})
	if err == nil && !exists {
		err = db.Update(func(tx *lightning.Tx) error {
			_, err := tx.CreateBucket(bucketName)
			return err
		})
	}
	if err != nil {
		return nil, closeAfter(err, db)
	}
	return lightningDB{db}, nil
}

func (db lightningDB) Update(fn func(Writer) error) error {
	return db.DB.Update(func(tx *lightning.Tx) error { return fn(lightningWriter{tx.Bucket(bucketName)}) })
}

type lightningWriter struct {
	*lightning.Bucket
}

func (w lightningWriter) Append(fill Fill) error {
	_, err := w.Load(fill)
	return err
}

func (db lightningDB) NewSession() (Session, error) {
	s := &lightningSession{db: db.DB}
	s.view = s.viewGet
	return s, nil
}

// lightningSession keeps the arguments of ViewGet, so that the closure which
// View takes is made once.
type lightningSession struct {
	db    *lightning.DB
	view  func(*lightning.Tx) error
	key   []byte
	use   func([]byte)
	found bool

	tx     *lightning.Tx
	bucket *lightning.Bucket
	cursor *lightning.Cursor
}

func (s *lightningSession) viewGet(tx *lightning.Tx) error {
	v := tx.Bucket(bucketName).Get(s.key)
	if s.found = v != nil; s.found {
		s.use(v)
	}
	return nil
}

func (s *lightningSession) ViewGet(key []byte, use func([]byte)) (bool, error) {
	s.key, s.use = key, use
	err := s.db.View(s.view)
	return s.found, err
}

func (s *lightningSession) Begin() error {
	tx, err := s.db.Begin(false)
	if err != nil {
		return err
	}
	s.tx, s.bucket = tx, tx.Bucket(bucketName)
	s.cursor = s.bucket.Cursor()
	return nil
}

func (s *lightningSession) End() error { return s.tx.Rollback() }

func (s *lightningSession) Get(key []byte, use func([]byte)) (bool, error) {
	v := s.bucket.Get(key)
	if v == nil {
		return false, s.tx.Err()
	}
	use(v)
	return true, nil
}

func (s *lightningSession) Scan(from []byte, n int, use func(k, v []byte)) (visited int, err error) {
	for k, v := s.cursor.Seek(from); k != nil; k, v = s.cursor.Next() {
		use(k, v)
		if visited++; visited == n {
			break
		}
	}
	return visited, s.tx.Err()
}

func (s *lightningSession) Close() error { return nil }
