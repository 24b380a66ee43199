package lightning

import "sync/atomic"

// gauges are the numbers of DB.Stats. Counters of transactions are added when
// they end, without a lock.
type gauges struct {
	tx      TxStats
	free    atomic.Int64 // pages that may be reused
	pending atomic.Int64 // freed pages that may not be reused yet
	mapSize atomic.Int64 // bytes that the map of free pages takes in the file
}

// noteWrite adds the counters of a writable transaction that ended. Read-only
// ones count in their slots.
func (g *gauges) noteWrite(db *DB, tx *Tx) {
	if !db.options.NoStatistics {
		s := tx.Stats()
		g.tx.add(&s)
	}
}

// noteFlush adds the counters of a flush.
func (g *gauges) noteFlush(db *DB, of *group) {
	if !db.options.NoStatistics {
		g.tx.IncWrite(of.writes)
		g.tx.IncWriteTime(of.took)
	}
}

// gauge takes the numbers of the space map. The caller holds the flush lock.
func (db *DB) gauge() {
	if db.space == nil { // read-only: nothing is reused here, and the sum is known
		db.gauges.free.Store(int64(db.published.Load().meta.SpaceFree))
		return
	}
	f := db.space.free
	db.gauges.free.Store(int64(f.readyPages()))
	db.gauges.pending.Store(int64(f.freePages() - f.readyPages()))
	pages := len(db.space.log) + len(db.space.index)
	for _, e := range db.space.entries {
		if !e.Ref.IsZero() {
			pages++
		}
	}
	db.gauges.mapSize.Store(int64(pages * db.pageSize))
}

// Stats returns the database's counters and gauges. With Options.NoStatistics
// all are zero.
func (db *DB) Stats() Stats {
	if db.options.NoStatistics {
		return Stats{}
	}
	open, started, cursors := db.readers.counts()
	sum := db.gauges.tx.snapshot()
	sum.CursorCount += int64(cursors)
	free, pending := int(db.gauges.free.Load()), int(db.gauges.pending.Load())
	return Stats{
		TxStats:       sum,
		FreePageN:     free,
		PendingPageN:  pending,
		FreeAlloc:     (free + pending) * db.pageSize,
		FreelistInuse: int(db.gauges.mapSize.Load()),
		TxN:           started,
		OpenTxN:       open,
	}
}
