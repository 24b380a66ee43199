package lightning

import (
	"sync"

	"github.com/lightning-db/lightning/arch"
	"github.com/lightning-db/lightning/page"
)

// ReadAhead says what the kernel reads when a page is touched that is not in
// memory.
type ReadAhead uint8

const (
	// ReadAheadAuto is ReadAheadOn until the file is longer than half of the
	// memory that the process may use, control groups considered, when it first opens a
	// database, and ReadAheadOff from then on. Where that memory is not known (it is on
	// Linux) it is ReadAheadOn. The default.
	ReadAheadAuto ReadAhead = iota
	// ReadAheadOn leaves it to the kernel, which reads the neighbours as well: a file
	// that fits in memory gets there sooner.
	ReadAheadOn
	// ReadAheadOff reads nothing but the page. In a file that does not fit in memory
	// neighbours are rarely used before they are dropped again, and drop others. Walks
	// of cursors and checks say in advance what they will read.
	ReadAheadOff
)

// adviseMap tells the kernel how a file of the given length in bytes is going to be read.
func (db *DB) adviseMap(size int64) {
	off := db.options.ReadAhead == ReadAheadOff ||
		db.options.ReadAhead == ReadAheadAuto && db.memory > 0 && uint64(size) > db.memory/2
	if !off || db.sparing.Load() {
		return
	}
	if err := db.data.Advise(true); err != nil {
		db.Logger().Warningf("%s: %v", db.path, err) // slower, and nothing worse
		return
	}
	db.sparing.Store(true)
}

// maxAhead bounds how many children of a branch are asked for at once.
const maxAhead = 64

// readAhead asks the kernel for up to count children of the branch n, from the
// i-th on in direction by, 1 or -1, without waiting for them, and returns how many there
// are. Children that were read before are taken for present.
func (db *DB) readAhead(n page.Node, i, by, count int) (found int) {
	var start, end page.ID // of the run of neighbours found last
	for ; found < count && 0 <= i && i < n.Count(); i += by {
		found++
		id, _ := page.PlaceOf(n[n.ChildAt(i):])
		if db.verified.has(id) {
			continue
		}
		switch {
		case id == end:
			end++
		case id+1 == start:
			start--
		default:
			db.willNeed(start, end)
			start, end = id, id+1
		}
	}
	db.willNeed(start, end)
	return found
}

// willNeed asks for pages [start, end).
func (db *DB) willNeed(start, end page.ID) {
	if start < end {
		db.data.WillNeed(db.offset(start), int(end-start)*db.pageSize)
	}
}

// memory is looked up once: that reads several files, and limits seldom change.
var memory = sync.OnceValue(arch.Memory)
