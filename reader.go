package lightning

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/lightning-db/lightning/page"
)

// snapshot is a committed state that readers can see. It never changes.
type snapshot struct {
	meta   page.Meta
	opened [8]atomic.Pointer[openedBucket] // top-level buckets that readers have looked up
}

// openedBucket is where a reader found a top-level bucket. Others of the same
// snapshot need not look for it again.
type openedBucket struct {
	name   string
	head   page.Bucket
	inline page.Node
}

// find returns what is known of the bucket, or nil.
func (s *snapshot) find(name []byte) *openedBucket {
	for i := range s.opened {
		b := s.opened[i].Load()
		if b == nil || b.name == string(name) {
			return b
		}
	}
	return nil
}

// remembersMore reports whether there is room for another bucket.
func (s *snapshot) remembersMore() bool { return s.opened[len(s.opened)-1].Load() == nil }

// note remembers where a bucket is, if there is room.
func (s *snapshot) note(b *openedBucket) {
	for i := range s.opened {
		if s.opened[i].CompareAndSwap(nil, b) {
			return
		}
	}
}

// readerTable says which snapshots are being read. A reader enters with one
// compare-and-swap on a slot of its own cache line; the flush scans the slots
// after it published, so that each reader is either seen by the scan or finds,
// looking again after entering, that a newer snapshot was published.
type readerTable struct {
	blocks atomic.Pointer[[]*readerBlock] // grows, never shrinks
}

const readersPerBlock = 64

type readerBlock [readersPerBlock]readerSlot

// readerSlot is one place of the table, alone in its cache line.
type readerSlot struct {
	snap    atomic.Uint64 // snapshot's txid + 1; 0 = free
	started atomic.Int64  // readers that ever began here
	cursors atomic.Int64  // cursors that they made
	_       [40]byte
}

// enter registers a reader of the snapshot.
func (t *readerTable) enter(id page.TxID) *readerSlot {
	for {
		blocks := t.blocks.Load()
		if blocks != nil {
			if s := claim(*blocks, uint64(id)+1); s != nil {
				return s
			}
		}
		t.grow(blocks)
	}
}

func claim(blocks []*readerBlock, v uint64) *readerSlot {
	start := rand.Uint32()
	for _, b := range blocks {
		for i := range uint32(readersPerBlock) {
			s := &b[(start+i)%readersPerBlock]
			if s.snap.Load() == 0 && s.snap.CompareAndSwap(0, v) {
				s.started.Add(1)
				return s
			}
		}
	}
	return nil
}

// grow adds a block, unless another reader has done so.
func (t *readerTable) grow(seen *[]*readerBlock) {
	var blocks []*readerBlock
	if seen != nil {
		blocks = slices.Clone(*seen)
	}
	blocks = append(blocks, new(readerBlock))
	t.blocks.CompareAndSwap(seen, &blocks)
}

// move makes the slot stand for another snapshot.
func (s *readerSlot) move(id page.TxID) { s.snap.Store(uint64(id) + 1) }

// leave frees the slot.
func (s *readerSlot) leave() { s.snap.Store(0) }

func (t *readerTable) each(fn func(s *readerSlot)) {
	blocks := t.blocks.Load()
	if blocks == nil {
		return
	}
	for _, b := range *blocks {
		for i := range b {
			fn(&b[i])
		}
	}
}

// snapshots returns the snapshots being read, ascending, each once.
func (t *readerTable) snapshots() []page.TxID {
	var ids []page.TxID
	t.each(func(s *readerSlot) {
		if v := s.snap.Load(); v != 0 {
			ids = append(ids, page.TxID(v-1))
		}
	})
	slices.Sort(ids)
	return slices.Compact(ids)
}

// counts returns the number of open readers, of all that ever began, and of the
// cursors of those that ended.
func (t *readerTable) counts() (open, started, cursors int) {
	t.each(func(s *readerSlot) {
		if s.snap.Load() != 0 {
			open++
		}
		started += int(s.started.Load())
		cursors += int(s.cursors.Load())
	})
	return open, started, cursors
}
