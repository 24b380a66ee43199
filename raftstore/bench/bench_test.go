package bench

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"
	raftbench "github.com/hashicorp/raft/bench"

	"github.com/lightning-db/lightning/raftstore"
)

// store is what raft needs of a disk.
type store interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

// stores are the candidates, each syncing every change before it returns.
var stores = []struct {
	name string
	gaps bool // takes entries that do not follow each other
	open func(dir string) (store, error)
}{
	{"raftstore", false, func(dir string) (store, error) {
		return raftstore.Open(filepath.Join(dir, "raft.ldb"), nil)
	}},
	{"raftstore-gaps", true, func(dir string) (store, error) {
		return raftstore.Open(filepath.Join(dir, "raft.ldb"), &raftstore.Options{AllowGaps: true})
	}},
	{"raft-boltdb", true, func(dir string) (store, error) {
		return raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "raft.db")})
	}},
	{"raft-wal", false, func(dir string) (store, error) { return wal.Open(dir) }},
}

// needs says which stores a benchmark is for.
type needs int

const (
	strict needs = iota // entries follow each other: all, in their usual mode
	gaps                // only stores that take gaps
)

func each(b *testing.B, n needs, fn func(*testing.B, store)) {
	for _, c := range stores {
		if n == gaps && !c.gaps || n == strict && c.name == "raftstore-gaps" {
			continue
		}
		b.Run("store="+c.name, func(b *testing.B) {
			s, err := c.open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			fn(b, s)
			b.StopTimer()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func logs(fn func(*testing.B, raft.LogStore)) func(*testing.B, store) {
	return func(b *testing.B, s store) { fn(b, s) }
}

func values(fn func(*testing.B, raft.StableStore)) func(*testing.B, store) {
	return func(b *testing.B, s store) { fn(b, s) }
}

func BenchmarkFirstIndex(b *testing.B) { each(b, strict, logs(raftbench.FirstIndex)) }
func BenchmarkLastIndex(b *testing.B)  { each(b, strict, logs(raftbench.LastIndex)) }
func BenchmarkGetLog(b *testing.B)     { each(b, strict, logs(raftbench.GetLog)) }
func BenchmarkStoreLogs(b *testing.B)  { each(b, strict, logs(raftbench.StoreLogs)) }
func BenchmarkSet(b *testing.B)        { each(b, strict, values(raftbench.Set)) }
func BenchmarkGet(b *testing.B)        { each(b, strict, values(raftbench.Get)) }
func BenchmarkSetUint64(b *testing.B)  { each(b, strict, values(raftbench.SetUint64)) }
func BenchmarkGetUint64(b *testing.B)  { each(b, strict, values(raftbench.GetUint64)) }

// fromOne stores entries under the index behind theirs: raftbench.StoreLog begins
// with entry 0, which raft itself never has and raft-wal refuses.
type fromOne struct{ raft.LogStore }

func (s fromOne) StoreLog(l *raft.Log) error {
	l.Index++
	return s.LogStore.StoreLog(l)
}

func BenchmarkStoreLog(b *testing.B) {
	each(b, strict, func(b *testing.B, s store) { raftbench.StoreLog(b, fromOne{s}) })
}

// BenchmarkDeleteRange deletes between gaps, which raft-wal, and raftstore as it
// is by default, refuse to have.
func BenchmarkDeleteRange(b *testing.B) { each(b, gaps, logs(raftbench.DeleteRange)) }

const truncateStep = 1000

// BenchmarkTruncateFront deletes the oldest 1,000 entries of a log that is kept
// at one length. A store whose cost is that of what it deletes takes as long for
// the long log as for the short one.
func BenchmarkTruncateFront(b *testing.B) {
	for _, length := range []uint64{10_000, 1_000_000} {
		b.Run(fmt.Sprint("length=", length), func(b *testing.B) {
			each(b, strict, func(b *testing.B, s store) { truncateFront(b, s, length) })
		})
	}
}

func truncateFront(b *testing.B, s store, length uint64) {
	data := make([]byte, 100)
	last := uint64(0)
	grow := func(n uint64) {
		const batch = 10_000
		for to := last + n; last < to; {
			var l []*raft.Log
			for ; last < to && len(l) < batch; last++ {
				l = append(l, &raft.Log{Index: last + 1, Term: 1, Data: data})
			}
			if err := s.StoreLogs(l); err != nil {
				b.Fatal(err)
			}
		}
	}
	grow(length)
	b.ResetTimer()
	for range b.N {
		first := last - length + 1
		if err := s.DeleteRange(first, first+truncateStep-1); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		grow(truncateStep)
		b.StartTimer()
	}
}
