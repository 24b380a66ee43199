package lightning

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultMaxBatchSize  = 1000
	defaultMaxBatchDelay = 10 * time.Millisecond
)

// Batch runs fn in a writable transaction that it may share with the functions
// of other Batch calls, started when MaxBatchSize calls wait or MaxBatchDelay
// has passed. fn may be called more than once: when one function of a batch
// fails it is run again alone, for its own error, and the others again without
// it. Update already shares flushes between concurrent callers and does not
// wait; Batch is for code that relies on its delay or order.
func (db *DB) Batch(fn func(*Tx) error) error {
	if !db.isOpen() {
		return ErrDatabaseNotOpen
	}
	if db.MaxBatchSize <= 0 || db.MaxBatchDelay <= 0 {
		return db.Update(fn)
	}
	c := db.batch.add(db, fn)
	err := c.await(db)
	if errors.Is(err, errAlone) {
		return db.Update(fn)
	}
	return err
}

// errAlone tells a caller of Batch to run its function by itself.
var errAlone = errors.New("batch function failed, run it alone")

// batcher collects the calls of Batch.
type batcher struct {
	mu    sync.Mutex
	calls []*batchCall
	timer *time.Timer
}

type batchCall struct {
	fn    func(*Tx) error
	err   chan error
	state atomic.Uint32
}

const (
	callWaits     uint32 = iota
	callBegun            // a transaction has run fn
	callTakenBack        // none will
)

// begin reports whether a transaction may run the call.
func (c *batchCall) begin() bool {
	return c.state.CompareAndSwap(callWaits, callBegun) || c.state.Load() == callBegun
}

// await returns the outcome of the call. Inside an Update of this goroutine it
// would never come: the call is taken back, unless it has begun, which shows
// that another transaction was meant.
func (c *batchCall) await(db *DB) error {
	look := time.NewTimer(nestedAfter)
	defer look.Stop()
	select {
	case err := <-c.err:
		return err
	case <-look.C:
	}
	if db.writesHere() && c.state.CompareAndSwap(callWaits, callTakenBack) {
		return ErrNestedUpdate
	}
	return <-c.err
}

// add queues fn.
func (b *batcher) add(db *DB, fn func(*Tx) error) *batchCall {
	c := &batchCall{fn: fn, err: make(chan error, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, c)
	switch {
	case len(b.calls) >= db.MaxBatchSize:
		b.startLocked(db)
	case b.timer == nil:
		b.timer = time.AfterFunc(db.MaxBatchDelay, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.startLocked(db)
		})
	}
	return c
}

// startLocked runs what is queued.
func (b *batcher) startLocked(db *DB) {
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	if calls := b.calls; len(calls) > 0 {
		b.calls = nil
		go runBatch(db, calls)
	}
}

// runBatch commits the calls in one transaction, sending home whichever fails.
func runBatch(db *DB, calls []*batchCall) {
	for len(calls) > 0 {
		failed, err := tryBatch(db, calls)
		if failed < 0 {
			for _, c := range calls {
				c.err <- err
			}
			return
		}
		calls[failed].err <- errAlone
		calls = append(calls[:failed], calls[failed+1:]...)
	}
}

// tryBatch runs the calls in one transaction and returns the index of the one
// that failed, or -1 and the outcome of the transaction.
func tryBatch(db *DB, calls []*batchCall) (failed int, err error) {
	failed = -1
	finished := make(chan struct{})
	go func() {
		// A goroutine of its own, because a function may end it.
		defer close(finished)
		err = db.Update(func(tx *Tx) error {
			for i, c := range calls {
				if !c.begin() {
					continue
				}
				failed = i
				if err := callSafely(c.fn, tx); err != nil {
					return err
				}
			}
			failed = -1
			return nil
		})
	}()
	<-finished
	return failed, err
}

// callSafely turns a panic of fn into an error: run alone, in the goroutine of
// its caller, fn will panic again with the same value. That holds for
// runtime.Goexit, too.
func callSafely(fn func(*Tx) error, tx *Tx) (err error) {
	finished := false
	defer func() {
		if !finished && recover() != nil {
			err = errAlone
		}
	}()
	err = fn(tx)
	finished = true
	return err
}
