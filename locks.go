package lightning

import "sync"

// lockRank is a place in the lock order of DB: a goroutine takes locks in
// ascending rank only, so no cycle of waiting goroutines can form. Builds with
// the tag invariants check it.
type lockRank uint8

const (
	rankWriter lockRank = 1 + iota // the one writable transaction
	rankFlush                      // one flush at a time
	rankState                      // newest sealed state and pending group
)

// writerLock is held by the writable transaction, which may be begun and ended
// by different goroutines. A channel, so that waiting can be given up.
type writerLock chan struct{}

func (l writerLock) unlock() { <-l }

// tryLock takes the lock if nobody holds it. It does not wait, so it may be
// called under locks of higher rank.
func (l writerLock) tryLock() bool {
	select {
	case l <- struct{}{}:
		return true
	default:
		return false
	}
}

// flushLock is held by whoever flushes, syncs or closes. A channel, so that a
// committer waits for it and for its group at once.
type flushLock chan struct{}

func (l flushLock) lock() {
	enterRank(rankFlush)
	l <- struct{}{}
}

func (l flushLock) unlock() {
	<-l
	leaveRank(rankFlush)
}

// stateLock guards a few fields for a few instructions.
type stateLock struct{ mu sync.Mutex }

func (l *stateLock) Lock() {
	enterRank(rankState)
	l.mu.Lock()
}

func (l *stateLock) Unlock() {
	l.mu.Unlock()
	leaveRank(rankState)
}
