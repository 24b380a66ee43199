// Package await waits for the lock of a file until a context ends. Engines with
// bbolt's API wait for a time only.
package await

import (
	"context"
	"errors"
	"time"
)

// step is how long one attempt at a lock lasts; between two the end of the
// context is noticed.
const step = 50 * time.Millisecond

// Open calls open, which waits for a lock for as long as it is told, until it
// does not fail with busy, or ctx or timeout has ended; a timeout of 0 is for
// ever. It returns what open returned last, or the error of ctx.
func Open[T any](ctx context.Context, timeout time.Duration, busy error, open func(wait time.Duration) (T, error)) (opened T, err error) {
	deadline := time.Now().Add(timeout)
	for {
		if err := ctx.Err(); err != nil {
			return opened, err
		}
		wait := step
		if timeout > 0 {
			wait = max(min(wait, time.Until(deadline)), time.Millisecond)
		}
		opened, err = open(wait)
		if !errors.Is(err, busy) || timeout > 0 && !time.Now().Before(deadline) {
			return opened, err
		}
	}
}
