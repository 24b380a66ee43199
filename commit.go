package lightning

import (
	"sync/atomic"
	"time"

	"github.com/lightning-db/lightning/page"
)

// A commit has two stages. Sealing, under the writer lock, makes the
// transaction's changes part of the newest state in memory and lets the next
// writer go on from there. Flushing, under the flush lock, writes everything
// that was sealed meanwhile with one meta page and one fdatasync, and then
// publishes it. Whoever sealed first flushes for all; there is no timer and no
// goroutine in between, so a lone writer waits for nobody.

// state is what a writable transaction builds on.
type state struct {
	id       page.TxID
	root     handle
	count    uint64
	sequence uint64
	flags    uint32 // of the meta page
}

// group is the transactions that go out with one flush. Its pages are born
// under the number of its last member: no state in between is ever on disk.
type group struct {
	tip      state
	freed    []extent // pages of the file that members gave up
	late     []*node  // nodes of earlier groups that members gave up, written by now
	pages    int      // dirty pages, an upper bound
	frozen   bool     // being flushed or done: no member joins; guarded by DB.mu
	flushed  atomic.Bool
	done     chan struct{} // closed when flushed or failed; the fields below are valid then
	err      error
	writes   int64         // write calls
	took     time.Duration // of the flush
	sealSums []sealSum     // with the tag invariants: what the members' pages were at sealing
}

// maxPendingBytes bounds what is sealed and not yet flushed; beyond it the next
// writer flushes before it begins.
const maxPendingBytes = 64 << 20

// seal makes the transaction's changes the newest state in memory, releases
// the writer lock and returns the group that carries them to disk.
func (tx *Tx) seal() (*group, error) {
	if err := tx.ready(); err != nil {
		return nil, err
	}
	db := tx.db
	if err := db.guarded(func() error {
		_, err := tx.root().spill()
		return err
	}); err != nil {
		return nil, tx.fail(err)
	}
	pages := tx.dirtyPages()
	tx.stats.Spill += int64(pages)
	// A transaction for which the file cannot be made long enough in advance
	// goes out by itself, so that a full disk fails nobody else.
	alone := !db.roomFor(pages) && !db.makeRoom(pages)
	g, err := db.join(tx, pages)
	if err != nil {
		return nil, err
	}
	tx.closed.Store(true)
	tx.release()
	if alone {
		db.flushNow(g)
	}
	db.endWrite(tx)
	return g, nil
}

// ready reports why the transaction cannot be committed.
func (tx *Tx) ready() error {
	if err := tx.Err(); err != nil {
		return err
	}
	if err := tx.ctx.Err(); err != nil {
		return err
	}
	return tx.db.poisoned()
}

func (tx *Tx) dirtyPages() (pages int) {
	for _, n := range tx.nodes {
		if n.owner == tx {
			pages += n.pages
		}
	}
	return pages
}

// join puts the transaction into the group that is flushed next.
func (db *DB) join(tx *Tx, pages int) (*group, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if tx.epoch != db.epoch {
		return nil, db.lastFailure
	}
	g := db.pending
	if g == nil {
		g = &group{done: make(chan struct{})}
		db.pending = g
	}
	for _, n := range tx.nodes {
		if n.owner == tx {
			n.group = g
			g.noteSealed(n)
		}
	}
	for _, n := range tx.replaced {
		if n.group.frozen {
			g.late = append(g.late, n)
		} else {
			db.takeBack(n) // sealed, superseded before it was written
		}
	}
	g.freed = append(g.freed, tx.freed...)
	g.pages += pages
	top := tx.root()
	g.tip = state{id: tx.id, root: top.tree.root, count: top.tree.count, sequence: top.sequence, flags: tx.flags}
	db.setTip(g.tip)
	return g, nil
}

// roomFor reports whether the file as it is has room for what is sealed, pages
// more and the reserve, even if no free page could be used.
func (db *DB) roomFor(pages int) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	need := db.endPages.Load() + uint64(pages) + uint64(db.inFlight) + db.reserve()
	if db.pending != nil {
		need += uint64(db.pending.pages)
	}
	if limit := db.maxPages(); limit > 0 && need > limit {
		return false
	}
	return need <= db.filePages.Load()
}

// makeRoom lengthens the file for what is sealed, which it flushes, pages more
// and the reserve; false if the file cannot grow. The caller holds the writer lock.
func (db *DB) makeRoom(pages int) bool {
	db.flusher.lock()
	defer db.flusher.unlock()
	db.flushPending()
	need := db.endPages.Load() + uint64(pages) + db.reserve()
	if limit := db.maxPages(); limit > 0 && need > limit {
		return false
	}
	return db.poisoned() == nil && db.reach(need) == nil
}

// await returns when the group is flushed, flushing it in this goroutine if
// nobody else does.
func (db *DB) await(g *group) error {
	select {
	case <-g.done:
	case db.flusher <- struct{}{}:
		enterRank(rankFlush)
		db.flushPending()
		db.flusher.unlock()
	}
	<-g.done
	return g.err
}

// flushNow is await for a holder of the writer lock.
func (db *DB) flushNow(g *group) {
	db.drain()
	<-g.done
}

// drain flushes all that is sealed. The caller holds the writer lock.
func (db *DB) drain() {
	db.flusher.lock()
	db.flushPending()
	db.flusher.unlock()
}

// flushPending flushes the pending group, if there is one. The caller holds
// the flush lock.
func (db *DB) flushPending() {
	db.mu.Lock()
	g := db.pending
	if g == nil {
		db.mu.Unlock()
		return
	}
	db.pending = nil
	g.frozen = true
	db.inFlight = g.pages
	db.mu.Unlock()

	f := &db.flushing
	defer f.end()
	if err := db.flush(f, g); err != nil {
		db.abandon(g, err)
		return
	}
	idle := db.writer.tryLock()
	db.mu.Lock()
	db.inFlight = 0
	if db.tip.id == g.tip.id {
		db.tip.root = db.tip.root.settle()
	}
	for _, nodes := range f.levels {
		db.retired = append(db.retired, nodes...)
	}
	db.mu.Unlock()
	if idle {
		db.reclaim()
		db.writer.unlock()
	}
	close(g.done)
}

// reclaim takes back the nodes that have been written. Who begins from now on
// reads their pages or what recent has of them, and what was sealed needs their
// references only; the transactions that began before have ended, for the caller holds
// the writer lock and runs none.
func (db *DB) reclaim() {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, n := range db.retired {
		if n.isPage() {
			n.buf = db.recent.keep(n)
		}
		db.takeBack(n)
	}
	clear(db.retired)
	db.retired = reuse(db.retired)
}

// abandon fails a group and everything that was built on it: the next
// transaction begins on the published state.
func (db *DB) abandon(g *group, err error) {
	db.mu.Lock()
	db.inFlight = 0
	db.epoch++
	db.lastFailure = err
	next := db.pending
	db.pending = nil
	db.setTip(stateOf(&db.published.Load().meta))
	db.mu.Unlock()
	for _, g := range []*group{g, next} {
		if g != nil {
			g.err = err
			close(g.done)
		}
	}
	db.noteFailure(err)
}

// setTip makes s the newest sealed state, which also says whether anybody may write. The
// caller holds mu.
func (db *DB) setTip(s state) {
	db.tip = s
	db.frozen.Store(s.flags&page.MetaReadOnly != 0)
}

func stateOf(m *page.Meta) state {
	return state{id: m.TxID, root: handle{ref: m.Root.Root}, count: m.Root.Count, sequence: m.Root.Sequence, flags: m.Flags}
}
