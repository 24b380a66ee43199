//go:build invariants

package lightning

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
)

// invariants enables costly checks of what must always hold.
const invariants = true

// heldRanks are the locks that each goroutine holds, by its number.
var heldRanks = struct {
	mu sync.Mutex
	by map[int64][]lockRank
}{by: make(map[int64][]lockRank)}

// checkRank panics if the goroutine holds a lock that comes after rank.
func checkRank(rank lockRank) {
	heldRanks.mu.Lock()
	defer heldRanks.mu.Unlock()
	checkRankLocked(goroutine(), rank)
}

func checkRankLocked(g int64, rank lockRank) {
	if held := heldRanks.by[g]; len(held) > 0 && slices.Max(held) >= rank {
		panic(fmt.Sprintf("lightning: lock of rank %d taken while holding %v", rank, held))
	}
}

// enterRank notes that the goroutine takes a lock, after checkRank.
func enterRank(rank lockRank) {
	heldRanks.mu.Lock()
	defer heldRanks.mu.Unlock()
	g := goroutine()
	checkRankLocked(g, rank)
	heldRanks.by[g] = append(heldRanks.by[g], rank)
}

// leaveRank notes that the goroutine released the lock.
func leaveRank(rank lockRank) {
	heldRanks.mu.Lock()
	defer heldRanks.mu.Unlock()
	g := goroutine()
	held := heldRanks.by[g]
	i := slices.Index(held, rank)
	if i < 0 {
		panic(fmt.Sprintf("lightning: lock of rank %d released without holding it", rank))
	}
	if held = slices.Delete(held, i, i+1); len(held) > 0 {
		heldRanks.by[g] = held
	} else {
		delete(heldRanks.by, g)
	}
}

// goroutine returns the number of the running goroutine, as stack traces show
// it.
func goroutine() int64 {
	var b [64]byte
	fields := bytes.Fields(b[:runtime.Stack(b[:], false)])
	n, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		panic(fmt.Sprintf("lightning: no goroutine number in %q: %v", b[:], err))
	}
	return n
}
