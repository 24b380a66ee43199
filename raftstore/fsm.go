package raftstore

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/lightning-db/lightning"
)

// fsmBucket is the FSM's own top-level bucket. It is empty; its sequence is the
// applied index.
var fsmBucket = []byte("raft.fsm")

// FSMOptions are the settings of an FSM. The zero value is good.
type FSMOptions struct {
	// DB is how the database is opened, each time that it is; nil =
	// lightning.DefaultOptions. It need not be durable with each command: what a
	// power cut takes is applied again from raft's log, so Periodic is both safe
	// and fast. All nodes need the same IntegrityKey. ReadOnly and OpenFile cannot
	// be used.
	DB *lightning.Options
	// OnFailure is told why this machine cannot apply commands any more, such as a
	// full disk; see FSM.Err. The program should shut raft down, but not wait for
	// that here: raft waits for this function. nil = nothing.
	OnFailure func(error)
}

// FSM is a raft.BatchingFSM whose state is a Lightning DB database. It opens and
// closes the database itself, because restoring a snapshot replaces it. Methods
// are safe for concurrent use; those of raft's interface are for raft alone.
type FSM struct {
	path    string
	options FSMOptions

	db      atomic.Pointer[lightning.DB] // the current database
	applied atomic.Uint64                // as in the database

	retired sync.WaitGroup // databases that were replaced and have readers

	mu      sync.Mutex
	failure error // why nothing is applied any more
	closing error // errors of retired databases

	stage func(string) // told of each step of a restore; tests set it
}

var _ raft.BatchingFSM = (*FSM)(nil)

// OpenFSM opens the database at path, creating it if need be. nil options stand
// for the zero value. What a restore that was interrupted has left beside the
// database, path with ".restore" behind it, is removed.
func OpenFSM(path string, o *FSMOptions) (*FSM, error) {
	f := &FSM{path: path, stage: func(string) {}}
	if o != nil {
		f.options = *o
	}
	if f.options.DB == nil {
		f.options.DB = lightning.DefaultOptions
	}
	if f.options.DB.ReadOnly || f.options.DB.OpenFile != nil {
		return nil, fmt.Errorf("open fsm %s: ReadOnly and OpenFile cannot be used", path)
	}
	db, err := lightning.Open(path, fileMode, f.options.DB)
	if err != nil {
		return nil, err
	}
	// Only now: the lock on the database says that nobody else is restoring.
	if err := os.Remove(f.restorePath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(err, db.Close())
	}
	if err := f.use(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return f, nil
}

// use makes db the current database.
func (f *FSM) use(db *lightning.DB) error {
	var applied uint64
	err := db.Update(func(tx *lightning.Tx) error {
		b, err := tx.CreateBucketIfNotExists(fsmBucket)
		if err == nil {
			applied = b.Sequence()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read the applied index: %w", err)
	}
	f.applied.Store(applied)
	f.db.Store(db)
	return nil
}

// Close closes the database, when its readers have ended. Shut raft down first.
func (f *FSM) Close() error {
	err := f.db.Load().Close()
	f.retired.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(err, f.closing)
}

// View runs fn in a read-only transaction on the current database, as
// lightning.DB.View does. It sees what this node has applied, which on a
// follower, and on a leader that was just deposed, may be behind: call
// raft.Raft.Barrier or VerifyLeader first where that matters. A restore does not
// wait for fn, which goes on in the state before it.
func (f *FSM) View(fn func(*lightning.Tx) error) error {
	for {
		db := f.db.Load()
		ran := false
		err := db.View(func(tx *lightning.Tx) error {
			ran = true
			return fn(tx)
		})
		// The database may be replaced and closed before the transaction begins.
		if ran || !errors.Is(err, lightning.ErrDatabaseNotOpen) || f.db.Load() == db {
			return err
		}
	}
}

// AppliedIndex returns the index in raft's log of the last command that the
// database holds, or 0 if there was none since a snapshot was restored.
func (f *FSM) AppliedIndex() uint64 { return f.applied.Load() }

// Err returns why this machine applies nothing any more, or nil: an error that
// says nothing about the command, such as a full disk, after which other nodes
// have applied it and this one has not. Commands are then answered with this
// error, and no snapshots are taken. What is missing is applied from raft's log
// when the program is started anew with the cause removed.
func (f *FSM) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failure
}

func (f *FSM) fail(err error) error {
	f.mu.Lock()
	first := f.failure == nil
	if first {
		f.failure = fmt.Errorf("raft commands cannot be applied: %w", err)
	}
	err = f.failure
	f.mu.Unlock()
	if first && f.options.OnFailure != nil {
		f.options.OnFailure(err)
	}
	return err
}

// Apply applies one command, see ApplyBatch.
func (f *FSM) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch applies committed commands in one transaction, and the index of the
// last with them, so that none is applied twice after a restart. A response is
// nil, also for a command that was applied before; a *CommandError for one that
// failed, which leaves no trace; or the error of Err.
func (f *FSM) ApplyBatch(logs []*raft.Log) []any {
	responses := make([]any, len(logs))
	if err := f.Err(); err != nil {
		return fill(responses, err)
	}
	for {
		i, err := f.tryApply(logs, responses)
		var bad *CommandError
		switch {
		case err == nil:
			return responses
		case errors.As(err, &bad):
			// Its changes went with the transaction, and so did those of the commands
			// around it: again, without it.
			responses[i] = bad
		default:
			return fill(responses, f.fail(err))
		}
	}
}

func fill(responses []any, err error) []any {
	for i := range responses {
		responses[i] = err
	}
	return responses
}

// tryApply applies the commands that have no response yet. When one fails
// nothing is changed, and i is its position.
func (f *FSM) tryApply(logs []*raft.Log, responses []any) (i int, err error) {
	applied := f.applied.Load()
	last := applied
	err = f.db.Load().Update(func(tx *lightning.Tx) error {
		for n, l := range logs {
			if l.Type != raft.LogCommand || l.Index <= applied {
				continue
			}
			last = l.Index
			if responses[n] != nil {
				continue
			}
			if err := execute(tx, l.Data); err != nil {
				i = n
				return err
			}
		}
		if last == applied {
			return nil
		}
		b, err := bucket(tx, fsmBucket)
		if err != nil {
			return err
		}
		return b.SetSequence(last)
	})
	if err == nil {
		f.applied.Store(last)
	}
	return i, err
}
