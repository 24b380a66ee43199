package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/await"
	"github.com/lightning-db/lightning/internal/newfile"
)

const privateMode = 0o600

// fillPercent is how full pages of a copy are: keys come in order, and bbolt's
// own Compact leaves as much room.
const fillPercent = 0.9

var (
	// markerName ends in a zero byte, see checkMarkerClash.
	markerName = []byte("\x00lightning-cli migrate\x00")
	stateKey   = []byte("state")
)

// target is a copy that grows, one transaction at a time.
type target interface {
	// begin starts a transaction in the bucket at path. It must be rolled back
	// also if begin fails.
	begin(path [][]byte) error
	// enter creates a bucket and goes on in it; the root bucket, which has no
	// name, is there and gets its sequence only.
	enter(name []byte, sequence uint64) error
	put(key, value []byte) error
	leave()
	commit(st *state) error
	// rollback drops the open transaction, if there is one.
	rollback() error
	// state returns what the marker holds, nil if there is none.
	state() (*state, error)
	// finish removes the marker.
	finish() error
	close() error
	pageSize() int
}

// bucketOf is what a target needs of an engine's *Bucket.
type bucketOf[B any] interface {
	comparable
	Bucket(name []byte) B
	CreateBucket(name []byte) (B, error)
	CreateBucketIfNotExists(name []byte) (B, error)
	DeleteBucket(name []byte) error
	Get(key []byte) []byte
	Put(key, value []byte) error
	SetSequence(sequence uint64) error
}

// transaction is what a target needs of an engine's *Tx.
type transaction interface {
	Commit() error
	Rollback() error
}

// copyTarget is a target in the engine whose buckets are B.
type copyTarget[B bucketOf[B]] struct {
	beginTx func() (transaction, B, error) // and the root bucket
	closeDB func() error
	setFill func(B)
	page    int

	tx    transaction
	stack []B // from the root to the bucket that is being written
	// panicked is set when the engine has: its locks may be held for good.
	panicked bool
}

// openTarget opens the copy, which it begins if there is none. The state is nil
// if the copy is whole.
func (m *migration) openTarget(ctx context.Context) (target, *state, error) {
	info, err := os.Lstat(m.temp)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := m.begin(ctx); err != nil {
			return nil, nil, err
		}
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular() || info.Size() == 0:
		return nil, nil, m.advise(fmt.Errorf("%s: %w", m.temp, ErrNotOurs))
	default:
		m.result.Resumed = true
	}
	t, err := m.open(ctx, m.temp)
	if err != nil {
		if !errors.Is(err, lightning.ErrTimeout) && m.result.Resumed {
			err = m.advise(err)
		}
		return nil, nil, err
	}
	st, err := t.state()
	switch {
	case err != nil:
		err = m.advise(err)
	case m.opts.PageSize != 0 && m.opts.PageSize != t.pageSize():
		err = m.advise(fmt.Errorf("the unfinished copy has pages of %d bytes, not %d", t.pageSize(), m.opts.PageSize))
	case st != nil && (st.Version != stateVersion || st.Source.Format != m.id.Format):
		err = m.advise(fmt.Errorf("%s: %w", m.temp, ErrNotOurs))
	case st != nil && st.Source != m.id:
		err = m.advise(ErrSourceChanged)
	}
	if err != nil {
		return nil, nil, errors.Join(err, t.close())
	}
	return t, st, nil
}

// begin makes an empty copy with a marker. It is made under a name of its own,
// so that whatever has the name of the copy is whole.
func (m *migration) begin(ctx context.Context) (err error) {
	f, err := os.CreateTemp(filepath.Dir(m.temp), filepath.Base(m.temp)+"-*")
	if err != nil {
		return err
	}
	name := f.Name()
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(name))
		}
	}()
	if err := f.Close(); err != nil {
		return err
	}
	t, err := m.open(ctx, name)
	if err != nil {
		return err
	}
	err = t.begin(nil)
	if err == nil {
		err = t.commit(&state{Version: stateVersion, Source: m.id})
	}
	if err = errors.Join(err, t.rollback(), t.close()); err != nil {
		return err
	}
	return newfile.Move(name, m.temp)
}

// open opens the copy at path in the engine of its format.
func (m *migration) open(ctx context.Context, path string) (target, error) {
	if m.result.To == Bolt {
		return m.openBolt(ctx, path)
	}
	db, err := openLightning(ctx, path, &m.opts, false)
	if err != nil {
		return nil, err
	}
	return &copyTarget[*lightning.Bucket]{
		beginTx: func() (transaction, *lightning.Bucket, error) {
			tx, err := db.Begin(true)
			if err != nil {
				return nil, nil, err
			}
			return tx, tx.Cursor().Bucket(), nil
		},
		closeDB: db.Close,
		setFill: func(b *lightning.Bucket) { b.FillPercent = 1 },
		page:    db.Info().PageSize,
	}, nil
}

// openBolt opens the copy in bbolt, which panics for some damage and dies of
// faults of its mapping unless they are made panics.
func (m *migration) openBolt(ctx context.Context, path string) (t target, err error) {
	faults := debug.SetPanicOnFault(true)
	defer func() {
		if r := recover(); r != nil {
			err = boltPanic(r)
		}
		if err != nil {
			debug.SetPanicOnFault(faults)
		}
	}()
	db, err := await.Open(ctx, m.opts.LockTimeout, bolterrors.ErrTimeout, func(step time.Duration) (*bbolt.DB, error) {
		return bbolt.Open(path, privateMode, &bbolt.Options{
			Timeout: step, PageSize: m.opts.PageSize, FreelistType: bbolt.FreelistMapType,
		})
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		err = fmt.Errorf("%s: %w (%w)", path, err, lightning.ErrTimeout)
	}
	if err != nil {
		return nil, err
	}
	return &copyTarget[*bbolt.Bucket]{
		beginTx: func() (transaction, *bbolt.Bucket, error) {
			tx, err := db.Begin(true)
			if err != nil {
				return nil, nil, err
			}
			return tx, tx.Cursor().Bucket(), nil
		},
		closeDB: func() error {
			debug.SetPanicOnFault(faults)
			return db.Close()
		},
		setFill: func(b *bbolt.Bucket) { b.FillPercent = fillPercent },
		page:    db.Info().PageSize,
	}, nil
}

func boltPanic(reason any) error { return fmt.Errorf("bbolt failed on the copy: %v", reason) }

// recovered makes a panic of the engine an error. It must be deferred itself.
func (t *copyTarget[B]) recovered(err *error) {
	if r := recover(); r != nil {
		t.panicked = true
		*err = boltPanic(r)
	}
}

func (t *copyTarget[B]) begin(path [][]byte) (err error) {
	defer t.recovered(&err)
	tx, b, err := t.beginTx()
	if err != nil {
		return err
	}
	t.tx, t.stack = tx, t.stack[:0]
	t.push(b)
	var none B
	for i, name := range path {
		if b = b.Bucket(name); b == none {
			return fmt.Errorf("the copy has no bucket %s: %w", showPath(path[:i], name), ErrNotOurs)
		}
		t.push(b)
	}
	return nil
}

func (t *copyTarget[B]) push(b B) {
	t.setFill(b)
	t.stack = append(t.stack, b)
}

func (t *copyTarget[B]) top() B { return t.stack[len(t.stack)-1] }

func (t *copyTarget[B]) enter(name []byte, sequence uint64) (err error) {
	defer t.recovered(&err)
	if name != nil {
		b, err := t.top().CreateBucket(name)
		if err != nil {
			return err
		}
		t.push(b)
	}
	if sequence == 0 {
		return nil
	}
	return t.top().SetSequence(sequence)
}

func (t *copyTarget[B]) put(key, value []byte) (err error) {
	defer t.recovered(&err)
	return t.top().Put(key, value)
}

func (t *copyTarget[B]) leave() { t.stack = t.stack[:len(t.stack)-1] }

func (t *copyTarget[B]) commit(st *state) (err error) {
	defer t.recovered(&err)
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	marker, err := t.stack[0].CreateBucketIfNotExists(markerName)
	if err != nil {
		return err
	}
	if err := marker.Put(stateKey, b); err != nil {
		return err
	}
	return t.end()
}

// end commits. A commit that fails has ended the transaction too.
func (t *copyTarget[B]) end() error {
	err := t.tx.Commit()
	t.tx = nil
	return err
}

func (t *copyTarget[B]) rollback() (err error) {
	if t.tx == nil {
		return nil
	}
	defer t.recovered(&err)
	err = t.tx.Rollback()
	t.tx, t.panicked = nil, false
	return err
}

func (t *copyTarget[B]) state() (st *state, err error) {
	defer func() { err = errors.Join(err, t.rollback()) }()
	defer t.recovered(&err)
	if err := t.begin(nil); err != nil {
		return nil, err
	}
	var none B
	marker := t.stack[0].Bucket(markerName)
	if marker == none {
		return nil, nil
	}
	st = &state{}
	if err := json.Unmarshal(marker.Get(stateKey), st); err != nil {
		return nil, fmt.Errorf("read the position of the unfinished copy: %w", err)
	}
	return st, nil
}

func (t *copyTarget[B]) finish() (err error) {
	defer func() { err = errors.Join(err, t.rollback()) }()
	defer t.recovered(&err)
	if err := t.begin(nil); err != nil {
		return err
	}
	if err := t.stack[0].DeleteBucket(markerName); err != nil {
		return err
	}
	return t.end()
}

func (t *copyTarget[B]) close() (err error) {
	if t.panicked { // Close would wait for the locks
		return nil
	}
	defer t.recovered(&err)
	return t.closeDB()
}

func (t *copyTarget[B]) pageSize() int { return t.page }
