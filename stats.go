package lightning

import (
	"sync/atomic"
	"time"
)

// Stats is a snapshot of a database's counters and gauges, as DB.Stats returns it. The counters grow from
// the moment the database is opened; the gauges describe the moment at which they were read.
type Stats struct {
	// TxStats is the sum over all closed transactions. It comes first so that its 64-bit words are aligned
	// on 32-bit machines, where sync/atomic needs that.
	TxStats TxStats

	FreePageN     int // gauge: pages that a commit may reuse now; with Options.ReadOnly all that are free
	PendingPageN  int // gauge: freed pages that wait for a reader or for a durable commit
	FreeAlloc     int // gauge: bytes in free pages
	FreelistInuse int // gauge: bytes that the record of free space takes in the file; 0 with Options.ReadOnly

	TxN     int // counter: read transactions started
	OpenTxN int // gauge: read transactions open now
}

// Sub returns what happened between other, the earlier snapshot, and s. Counters are subtracted. The gauges
// about free space are those of s, and OpenTxN is zero. A nil other returns s as it is.
func (s *Stats) Sub(other *Stats) Stats {
	if other == nil {
		return *s
	}
	return Stats{
		TxStats:       s.TxStats.Sub(&other.TxStats),
		FreePageN:     s.FreePageN,
		PendingPageN:  s.PendingPageN,
		FreeAlloc:     s.FreeAlloc,
		FreelistInuse: s.FreelistInuse,
		TxN:           s.TxN - other.TxN,
	}
}

// TxStats counts the work that a transaction has done. Every field only grows. Use the Get and Inc methods
// on a value that other goroutines update; the fields may be read directly in a copy.
type TxStats struct {
	PageCount int64 // extents allocated
	PageAlloc int64 // bytes allocated in pages

	CursorCount int64 // cursors created

	NodeCount int64 // pages made writable
	NodeDeref int64 // writable pages copied out of the mapping

	Rebalance     int64         // pages merged with, or evened out against, a neighbour
	RebalanceTime time.Duration // time spent on that

	Split     int64         // pages split
	Spill     int64         // pages sealed for writing
	SpillTime time.Duration // time spent on sealing

	Write     int64         // write calls to the file
	WriteTime time.Duration // time spent writing and syncing
}

// Sub returns s minus other, field by field. Both may be updated concurrently; each field is read once,
// atomically, but not all at the same instant.
func (s *TxStats) Sub(other *TxStats) TxStats {
	return TxStats{
		PageCount:     s.GetPageCount() - other.GetPageCount(),
		PageAlloc:     s.GetPageAlloc() - other.GetPageAlloc(),
		CursorCount:   s.GetCursorCount() - other.GetCursorCount(),
		NodeCount:     s.GetNodeCount() - other.GetNodeCount(),
		NodeDeref:     s.GetNodeDeref() - other.GetNodeDeref(),
		Rebalance:     s.GetRebalance() - other.GetRebalance(),
		RebalanceTime: s.GetRebalanceTime() - other.GetRebalanceTime(),
		Split:         s.GetSplit() - other.GetSplit(),
		Spill:         s.GetSpill() - other.GetSpill(),
		SpillTime:     s.GetSpillTime() - other.GetSpillTime(),
		Write:         s.GetWrite() - other.GetWrite(),
		WriteTime:     s.GetWriteTime() - other.GetWriteTime(),
	}
}

// snapshot returns a copy of s in which each field was read once, atomically.
func (s *TxStats) snapshot() TxStats {
	return s.Sub(&TxStats{})
}

// add adds each field of other to s atomically. Nobody may be updating other.
func (s *TxStats) add(other *TxStats) {
	s.IncPageCount(other.PageCount)
	s.IncPageAlloc(other.PageAlloc)
	s.IncCursorCount(other.CursorCount)
	s.IncNodeCount(other.NodeCount)
	s.IncNodeDeref(other.NodeDeref)
	s.IncRebalance(other.Rebalance)
	s.IncRebalanceTime(other.RebalanceTime)
	s.IncSplit(other.Split)
	s.IncSpill(other.Spill)
	s.IncSpillTime(other.SpillTime)
	s.IncWrite(other.Write)
	s.IncWriteTime(other.WriteTime)
}

func loadDuration(d *time.Duration) time.Duration {
	return time.Duration(atomic.LoadInt64((*int64)(d)))
}

func addDuration(d *time.Duration, delta time.Duration) time.Duration {
	return time.Duration(atomic.AddInt64((*int64)(d), int64(delta)))
}

// GetPageCount returns PageCount, read atomically.
func (s *TxStats) GetPageCount() int64 { return atomic.LoadInt64(&s.PageCount) }

// IncPageCount adds delta to PageCount atomically and returns the sum.
func (s *TxStats) IncPageCount(delta int64) int64 { return atomic.AddInt64(&s.PageCount, delta) }

// GetPageAlloc returns PageAlloc, in bytes, read atomically.
func (s *TxStats) GetPageAlloc() int64 { return atomic.LoadInt64(&s.PageAlloc) }

// IncPageAlloc adds delta bytes to PageAlloc atomically and returns the sum.
func (s *TxStats) IncPageAlloc(delta int64) int64 { return atomic.AddInt64(&s.PageAlloc, delta) }

// GetCursorCount returns CursorCount, read atomically.
func (s *TxStats) GetCursorCount() int64 { return atomic.LoadInt64(&s.CursorCount) }

// IncCursorCount adds delta to CursorCount atomically and returns the sum.
func (s *TxStats) IncCursorCount(delta int64) int64 { return atomic.AddInt64(&s.CursorCount, delta) }

// GetNodeCount returns NodeCount, read atomically.
func (s *TxStats) GetNodeCount() int64 { return atomic.LoadInt64(&s.NodeCount) }

// IncNodeCount adds delta to NodeCount atomically and returns the sum.
func (s *TxStats) IncNodeCount(delta int64) int64 { return atomic.AddInt64(&s.NodeCount, delta) }

// GetNodeDeref returns NodeDeref, read atomically.
func (s *TxStats) GetNodeDeref() int64 { return atomic.LoadInt64(&s.NodeDeref) }

// IncNodeDeref adds delta to NodeDeref atomically and returns the sum.
func (s *TxStats) IncNodeDeref(delta int64) int64 { return atomic.AddInt64(&s.NodeDeref, delta) }

// GetRebalance returns Rebalance, read atomically.
func (s *TxStats) GetRebalance() int64 { return atomic.LoadInt64(&s.Rebalance) }

// IncRebalance adds delta to Rebalance atomically and returns the sum.
func (s *TxStats) IncRebalance(delta int64) int64 { return atomic.AddInt64(&s.Rebalance, delta) }

// GetRebalanceTime returns RebalanceTime, read atomically.
func (s *TxStats) GetRebalanceTime() time.Duration { return loadDuration(&s.RebalanceTime) }

// IncRebalanceTime adds delta to RebalanceTime atomically and returns the sum.
func (s *TxStats) IncRebalanceTime(delta time.Duration) time.Duration {
	return addDuration(&s.RebalanceTime, delta)
}

// GetSplit returns Split, read atomically.
func (s *TxStats) GetSplit() int64 { return atomic.LoadInt64(&s.Split) }

// IncSplit adds delta to Split atomically and returns the sum.
func (s *TxStats) IncSplit(delta int64) int64 { return atomic.AddInt64(&s.Split, delta) }

// GetSpill returns Spill, read atomically.
func (s *TxStats) GetSpill() int64 { return atomic.LoadInt64(&s.Spill) }

// IncSpill adds delta to Spill atomically and returns the sum.
func (s *TxStats) IncSpill(delta int64) int64 { return atomic.AddInt64(&s.Spill, delta) }

// GetSpillTime returns SpillTime, read atomically.
func (s *TxStats) GetSpillTime() time.Duration { return loadDuration(&s.SpillTime) }

// IncSpillTime adds delta to SpillTime atomically and returns the sum.
func (s *TxStats) IncSpillTime(delta time.Duration) time.Duration {
	return addDuration(&s.SpillTime, delta)
}

// GetWrite returns Write, read atomically.
func (s *TxStats) GetWrite() int64 { return atomic.LoadInt64(&s.Write) }

// IncWrite adds delta to Write atomically and returns the sum.
func (s *TxStats) IncWrite(delta int64) int64 { return atomic.AddInt64(&s.Write, delta) }

// GetWriteTime returns WriteTime, read atomically.
func (s *TxStats) GetWriteTime() time.Duration { return loadDuration(&s.WriteTime) }

// IncWriteTime adds delta to WriteTime atomically and returns the sum.
func (s *TxStats) IncWriteTime(delta time.Duration) time.Duration {
	return addDuration(&s.WriteTime, delta)
}

// BucketStats describes the pages of a bucket and of the buckets inside it.
type BucketStats struct {
	BranchPageN     int // branch pages
	BranchOverflowN int // further physical pages that branch pages extend over
	LeafPageN       int // leaf pages
	LeafOverflowN   int // further physical pages that leaf pages and their big values extend over

	KeyN  int // keys, names of nested buckets included
	Depth int // levels of the deepest tree

	BranchAlloc int // bytes in branch pages
	BranchInuse int // bytes of them that hold data
	LeafAlloc   int // bytes in leaf pages
	LeafInuse   int // bytes of them that hold data

	BucketN           int // buckets, this one included
	InlineBucketN     int // buckets stored inside their parent's leaf
	InlineBucketInuse int // bytes that inline buckets take, also counted in LeafInuse
}

// Add adds other to s. Depth becomes the greater of the two.
func (s *BucketStats) Add(other BucketStats) {
	s.BranchPageN += other.BranchPageN
	s.BranchOverflowN += other.BranchOverflowN
	s.LeafPageN += other.LeafPageN
	s.LeafOverflowN += other.LeafOverflowN
	s.KeyN += other.KeyN
	s.Depth = max(s.Depth, other.Depth)
	s.BranchAlloc += other.BranchAlloc
	s.BranchInuse += other.BranchInuse
	s.LeafAlloc += other.LeafAlloc
	s.LeafInuse += other.LeafInuse
	s.BucketN += other.BucketN
	s.InlineBucketN += other.InlineBucketN
	s.InlineBucketInuse += other.InlineBucketInuse
}

// BucketStructure is the outline of a bucket and of the buckets nested in it.
type BucketStructure struct {
	Name     string            `json:"name"`              // name of the bucket
	KeyN     int               `json:"keyN"`              // plain keys directly in the bucket
	Children []BucketStructure `json:"buckets,omitempty"` // nested buckets, in key order
}

// Info describes how a database is mapped.
type Info struct {
	Data     uintptr // address of the first byte of the mapping
	PageSize int     // bytes in a page
}

// PageInfo describes one page of the file, as Tx.Page returns it.
type PageInfo struct {
	ID            int    // page number
	Type          string // what the page holds
	Count         int    // items in the page
	OverflowCount int    // pages that follow it in the same extent
}
