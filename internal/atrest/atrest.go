// Package atrest opens database files that are worked on as files, not as databases.
package atrest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/fsync"
)

// Open opens a file and locks it: beside others that read it with os.O_RDONLY, against
// everybody with os.O_RDWR. It fails with lightning.ErrTimeout if the lock cannot be had in
// time; 0 waits until ctx ends.
func Open(ctx context.Context, path string, flag int, timeout time.Duration) (fsync.File, error) {
	f, err := fsync.Open(path, flag, 0, nil)
	if err != nil {
		return nil, err
	}
	err = fsync.Lock(ctx, f, flag == os.O_RDWR, timeout)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, fsync.ErrLockTimeout) {
		err = fmt.Errorf("%s: %w: %w", path, lightning.ErrTimeout, err)
	}
	return nil, errors.Join(err, f.Close())
}
