package raftstore

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/raft"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/fsync"
)

// ErrBadSnapshot is returned by Restore for a stream that is not a whole
// Lightning DB database. The database is as it was.
var ErrBadSnapshot = errors.New("damaged or foreign snapshot")

// Snapshot begins a read transaction, which the snapshot writes out while
// commands go on being applied. It fails with the error of Err: raft believes
// that what was not applied is in the snapshot, and would delete it from the log.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.Err(); err != nil {
		return nil, err
	}
	tx, err := f.db.Load().Begin(false)
	if err != nil {
		return nil, fmt.Errorf("begin snapshot: %w", err)
	}
	return &snapshot{tx: tx, logger: f.db.Load().Logger()}, nil
}

// snapshot is a state of the database.
type snapshot struct {
	tx     *lightning.Tx
	logger lightning.Logger
}

// Persist writes the whole database to sink, every page verified first.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.tx.WriteTo(sink); err != nil {
		return errors.Join(fmt.Errorf("write snapshot: %w", err), sink.Cancel())
	}
	return sink.Close()
}

// Release ends the transaction.
func (s *snapshot) Release() {
	if err := s.tx.Rollback(); err != nil && !errors.Is(err, lightning.ErrTxClosed) {
		s.logger.Warningf("release raft snapshot: %v", err)
	}
}

// RestoreNewest restores the newest snapshot if the database is behind it. It
// makes raft.Config.NoSnapshotRestoreOnStart safe, with which a node starts from
// its database as it is instead of reading a whole snapshot: call it before
// raft.NewRaft. The database is behind when the process ended after raft had
// received a snapshot and before it was restored, or when the database is less
// durable than raft's log.
func (f *FSM) RestoreNewest(snapshots raft.SnapshotStore) error {
	list, err := snapshots.List()
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	if len(list) == 0 || list[0].Index <= f.AppliedIndex() {
		return nil
	}
	meta, source, err := snapshots.Open(list[0].ID)
	if err != nil {
		return fmt.Errorf("open snapshot %s: %w", list[0].ID, err)
	}
	return errors.Join(f.restore(source, meta.Index), source.Close())
}

// Restore replaces the database with the one in source: written to a file beside
// it, checked in full, made durable, and then renamed. A crash leaves the old
// database or the new one. View goes on in the old one where it is running and
// sees the new one from then on. On an error before the renaming the old
// database stays; on one after it, commands fail until the program is started
// anew. source is not closed.
//
// The database need not come from this cluster, nor from an FSM: raft.Raft.Restore
// can bring in any.
func (f *FSM) Restore(source io.ReadCloser) error {
	// The stream's own applied index may be of another cluster with other
	// numbers. raft goes on behind the snapshot, so nothing in it comes again.
	return f.restore(source, 0)
}

func (f *FSM) restorePath() string { return f.path + ".restore" }

func (f *FSM) restore(source io.Reader, applied uint64) error {
	part := f.restorePath()
	if err := f.prepare(part, source, applied); err != nil {
		err = fmt.Errorf("restore %s: %w", f.path, err)
		if rm := os.Remove(part); rm != nil && !errors.Is(rm, os.ErrNotExist) {
			err = errors.Join(err, rm)
		}
		return err
	}
	f.stage("prepared")
	if err := os.Rename(part, f.path); err != nil {
		return errors.Join(fmt.Errorf("restore: %w", err), os.Remove(part))
	}
	f.stage("renamed")
	if err := f.swap(); err != nil {
		return f.fail(fmt.Errorf("restore %s: %w", f.path, err))
	}
	return nil
}

// prepare makes a durable and checked database at part.
func (f *FSM) prepare(part string, source io.Reader, applied uint64) error {
	size, err := f.receive(part, source)
	if err != nil {
		return err
	}
	f.stage("received")
	o := *f.options.DB
	o.NoSync, o.Durability = false, lightning.Sync // the renaming must find all of it
	db, err := lightning.Open(part, fileMode, &o)
	if errors.Is(err, lightning.ErrInvalid) || errors.Is(err, lightning.ErrChecksum) {
		return fmt.Errorf("%w: %w", ErrBadSnapshot, err)
	}
	if err != nil {
		return err
	}
	err = check(db, size)
	if err == nil {
		f.stage("checked")
		err = db.Update(func(tx *lightning.Tx) error { return setApplied(tx, applied) })
	}
	return errors.Join(err, db.Close())
}

// receive writes the stream to a new file at part and makes it durable.
func (f *FSM) receive(part string, source io.Reader) (size int64, err error) {
	file, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return 0, err
	}
	size, err = io.Copy(file, source)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return 0, fmt.Errorf("receive snapshot: %w", err)
	}
	if size == 0 { // opening it would create a database
		return 0, fmt.Errorf("%w: empty", ErrBadSnapshot)
	}
	return size, nil
}

// check looks at every page of db, which was received in size bytes.
func check(db *lightning.DB, size int64) error {
	return db.View(func(tx *lightning.Tx) error {
		if tx.Size() != size {
			return fmt.Errorf("%w: %d bytes, want %d", ErrBadSnapshot, size, tx.Size())
		}
		var first error
		for err := range tx.Check() {
			if first == nil {
				first = fmt.Errorf("%w: %w", ErrBadSnapshot, err)
			}
		}
		return first
	})
}

func setApplied(tx *lightning.Tx, index uint64) error {
	b, err := tx.CreateBucketIfNotExists(fsmBucket)
	if err != nil {
		return err
	}
	return b.SetSequence(index)
}

// swap opens the database that was renamed and lets go of the one before it.
func (f *FSM) swap() error {
	if err := fsync.SyncDir(f.path); err != nil {
		return err
	}
	db, err := lightning.Open(f.path, fileMode, f.options.DB)
	if err != nil {
		return err
	}
	old := f.db.Load()
	if err := f.use(db); err != nil {
		return errors.Join(err, db.Close())
	}
	f.mu.Lock()
	f.failure = nil // it was that of the old database
	f.mu.Unlock()
	// Readers and a snapshot that is being written may hold the old one for long.
	f.retired.Go(func() { f.retire(old) })
	return nil
}

// retire closes a database that was replaced, when its last reader has ended.
func (f *FSM) retire(db *lightning.DB) {
	err := db.Close()
	if err == nil || errors.Is(err, lightning.ErrFileRemoved) { // as intended
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closing = errors.Join(f.closing, fmt.Errorf("close the database before a restore: %w", err))
}
