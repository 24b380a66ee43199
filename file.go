package lightning

import (
	"fmt"
	"slices"

	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/mutant"
	"github.com/lightning-db/lightning/page"
)

// minGrowth is the smallest step in bytes by which the file grows.
const minGrowth = 256 << 10

func (db *DB) offset(id page.ID) int64 { return int64(id) * int64(db.pageSize) }

// maxPages returns how many pages the file may have, 0 = no limit.
func (db *DB) maxPages() uint64 {
	if db.MaxSize <= 0 {
		return 0
	}
	return uint64(db.MaxSize / db.pageSize)
}

// growth returns by how many pages a file of the given length grows: a sixteenth,
// within minGrowth and AllocSize.
func (db *DB) growth(pages uint64) uint64 {
	step := pages * uint64(db.pageSize) / 16
	step = min(max(step, minGrowth), uint64(max(db.AllocSize, minGrowth)))
	return step / uint64(db.pageSize)
}

// reach makes the file long enough for end pages, and durably so: a crash must
// not leave a meta that refers past the end of the file. A full disk is met
// here, before anything is written.
func (db *DB) reach(end uint64) error {
	have := db.filePages.Load()
	if end <= have {
		return nil
	}
	// A slot may have been rejected for the length of the file alone.
	if err := db.eraseRejected(); err != nil {
		return err
	}
	want := max(end, have+db.growth(have))
	if limit := db.maxPages(); limit > 0 {
		want = max(end, min(want, limit))
	}
	err := db.file.Grow(fsync.OpGrow, int64(want)*int64(db.pageSize))
	if err != nil && want > end {
		want = end
		err = db.file.Grow(fsync.OpGrow, int64(want)*int64(db.pageSize))
	}
	if err != nil {
		return fmt.Errorf("grow to %d pages of %d bytes: %w", want, db.pageSize, err)
	}
	if db.durability().every == 0 && !db.NoGrowSync {
		if err := db.file.SyncFull(fsync.OpGrowSync); err != nil {
			return db.poison(fmt.Errorf("sync after growing: %w", err))
		}
	}
	if err := db.data.Extend(int64(want) * int64(db.pageSize)); err != nil {
		return fmt.Errorf("map the grown file %s: %w", db.path, err)
	}
	db.adviseMap(int64(want) * int64(db.pageSize))
	db.verified.reach(page.ID(want))
	db.filePages.Store(want)
	return nil
}

// Room that a full disk leaves for transactions that delete: copy-on-write
// takes pages before it gives any back.
const (
	minReserve   = 16   // pages
	maxReserve   = 1024 // pages
	reserveShare = 64   // of the file
	limitShare   = 8    // of MaxSize at the most
)

// reserve returns how many pages are kept for transactions that take no more
// pages than they give up.
func (db *DB) reserve() uint64 {
	pages := min(max(db.filePages.Load()/reserveShare, minReserve), maxReserve)
	if limit := db.maxPages(); limit > 0 {
		pages = min(pages, limit/limitShare)
	}
	return pages
}

// keepReserve makes the file longer where what is reusable in it and unused at
// its end is less than the reserve. If that fails, so does a flush that takes
// more pages than it gives up; one that does not may use the reserve.
func (db *DB) keepReserve(net int64) error {
	free := db.space.free
	have := free.readyPages() + db.filePages.Load() - free.end()
	want := db.reserve()
	if have >= want {
		return nil
	}
	end := db.filePages.Load() + want - have
	var err error
	if limit := db.maxPages(); limit > 0 && end > limit {
		err = db.tooLarge(end)
	} else {
		err = db.reach(end)
	}
	if net <= 0 && db.poisoned() == nil {
		return nil
	}
	return err
}

// tooLarge is the error for a file that would have more pages than it may.
func (db *DB) tooLarge(pages uint64) error {
	return fmt.Errorf("%s: %w: %d pages of %d bytes needed, %d allowed, of which %d are kept for deletes; delete data or raise MaxSize",
		db.path, ErrMaxSizeReached, pages, db.pageSize, db.maxPages(), db.reserve())
}

// shrink gives free pages at the end of the file back to the device, when
// neither meta slot nor any reader's snapshot reaches them. The caller holds
// the flush lock.
func (db *DB) shrink() {
	for _, snap := range db.readers.snapshots() {
		if !slices.ContainsFunc(db.slots[:], func(s slotState) bool { return s.tx == snap }) {
			return // its end is not known to be below
		}
	}
	end := uint64(max(db.slots[0].end, db.slots[1].end))
	want := end + db.growth(end)
	if have := db.filePages.Load(); db.keepLength || have <= want+db.growth(end) {
		return
	}
	db.truncate(want)
}

// truncate cuts the file to the given number of pages. Failure costs space
// only.
func (db *DB) truncate(pages uint64) {
	before := db.filePages.Load()
	db.filePages.Store(pages)
	if err := db.file.Truncate(fsync.OpTruncate, int64(pages)*int64(db.pageSize)); err != nil {
		db.filePages.Store(before)
		db.keepLength = true // as on Windows, where mapped files cannot be cut
		db.Logger().Warningf("%s: give back free space: %v", db.path, err)
	}
}

// checkNamed fails if the file has lost its name since it was opened: what is
// made durable in it would end with this process.
func (db *DB) checkNamed() error {
	if db.nameless {
		return nil
	}
	named, err := db.file.Named()
	if err != nil {
		return err
	}
	if !named {
		return fmt.Errorf("%s: %w", db.path, ErrFileRemoved)
	}
	return nil
}

// eraseRejected durably erases a newer meta that Open rejected, before pages
// or a length that would make it acceptable can be written (rule D).
func (db *DB) eraseRejected() error {
	if !db.rejected || mutant.Is(mutant.KeepRejected) {
		return nil
	}
	var zeros [page.MetaSize]byte
	if err := db.file.WriteAt(fsync.OpErase, zeros[:], int64(1-db.durableSlot)*int64(db.pageSize)); err != nil {
		return db.poison(fmt.Errorf("erase rejected meta: %w", err))
	}
	if err := db.file.Sync(fsync.OpEraseSync); err != nil {
		return db.poison(fmt.Errorf("sync the erased meta: %w", err))
	}
	db.rejected = false
	return nil
}
