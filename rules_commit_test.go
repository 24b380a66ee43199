package lightning_test

import (
	"slices"
)

// reusable is rule A. In the second case D never held the page.
func (e *ruleEngine) reusable(p ruleFreed) bool {
	if !e.off.ignoreReaders {
		for _, r := range e.readers {
			if p.b <= r.meta.txid && r.meta.txid < p.f {
				return false
			}
		}
	}
	switch {
	case e.durable.txid >= p.f:
		return true
	case e.off.reuseByLatest && e.written.txid >= p.f:
		return true
	case e.off.reuseInFlight && e.flight != nil && e.flight.meta.txid >= p.f:
		return true
	case p.b <= e.durable.txid:
		return false
	case e.off.reuseBeforeMeta:
		return true
	case e.off.reuseUnpublished:
		return e.written.txid >= p.f
	}
	// Published, not only written: else a reader may still begin between b and f.
	return e.published.txid >= p.f
}

// reclaim moves what rule A releases to the free pages.
func (e *ruleEngine) reclaim() {
	e.freed = slices.DeleteFunc(e.freed, func(p ruleFreed) bool {
		if e.reusable(p) {
			e.free[p.page] = true
			return true
		}
		return false
	})
	if e.off.reuseBeforeMeta {
		e.gathered = slices.DeleteFunc(e.gathered, func(p ruleFreed) bool {
			if p.b > e.durable.txid {
				e.free[p.page] = true
				return true
			}
			return false
		})
	}
}

// reserve makes sure of n free pages, by planned growth if need be.
func (e *ruleEngine) reserve(n int) bool {
	e.reclaim()
	have := 0
	for _, f := range e.free {
		if f {
			have++
		}
	}
	for ; have < n; have += ruleGrowStep {
		if e.planLen+ruleGrowStep > ruleCells {
			return false
		}
		for range ruleGrowStep {
			e.free[e.planLen] = true
			e.planLen++
		}
	}
	return true
}

// mutable gives the node a page of the group that gathers.
func (e *ruleEngine) mutable(n *ruleNode) {
	if n.dirty {
		return
	}
	e.release(n)
	n.ref.page = slices.Index(e.free[:], true)
	n.dirty = true
	e.free[n.ref.page] = false
}

// release gives up the node's page; one that was never written is free at once.
func (e *ruleEngine) release(n *ruleNode) {
	switch {
	case n.dirty:
		e.free[n.ref.page] = true
	case n.ref.page != 0:
		e.gathered = append(e.gathered, ruleFreed{page: n.ref.page, b: n.ref.birth})
	}
	n.ref, n.dirty = ruleRef{}, false
}

// seal runs one transaction that sets leaf values and adds it to the group.
func (e *ruleEngine) seal(change map[int]int) error {
	if !e.reserve(len(change) + 1) {
		return errRuleFull
	}
	for i := range ruleLeaves {
		v, ok := change[i]
		if !ok {
			continue
		}
		if e.leaf[i].value = v; v == 0 {
			e.release(&e.leaf[i])
		} else {
			e.mutable(&e.leaf[i])
		}
	}
	e.mutable(&e.root)
	e.head++
	return nil
}

// ruleFlush carries every transaction sealed when it begins, under one meta.
type ruleFlush struct {
	meta          ruleMeta
	pages         []ruleCell // sorted by page
	slot          int
	synced, large bool
	length        int // of the file, as this flush needs it
	steps         []func() error
}

// beginFlush stamps the group: every page is born at the txid of its last member.
func (e *ruleEngine) beginFlush(large bool) bool {
	if e.busy() || !e.root.dirty {
		return false
	}
	t := e.head
	f := &ruleFlush{slot: 1 - e.dSlot, synced: e.synced, length: e.planLen}
	if e.off.slotByParity {
		f.slot = int(t) % 2
	}
	root := ruleCell{kind: cellRoot, page: e.root.ref.page, birth: t}
	hwm := root.page
	for i := range e.leaf {
		n := &e.leaf[i]
		if n.dirty {
			c := ruleCell{kind: cellLeaf, page: n.ref.page, birth: t, value: n.value}
			n.ref, n.dirty = ruleRef{c.page, t, c.digest()}, false
			f.pages = append(f.pages, c)
		}
		root.child[i] = n.ref
		hwm = max(hwm, n.ref.page)
	}
	e.root.ref, e.root.dirty = ruleRef{root.page, t, root.digest()}, false
	f.pages = append(f.pages, root)
	slices.SortFunc(f.pages, func(a, b ruleCell) int { return a.page - b.page })
	f.meta = ruleMeta{txid: t, durable: e.durable.txid, hwm: hwm + 1, root: e.root.ref}
	// A meta that vouches for itself must become D's at once. Left unsynced, the
	// second case of rule A would reuse its pages, and an open would not notice.
	if f.large = large && (e.synced || e.off.largeMetaUnsynced); f.large {
		f.meta.durable = t
	}
	for _, p := range e.gathered {
		e.freed = append(e.freed, ruleFreed{p.page, p.b, t})
	}
	e.gathered = nil
	f.steps = e.plan(f)
	e.flight = f
	return true
}

func (e *ruleEngine) busy() bool {
	return e.readOnly || e.poisoned || e.flight != nil || e.syncing != nil && !e.off.commitDuringSync
}

// plan lists the single steps of a flush; a crash may come between any two.
func (e *ruleEngine) plan(f *ruleFlush) (steps []func() error) {
	if e.rejected && !e.off.noErase {
		// Erase first, with a sync of its own: the pages that follow may happen
		// to complete the rejected state.
		steps = append(steps, func() error { return e.disk.writeMeta(1-e.dSlot, ruleCell{}) })
		if !e.off.eraseUnsynced {
			steps = append(steps, e.sync)
		}
	}
	if f.length > e.disk.cache.length {
		steps = append(steps, func() error { e.disk.setLength(f.length); return nil })
		if !e.off.growUnsynced {
			steps = append(steps, e.sync)
		}
	}
	for _, c := range f.pages {
		steps = append(steps, func() error {
			e.verified[c.page] = false
			e.disk.write(c.page, c)
			return nil
		})
	}
	if f.large && !e.off.largeUnsynced {
		steps = append(steps, e.sync)
	}
	steps = append(steps, func() error {
		e.rejected = false
		e.written = f.meta
		return e.disk.writeMeta(f.slot, ruleCell{kind: cellMeta, meta: f.meta})
	})
	if f.synced {
		steps = append(steps, func() error {
			err := e.sync()
			if err == nil {
				e.durable, e.dSlot = f.meta, f.slot
			}
			return err
		})
	}
	return steps
}

// step does one step of the flush; done means that it was acknowledged.
func (e *ruleEngine) step() (done bool, err error) {
	f := e.flight
	if err := f.steps[0](); err != nil {
		e.poison()
		return false, err
	}
	if f.steps = f.steps[1:]; len(f.steps) > 0 {
		return false, nil
	}
	e.published, e.flight = f.meta, nil
	return true, nil
}

func (e *ruleEngine) sync() error {
	err := e.disk.syncAll()
	if err != nil && e.off.syncAgain {
		return e.disk.syncAll()
	}
	return err
}

// poison is rule E: nothing is written any more, new readers get D.
func (e *ruleEngine) poison() {
	e.poisoned, e.flight, e.syncing = true, nil, nil
	if !e.off.serveUnproven {
		e.published = e.durable
	}
}

// ruleSync is a DB.Sync under way.
type ruleSync struct {
	meta ruleMeta // the newest meta written when it began
	slot int
	ops  int
}

// beginSync is DB.Sync, or the syncer of Periodic. Like a flush, it keeps
// every other write out until it ends: what was written meanwhile would be
// neither proven nor apart from what is.
func (e *ruleEngine) beginSync() bool {
	if e.busy() || e.syncing != nil {
		return false
	}
	slot := e.dSlot
	if e.written.txid != e.durable.txid {
		slot = 1 - e.dSlot
	}
	e.syncing = &ruleSync{e.written, slot, len(e.disk.unsynced)}
	return true
}

func (e *ruleEngine) endSync() error {
	s := e.syncing
	e.syncing = nil
	err := e.disk.sync(s.ops)
	if err != nil && e.off.syncAgain {
		err = e.disk.syncAll()
	}
	if err != nil {
		e.poison()
		return err
	}
	e.durable, e.dSlot = s.meta, s.slot
	return nil
}

// truncate cuts the tail that no selectable meta, reader or sealed transaction reaches.
func (e *ruleEngine) truncate() bool {
	if e.busy() || e.syncing != nil || e.rejected {
		return false
	}
	n := max(e.written.hwm, e.root.ref.page+1)
	for _, l := range e.leaf {
		n = max(n, l.ref.page+1)
	}
	if !e.off.truncateBeforeD {
		n = max(n, e.durable.hwm)
	}
	if !e.off.truncateReaders {
		for _, r := range e.readers {
			n = max(n, r.meta.hwm)
		}
	}
	if n >= e.disk.cache.length {
		return false
	}
	e.disk.setLength(n)
	e.freed = slices.DeleteFunc(e.freed, func(p ruleFreed) bool { return p.page >= n })
	e.gathered = slices.DeleteFunc(e.gathered, func(p ruleFreed) bool { return p.page >= n })
	for i := n; i < ruleCells; i++ {
		e.free[i] = false
		e.verified[i] = false
	}
	e.planLen = n
	return true
}
