package fsync

import (
	"context"
	"time"
)

const (
	minLockDelay = time.Millisecond
	maxLockDelay = 50 * time.Millisecond
)

// locker is what Lock needs of a File.
type locker interface {
	// tryLock takes the lock if it is free, and reports busy if not.
	tryLock(exclusive bool) (busy bool, err error)
	unlock() error
}

// Lock takes the advisory lock between processes on f, shared or exclusive.
// The lock belongs to the handle: a second handle on the same file waits,
// in the same process too. While another handle holds the lock, Lock tries
// again at short intervals until ctx is done (the error wraps ctx.Err) or
// until timeout is over (the error wraps ErrLockTimeout); a timeout of 0
// waits for ever. A File with nothing of the operating system beneath has
// no lock to take, and Lock returns nil.
func Lock(ctx context.Context, f File, exclusive bool, timeout time.Duration) error {
	l, err := lockerOf(f)
	if err != nil || l == nil {
		return err
	}
	start := time.Now()
	for delay := minLockDelay; ; delay = min(2*delay, maxLockDelay) {
		if err := ctx.Err(); err != nil {
			return opError(OpLock, f.Name(), noOffset, err)
		}
		busy, err := l.tryLock(exclusive)
		if err != nil || !busy {
			return err
		}
		if timeout != 0 {
			left := timeout - time.Since(start)
			if left <= 0 {
				return opError(OpLock, f.Name(), noOffset, ErrLockTimeout)
			}
			delay = min(delay, left)
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
}

// Unlock gives the lock back. Without a lock it does nothing.
func Unlock(f File) error {
	l, err := lockerOf(f)
	if err != nil || l == nil {
		return err
	}
	return l.unlock()
}

// lockerOf returns nil for a File that has nothing to lock.
func lockerOf(f File) (locker, error) {
	if l, ok := f.(locker); ok {
		return l, nil
	}
	if o := f.OSFile(); o != nil {
		return wrapOSFile(f.Name(), o)
	}
	return nil, nil
}

func (f *osFile) tryLock(exclusive bool) (busy bool, err error) {
	err = f.control(func(fd uintptr) (err error) {
		busy, err = flock(fd, exclusive)
		return err
	})
	if err == nil && !busy {
		f.locked.Store(true)
	}
	return busy, opError(OpLock, f.name, noOffset, err)
}

func (f *osFile) unlock() error {
	err := f.control(funlock)
	if err == nil {
		f.locked.Store(false)
	}
	return opError(OpUnlock, f.name, noOffset, err)
}
