package lightning

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"time"
)

// A writable transaction begun inside a function that Update runs would wait
// for its own goroutine, for ever. Goroutines have no names to remember a lock
// holder by, so whoever has waited for a while looks at its own call stack: a
// traceback shows the arguments of run, and with them the database and the
// transaction, exactly where they are still in use.

// nestedAfter is how long a writer waits before it looks for itself.
const nestedAfter = 100 * time.Millisecond

// maxTraceback bounds the memory for a traceback, which has 100 frames at most.
const maxTraceback = 1 << 20

// lockWriter takes the writer lock.
func (db *DB) lockWriter(ctx context.Context) error {
	select {
	case db.writer <- struct{}{}:
		return nil
	default:
	}
	look := time.NewTimer(nestedAfter)
	defer look.Stop()
	for {
		select {
		case db.writer <- struct{}{}:
			return nil
		case <-look.C:
			if db.writesHere() {
				return ErrNestedUpdate
			}
		case <-db.closed:
			return ErrDatabaseNotOpen
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// writesHere reports whether this goroutine is inside a function that Update
// runs in the writable transaction of now.
func (db *DB) writesHere() bool {
	tx := db.holder.Load()
	return tx != nil && onStack(fmt.Sprintf(".(*DB).run(%p, %p, ", db, tx))
}

// runsHere reports whether this goroutine is inside a function that View or
// Update runs.
func (db *DB) runsHere() bool { return onStack(fmt.Sprintf(".(*DB).run(%p, ", db)) }

// onStack reports whether a traceback of this goroutine shows the call.
func onStack(call string) bool {
	for n := 32 << 10; ; n *= 2 {
		b := make([]byte, n)
		if m := runtime.Stack(b, false); m < n || n >= maxTraceback {
			return bytes.Contains(b[:m], []byte(call))
		}
	}
}
