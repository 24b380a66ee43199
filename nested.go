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

// onStack reports whether a traceback of this goroutine shows the call, and no
// panic or Goexit that is on its way out of it: the functions deferred behind
// the call still see it on the stack.
func onStack(call string) bool {
	for n := 32 << 10; ; n *= 2 {
		b := make([]byte, n)
		if m := runtime.Stack(b, false); m < n || n >= maxTraceback {
			above, _, found := bytes.Cut(b[:m], []byte(call))
			return found && !bytes.Contains(above, []byte("\npanic(")) && !bytes.Contains(above, []byte("\nruntime.Goexit("))
		}
	}
}
