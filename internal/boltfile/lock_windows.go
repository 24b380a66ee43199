package boltfile

import (
	"context"
	"math"
	"time"

	"github.com/lightning-db/lightning/fsync"
	"golang.org/x/sys/windows"
)

// lockInterval is how long to wait between two attempts at the lock.
const lockInterval = 10 * time.Millisecond

// lock takes bbolt's lock, which is on the last byte that a file could have and
// ends when the file is closed.
func lock(ctx context.Context, file fsync.File, timeout time.Duration) error {
	const last = math.MaxUint32
	for start := time.Now(); ; {
		err := windows.LockFileEx(windows.Handle(file.OSFile().Fd()), windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0,
			&windows.Overlapped{Offset: last, OffsetHigh: last})
		if err != windows.ERROR_LOCK_VIOLATION && err != windows.ERROR_IO_PENDING {
			return err
		}
		if timeout != 0 && time.Since(start) >= timeout {
			return fsync.ErrLockTimeout
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockInterval):
		}
	}
}
