//go:build !windows

package boltfile

import (
	"context"
	"time"

	"github.com/lightning-db/lightning/fsync"
)

// lock takes bbolt's lock, which is the one of package fsync. It ends when the
// file is closed.
func lock(ctx context.Context, file fsync.File, timeout time.Duration) error {
	return fsync.Lock(ctx, file, false, timeout)
}
