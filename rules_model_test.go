package lightning_test

import (
	"errors"
	"math/rand/v2"
	"slices"
)

// This file is an executable model of the commit and recovery rules: a disk
// that loses, tears and forgets writes, and the smallest engine that follows
// the rules. A tree is one root with up to ruleLeaves leaves; a state of the
// database is the values of its leaves. rules_test.go explores it.

const (
	ruleLeaves   = 4
	ruleCells    = 32 // the disk is full beyond this many pages
	ruleGrowStep = 2
	ruleFirstLen = 8
)

type (
	ruleTx    int
	ruleState [ruleLeaves]int // 0 = no such leaf
)

var (
	errRuleIO       = errors.New("input/output error")
	errRuleCorrupt  = errors.New("corruption")
	errRuleUnproven = errors.New("snapshot lost by a failed sync")
	errRuleFull     = errors.New("no space")
)

// ruleSet names the rules that are switched off. The zero value obeys them all.
type ruleSet struct {
	reuseByLatest     bool // A: the newest written transaction stands in for D
	reuseBeforeMeta   bool // A, second case: without a newer meta written
	reuseUnpublished  bool // A, second case: meta written, but not yet what new readers get
	reuseInFlight     bool // A: pages freed by the flush that is under way
	ignoreReaders     bool // A: readers do not count
	slotByParity      bool // B: slot = txid mod 2
	acceptUnvalidated bool // C: a right self digest is enough
	pruneAtLatest     bool // C: only pages born at the meta's own txid are checked
	pruneOneTooMany   bool // C: pages born at durableTxID+1 are not checked
	noErase           bool // D: a rejected slot is left alone
	eraseUnsynced     bool // D: erased, but not synced before the pages of the first commit
	validateCache     bool // D: validates what an earlier failed sync left in the cache
	keepStaleCache    bool // D: validates the medium, then reads through the stale cache
	syncAgain         bool // E: a failed sync is repeated
	serveUnproven     bool // E: readers newer than D go on after a failed sync
	silentRollback    bool // F: an older meta than the recorded durableTxID is taken
	noOpenSync        bool // open: D = t without a sync
	openSyncIfNeeded  bool // open: syncs only where durableTxID < txid
	commitDuringSync  bool // DB.Sync: commits write while the sync is under way
	largeUnsynced     bool // large transactions: durableTxID = own, pages not synced first
	largeMetaUnsynced bool // large transactions: two phases in the unsynced modes as well
	truncateBeforeD   bool // truncation: D's meta does not count
	truncateReaders   bool // truncation: readers do not count
	growUnsynced      bool // growth: no sync before the meta
	readOnlyFromCache bool // read-only open: takes the cache as it is
}

type ruleRef struct {
	page   int
	birth  ruleTx
	digest uint64
}

type ruleMeta struct {
	txid, durable ruleTx
	hwm           int
	root          ruleRef
}

type ruleKind uint8

const (
	cellZero ruleKind = iota
	cellTorn
	cellMeta
	cellRoot
	cellLeaf
)

// ruleCell is the content of one page. A meta with the kind cellMeta has a
// right self digest; a torn one has the kind cellTorn.
type ruleCell struct {
	kind  ruleKind
	page  int
	birth ruleTx
	child [ruleLeaves]ruleRef
	value int
	meta  ruleMeta
}

func (c *ruleCell) digest() uint64 {
	h := uint64(14695981039346656037)
	mix := func(v uint64) { h = (h ^ v) * 1099511628211; h ^= h >> 29 }
	mix(uint64(c.kind))
	mix(uint64(c.page))
	mix(uint64(c.birth))
	mix(uint64(c.value))
	for _, r := range c.child {
		mix(uint64(r.page))
		mix(uint64(r.birth))
		mix(r.digest)
	}
	return h
}

// ruleOp is one unsynced change: a page, or the length of the file (page < 0).
type ruleOp struct {
	page   int
	cell   ruleCell
	length int
}

type ruleImage struct {
	cells  [ruleCells]ruleCell
	length int
}

func (m *ruleImage) apply(op *ruleOp) {
	switch {
	case op.page < 0:
		for i := op.length; i < m.length; i++ {
			m.cells[i] = ruleCell{}
		}
		m.length = op.length
	case op.page < m.length:
		m.cells[op.page] = op.cell
	}
}

// ruleDisk is a file under a page cache. Reads and writes see the cache.
type ruleDisk struct {
	cache, medium ruleImage
	unsynced      []ruleOp // in order; what a power cut may lose
	rng           *rand.Rand

	failSync, failWrite, loseWrite bool // armed: hit the next sync or meta write
	lied                           bool // a sync returned nil and lost a write
}

func (d *ruleDisk) write(page int, c ruleCell) {
	if page >= d.cache.length {
		panic("model: write past the end of the file")
	}
	d.unsynced = append(d.unsynced, ruleOp{page: page, cell: c})
	d.cache.cells[page] = c
}

// writeMeta may fail; then the slot holds the old, the new or a torn meta.
func (d *ruleDisk) writeMeta(slot int, c ruleCell) error {
	if !d.failWrite {
		d.write(slot, c)
		return nil
	}
	d.failWrite = false
	switch d.rng.IntN(3) {
	case 0:
		d.write(slot, c)
	case 1:
		d.write(slot, ruleCell{kind: cellTorn})
	}
	return errRuleIO
}

func (d *ruleDisk) setLength(n int) {
	op := ruleOp{page: -1, length: n}
	d.unsynced = append(d.unsynced, op)
	d.cache.apply(&op)
}

// persistSome brings a random subset of the unsynced writes to the medium,
// each possibly torn: the state in which a power cut or a failed sync leaves it.
func (d *ruleDisk) persistSome(lengths bool) {
	odds := d.rng.IntN(5) // of 4; 0 = nothing got through, 4 = nearly everything did
	for i := range d.unsynced {
		op := d.unsynced[i]
		if op.page < 0 && !lengths || d.rng.IntN(4) >= odds {
			continue
		}
		if op.page >= 0 && d.rng.IntN(12) == 0 {
			op.cell = ruleCell{kind: cellTorn, page: op.page}
		}
		d.medium.apply(&op)
	}
}

// sync brings the first n unsynced writes to the medium. When it fails, the
// kernel has marked the pages clean: the cache keeps the new content and no
// later sync writes it again.
func (d *ruleDisk) sync(n int) error {
	n = min(n, len(d.unsynced))
	if d.failSync {
		d.failSync = false
		d.persistSome(false)
		d.unsynced = slices.DeleteFunc(d.unsynced, func(op ruleOp) bool { return op.page >= 0 })
		return errRuleIO
	}
	lost := -1
	if d.loseWrite && n > 0 {
		d.loseWrite = false
		if lost = d.unsynced[d.rng.IntN(n)].page; d.rng.IntN(2) == 0 {
			lost = d.unsynced[n-1].page // most often a meta
		}
		if lost >= 0 {
			d.lied = true
		}
	}
	for i := range d.unsynced[:n] {
		if op := &d.unsynced[i]; op.page < 0 || op.page != lost {
			d.medium.apply(op)
		}
	}
	d.unsynced = slices.Delete(d.unsynced, 0, n)
	return nil
}

func (d *ruleDisk) syncAll() error { return d.sync(len(d.unsynced)) }

func (d *ruleDisk) dirty(page int) bool {
	return slices.ContainsFunc(d.unsynced, func(op ruleOp) bool { return op.page == page })
}

// evict drops a clean page from the cache: the next read fetches the medium's.
func (d *ruleDisk) evict(page int) {
	if !d.dirty(page) && page < d.medium.length {
		d.cache.cells[page] = d.medium.cells[page]
	}
}

func (d *ruleDisk) dropCache() {
	for i := range d.cache.length {
		d.evict(i)
	}
}

func (d *ruleDisk) powerCut() {
	d.persistSome(true)
	d.unsynced = d.unsynced[:0]
	d.cache = d.medium
	d.failSync, d.failWrite, d.loseWrite = false, false, false
}

// rot damages a page at rest.
func (d *ruleDisk) rot(page int) {
	c := ruleCell{kind: cellTorn, page: page}
	d.medium.cells[page] = c
	if !d.dirty(page) {
		d.cache.cells[page] = c
	}
}

// cut shortens the file at rest, as a copy that stopped half-way does.
func (d *ruleDisk) cut(n int) {
	d.unsynced = d.unsynced[:0]
	d.medium = d.cache
	op := ruleOp{page: -1, length: n}
	d.medium.apply(&op)
	d.cache = d.medium
}

// newRuleDisk returns a durable, empty database of transaction 1.
func newRuleDisk() *ruleDisk {
	d := &ruleDisk{}
	root := ruleCell{kind: cellRoot, page: 2, birth: 1}
	meta := ruleMeta{txid: 1, durable: 1, hwm: 3, root: ruleRef{2, 1, root.digest()}}
	d.cache.length = ruleFirstLen
	d.cache.cells[2] = root
	d.cache.cells[1] = ruleCell{kind: cellMeta, meta: meta}
	d.medium = d.cache
	return d
}

// ruleNode is a page of the writer's newest tree.
type ruleNode struct {
	ref   ruleRef
	dirty bool // belongs to the group that gathers; its birth is not known yet
	value int
}

// ruleFreed is a page born at b, freed by f, not known to be reusable.
type ruleFreed struct {
	page int
	b, f ruleTx
}

type ruleReader struct {
	meta   ruleMeta
	expect ruleState
}

// ruleEngine is one open handle.
type ruleEngine struct {
	off      ruleSet
	disk     *ruleDisk
	readOnly bool
	poisoned bool
	synced   bool // mode of the next flush: Sync, or one of the unsynced ones

	durable   ruleMeta // of transaction D
	dSlot     int      // its slot; never written
	written   ruleMeta // newest meta in the file
	published ruleMeta // what a new reader gets
	rejected  bool     // the slot that is not D's holds a rejected newer meta

	root ruleNode
	leaf [ruleLeaves]ruleNode
	head ruleTx // newest sealed transaction

	free     [ruleCells]bool
	freed    []ruleFreed // f is known
	gathered []ruleFreed // freed by the group that gathers
	planLen  int         // length of the file once pending growth is done
	verified [ruleCells]bool
	readers  []*ruleReader

	flight  *ruleFlush
	syncing *ruleSync
}

// openRuleEngine chooses a state by rules C, D and F. It writes nothing.
func openRuleEngine(disk *ruleDisk, readOnly bool, off ruleSet) (*ruleEngine, error) {
	e := &ruleEngine{off: off, disk: disk, readOnly: readOnly, synced: true}
	untouched := off.noOpenSync || off.readOnlyFromCache && readOnly
	if off.openSyncIfNeeded {
		slot := newestMeta(&disk.cache, func(ruleMeta) bool { return true })
		untouched = slot >= 0 && disk.cache.cells[slot].meta.durable == disk.cache.cells[slot].meta.txid
	}
	if !untouched {
		if err := disk.syncAll(); err != nil {
			return nil, err
		}
	}
	source := &disk.cache
	switch {
	case off.keepStaleCache:
		source = &disk.medium
	case !off.validateCache && !(off.readOnlyFromCache && readOnly):
		disk.dropCache()
	}
	slot := newestMeta(source, func(m ruleMeta) bool { return off.acceptable(source, m) })
	if slot < 0 {
		return nil, errRuleCorrupt
	}
	chosen, other := source.cells[slot].meta, &source.cells[1-slot]
	if other.kind == cellMeta && other.meta.durable > chosen.txid && !off.silentRollback {
		return nil, errRuleCorrupt
	}
	e.rejected = other.kind == cellMeta && other.meta.txid > chosen.txid
	e.durable, e.written, e.published, e.dSlot = chosen, chosen, chosen, slot
	e.head, e.planLen = chosen.txid, disk.cache.length
	return e, e.load()
}

// newestMeta returns the slot of the newest meta that is good, or -1.
func newestMeta(m *ruleImage, good func(ruleMeta) bool) int {
	best := -1
	for slot := range 2 {
		c := &m.cells[slot]
		if c.kind == cellMeta && good(c.meta) && (best < 0 || c.meta.txid > m.cells[best].meta.txid) {
			best = slot
		}
	}
	return best
}

// acceptable is rule C: walk only what was born after the meta's durableTxID.
func (off ruleSet) acceptable(m *ruleImage, meta ruleMeta) bool {
	if off.acceptUnvalidated {
		return true
	}
	proven := meta.durable
	if off.pruneAtLatest {
		proven = max(proven, meta.txid-1)
	}
	if off.pruneOneTooMany {
		proven++
	}
	var walk func(ref ruleRef) bool
	walk = func(ref ruleRef) bool {
		if ref.page == 0 || ref.birth <= proven {
			return true
		}
		if ref.page >= m.length || m.cells[ref.page].digest() != ref.digest {
			return false
		}
		for _, child := range m.cells[ref.page].child {
			if !walk(child) {
				return false
			}
		}
		return true
	}
	return meta.hwm <= m.length && walk(meta.root)
}

// load builds the writer's tree and calls every page free that it does not reach.
func (e *ruleEngine) load() error {
	for i := 2; i < e.planLen; i++ {
		e.free[i] = true
	}
	root, err := e.readPage(e.published.root)
	if err != nil {
		return err
	}
	e.root.ref = e.published.root
	e.free[e.root.ref.page] = false
	for i, ref := range root.child {
		if ref.page == 0 {
			continue
		}
		c, err := e.readPage(ref)
		if err != nil {
			return err
		}
		e.leaf[i] = ruleNode{ref: ref, value: c.value}
		e.free[ref.page] = false
	}
	return nil
}

// readPage verifies a page on first touch only, as the engine does by default.
func (e *ruleEngine) readPage(ref ruleRef) (*ruleCell, error) {
	if ref.page >= e.disk.cache.length {
		return nil, errRuleCorrupt
	}
	c := &e.disk.cache.cells[ref.page]
	if !e.verified[ref.page] {
		if c.digest() != ref.digest {
			return nil, errRuleCorrupt
		}
		e.verified[ref.page] = true
	}
	return c, nil
}

// read returns what a reader of the snapshot sees now.
func (e *ruleEngine) read(m ruleMeta) (ruleState, error) {
	var s ruleState
	if e.poisoned && m.txid > e.durable.txid && !e.off.serveUnproven {
		return s, errRuleUnproven
	}
	root, err := e.readPage(m.root)
	if err != nil {
		return s, err
	}
	for i, ref := range root.child {
		if ref.page == 0 {
			continue
		}
		c, err := e.readPage(ref)
		if err != nil {
			return s, err
		}
		s[i] = c.value
	}
	return s, nil
}
