package lightning

import (
	"fmt"
	"os"
	"time"
)

// Limits of keys and values, in bytes, on every page size.
const (
	MaxKeySize   = 32768
	MaxValueSize = (1 << 31) - 2
)

// MaxBucketDepth is how many levels of buckets there may be below the root.
// CreateBucket and MoveBucket fail with ErrBucketDepth beyond it, and so does
// whatever opens a bucket that is deeper: it can come to be when MoveBucket takes
// along what is nested in the bucket moved, or in a file made by an enemy.
const MaxBucketDepth = 10_000

// DefaultFillPercent is the initial Bucket.FillPercent. With it the engine
// itself chooses where to split: in the middle, or at the end of a page when
// keys arrive in order.
const DefaultFillPercent = 0.5

// DefaultPageSize is the page size of new files in bytes; docs/adr/0002 has the
// measurements behind it.
const DefaultPageSize = 4096

// DefaultLargeTxPages makes Open validate 64 MiB of 4 KiB pages at the most.
const DefaultLargeTxPages = 16 << 10

// FreelistType exists for source compatibility with bbolt; it has no effect.
type FreelistType string

// bbolt's freelist types. Free pages are kept in one way here, see DESIGN.
const (
	FreelistArrayType = FreelistType("array")
	FreelistMapType   = FreelistType("hashmap")
)

// Durability says when a commit is on the medium. The zero value is Sync. In
// every mode a crash leaves a consistent database.
type Durability struct {
	every time.Duration // 0 = each commit, < 0 = only DB.Sync
}

// Sync makes a commit durable before it returns: one fdatasync, shared by all
// transactions that commit at the same time.
var Sync = Durability{}

// NoSync leaves durability to DB.Sync. After a kill of the process nothing is
// lost; after a power cut the state of the last DB.Sync or a later one stands.
var NoSync = Durability{every: -1}

// Periodic makes commits durable at most d after they return. After a kill of
// the process nothing is lost; after a power cut at most the last d.
func Periodic(d time.Duration) Durability {
	if d <= 0 {
		return Sync
	}
	return Durability{every: d}
}

// String names the mode.
func (d Durability) String() string {
	switch {
	case d.every == 0:
		return "Sync"
	case d.every < 0:
		return "NoSync"
	}
	return fmt.Sprintf("Periodic(%v)", d.every)
}

// Verify says when pages are checked against their digests.
type Verify uint8

const (
	// VerifyFirst checks each page when this process first touches it, and
	// again after it was rewritten. The default.
	VerifyFirst Verify = iota
	// VerifyAlways checks a page at every access. Slow; for diagnosis.
	VerifyAlways
	// VerifyNever checks the structure of pages but not their digests.
	VerifyNever
)

// Options are the settings of Open. The zero value is good. Those marked
// "no effect" exist so that code written for bbolt compiles.
type Options struct {
	// Timeout is how long Open waits for the file lock; 0 waits for ever.
	Timeout time.Duration
	// NoGrowSync skips the fsync after the file grew.
	NoGrowSync bool
	// NoFreelistSync has no effect: storing free space costs a commit nothing.
	NoFreelistSync bool
	// PreLoadFreelist has no effect: free space is loaded when needed.
	PreLoadFreelist bool
	// FreelistType has no effect.
	FreelistType FreelistType
	// ReadOnly opens without writing a byte, beside other readers.
	ReadOnly bool
	// MmapFlags: MAP_POPULATE reads the file ahead into memory (Linux). Other
	// flags have no effect.
	MmapFlags int
	// InitialMmapSize has no effect: the mapping always reaches far past the
	// end of the file.
	InitialMmapSize int
	// PageSize is the page size in bytes of a new file: a power of two from
	// 4,096 to 65,536; 0 = DefaultPageSize. An existing file keeps its own.
	PageSize int
	// MaxSize limits the size of the file in bytes; 0 = no limit. A
	// transaction that needs more fails with ErrMaxSizeReached.
	MaxSize int
	// NoSync is DB.NoSync from the start, see Durability.
	NoSync bool
	// OpenFile replaces os.OpenFile.
	OpenFile func(string, int, os.FileMode) (*os.File, error)
	// Mlock keeps the file's pages in memory (Unix).
	Mlock bool
	// Logger receives what the engine has to say; nil = nothing. It is called
	// under locks of the engine and must not use the database.
	Logger Logger
	// NoStatistics turns the counters of DB.Stats off.
	NoStatistics bool

	// AllowRemoved lets commits go on after the file was deleted or replaced,
	// as in bbolt: for a scratch database whose name is removed while it is open.
	// Without it they fail with ErrFileRemoved.
	AllowRemoved bool
	// Durability says when commits reach the medium; default Sync.
	Durability Durability
	// LargeTxPages is the number of dirty pages beyond which a durable commit
	// syncs its pages before its meta, at the cost of a second sync, so that the
	// next Open has nothing to validate; 0 = DefaultLargeTxPages.
	LargeTxPages int
	// IntegrityKey, any bytes, keys all digests of a new file, which then shows
	// every change made without the key. Opening needs the same key.
	IntegrityKey []byte
	// Verify says when pages are checked; default VerifyFirst.
	Verify Verify
	// ReadAhead says what is read along with a page that is not in memory;
	// default ReadAheadAuto.
	ReadAhead ReadAhead
	// OnRecovery is told of the progress of Open, in the goroutine of Open.
	OnRecovery func(RecoveryProgress)
}

// DefaultOptions are used by Open when its options are nil.
var DefaultOptions = &Options{
	FreelistType: FreelistArrayType,
}

// String shows the options for logs; the integrity key is never shown.
func (o *Options) String() string {
	if o == nil {
		return "{}"
	}
	key := "no"
	if len(o.IntegrityKey) > 0 {
		key = "yes"
	}
	return fmt.Sprintf("{Timeout: %s, ReadOnly: %t, PageSize: %d, MaxSize: %d, Durability: %v, NoSync: %t, NoGrowSync: %t, Mlock: %t, MmapFlags: %d, InitialMmapSize: %d, NoStatistics: %t, IntegrityKey: %s, AllowRemoved: %t, Verify: %d, ReadAhead: %d, Logger: %p}",
		o.Timeout, o.ReadOnly, o.PageSize, o.MaxSize, o.Durability, o.NoSync, o.NoGrowSync, o.Mlock, o.MmapFlags, o.InitialMmapSize, o.NoStatistics, key, o.AllowRemoved, o.Verify, o.ReadAhead, o.Logger)
}
