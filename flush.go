package lightning

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/lightning-db/lightning/arch"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/mutant"
	"github.com/lightning-db/lightning/page"
)

// flush writes one group. Its stages run in the order of run, under the flush
// lock; nothing refers to what they write before the meta page does. What they
// work with stays for the next flush.
type flush struct {
	db     *DB
	g      *group
	tx     page.TxID
	edit   *spaceEdit
	levels [][]*node // nodes to write; those of a level refer to lower levels only
	pages  int
	freed  []extent // what the group gave up, in the order of the file

	slab   []byte        // images of branches and leaves, stamped and hashed
	used   int           // bytes of slab in use
	images [][]byte      // of the nodes being hashed
	sums   []arch.Digest // of images
	queue  []pageWrite   // waiting to be written
	bufs   [][]byte      // what goes out with one call
}

type pageWrite struct {
	id  page.ID
	buf []byte
}

// begin makes f ready for the group.
func (f *flush) begin(db *DB, g *group) {
	f.db, f.g, f.tx = db, g, g.tip.id
	f.pages, f.used = 0, 0
}

// end lets go of what the flush held.
func (f *flush) end() {
	f.g, f.edit = nil, nil
	for i, nodes := range f.levels {
		clear(nodes)
		f.levels[i] = reuse(nodes)
	}
	clear(f.images)
	clear(f.queue)
	clear(f.bufs)
	f.images, f.queue, f.bufs, f.freed = reuse(f.images), reuse(f.queue), reuse(f.bufs), reuse(f.freed)
}

// slabPages bounds the memory for images on their way to disk.
const slabPages = 1024

// flush writes the group and publishes it. On error nothing refers to what was
// written; if the error came from a sync or the meta page the database is
// poisoned, because what is on disk is unknown (rule E).
//
// The caller ends f when it is done with the nodes in f.levels.
func (db *DB) flush(f *flush, g *group) (err error) {
	if err := db.poisoned(); err != nil {
		return err
	}
	f.begin(db, g)
	began := time.Now()
	defer func() {
		if r := recover(); r != nil {
			// A fault of the engine: others must not wait for ever, and
			// nothing more may be written.
			err = db.poison(fmt.Errorf("flush of transaction %d: %v\n%s", f.tx, r, debug.Stack()))
		}
		g.took = time.Since(began)
		db.gauges.noteFlush(db, g)
	}()
	return f.run()
}

func (f *flush) run() error {
	db := f.db
	if db.durability().every == 0 {
		if err := db.checkNamed(); err != nil {
			return err
		}
	}
	if err := db.eraseRejected(); err != nil {
		return err
	}
	if err := db.space.advance(db.durable, db.written, db.readers.snapshots()); err != nil {
		return err
	}
	f.edit = db.space.edit(f.tx, db.maxPages())
	var m *page.Meta
	err := db.guarded(func() (err error) {
		m, err = f.writePages()
		return err
	})
	if err != nil {
		if undo := f.edit.rollback(); undo != nil {
			return db.poison(fmt.Errorf("%w, and undoing it: %w", err, undo))
		}
		return advise(err)
	}
	// From here the commit either stands or its outcome is unknown.
	if err := f.writeMeta(m); err != nil {
		return db.poison(err)
	}
	f.edit.commit()
	f.publish(m)
	return nil
}

// writePages places, hashes and writes all pages of the group and of the space
// map, and returns the meta that refers to them.
func (f *flush) writePages() (*page.Meta, error) {
	db, g := f.db, f.g
	root := g.tip.root.settle()
	if root.n != nil {
		f.collect(root.n)
	}
	g.checkSealed()
	if err := f.place(); err != nil {
		return nil, err
	}
	if err := f.free(); err != nil {
		return nil, err
	}
	if err := db.reach(db.space.free.end()); err != nil {
		return nil, err
	}
	if err := db.keepReserve(f.edit.net); err != nil {
		return nil, err
	}
	if err := f.writeNodes(); err != nil {
		return nil, err
	}
	if err := f.edit.finish(); err != nil {
		return nil, err
	}
	if err := db.reach(db.space.free.end()); err != nil {
		return nil, err
	}
	f.queue = append(f.queue, f.edit.pages...)
	if err := f.drain(); err != nil {
		return nil, err
	}
	return f.meta(root), nil
}

func (f *flush) meta(root handle) *page.Meta {
	db, e := f.db, f.edit
	m := db.published.Load().meta
	m.TxID, m.Flags = f.tx, f.g.tip.flags
	m.DurableTx = db.durable
	m.End = page.ID(db.space.free.end())
	m.Root = page.Bucket{Root: root.ref, Sequence: f.g.tip.sequence, Count: f.g.tip.count}
	if root.n != nil {
		m.Root.Root = root.n.ref
	}
	m.Space, m.Inline, m.SpaceLog, m.LogPages = e.top, e.inline, page.Ref{}, uint32(len(e.log))
	if len(e.log) > 0 {
		m.SpaceLog = e.log[len(e.log)-1]
	}
	m.SpaceFree = db.space.free.freePages()
	return &m
}

// collect sorts n and the unwritten nodes below it into levels and returns n's.
func (f *flush) collect(n *node) int {
	level := 0
	if len(n.kids) > 0 {
		img := n.img()
		for at := range img.Pending(0, img.Count()) {
			if k, _ := page.GetRef(img[at:]).Pending(); !n.kids[k].final() {
				level = max(level, f.collect(n.kids[k])+1)
			}
		}
	}
	for len(f.levels) <= level {
		f.levels = append(f.levels, nil)
	}
	f.levels[level] = append(f.levels[level], n)
	f.pages += n.pages
	return level
}

// place gives every node its page number: single pages next to each other,
// in the order in which they are written.
func (f *flush) place() error {
	singles := 0
	for _, nodes := range f.levels {
		for _, n := range nodes {
			if n.pages == 1 {
				singles++
			}
		}
	}
	ids, err := f.edit.takePages(singles)
	if err != nil {
		return err
	}
	for _, nodes := range f.levels {
		for _, n := range nodes {
			if n.pages == 1 {
				n.ref = page.Ref{ID: ids[0], Birth: f.tx}
				ids = ids[1:]
				continue
			}
			id, _, err := f.edit.take(uint64(n.pages), true)
			if err != nil {
				return err
			}
			n.ref = page.Ref{ID: id, Birth: f.tx}
		}
	}
	return nil
}

// free gives up what the group's members replaced.
func (f *flush) free() error {
	freed := append(f.freed[:0], f.g.freed...)
	for _, n := range f.g.late {
		freed = append(freed, extent{n.ref.ID, n.pages, n.ref.Birth})
	}
	f.freed = freed
	slices.SortFunc(freed, func(a, b extent) int { return cmp.Compare(a.id, b.id) })
	for i := 0; i < len(freed); {
		x := freed[i]
		for i++; i < len(freed) && freed[i].id == x.id+page.ID(x.pages) && freed[i].birth == x.birth; i++ {
			x.pages += freed[i].pages // neighbours of one birth become one extent
		}
		if err := f.edit.give(x); err != nil {
			return err
		}
	}
	return nil
}

// writeNodes hashes the nodes level by level, so that references are known
// when they are needed, and writes them in slabs.
func (f *flush) writeNodes() error {
	if need := min(f.pages, slabPages) * f.db.pageSize; len(f.slab) < need {
		f.slab = make([]byte, need)
	}
	for _, nodes := range f.levels {
		for len(nodes) > 0 {
			batch := nodes[:min(len(nodes), slabPages)]
			nodes = nodes[len(batch):]
			if f.used+len(batch)*f.db.pageSize > len(f.slab) {
				if err := f.drain(); err != nil {
					return err
				}
			}
			f.hash(batch)
		}
	}
	return nil
}

// hash makes the final images of the nodes and queues them.
func (f *flush) hash(nodes []*node) {
	f.images = f.images[:0]
	for _, n := range nodes {
		image := n.buf
		if n.isPage() {
			// A copy: the next writer may be reading the node.
			image = f.image()
			n.img().CopyTo(image)
			n.resolve(image)
		}
		page.Stamp(image, n.ref.ID, f.tx)
		f.images = append(f.images, image)
	}
	f.sums = slices.Grow(f.sums[:0], len(nodes))[:len(nodes)]
	f.db.hasher.SumMany(f.images, f.sums)
	for i, n := range nodes {
		n.ref.Digest = page.Digest(f.sums[i])
		f.queue = append(f.queue, pageWrite{n.ref.ID, f.images[i]})
	}
}

// image returns room for one page image; writeNodes made sure that there is.
func (f *flush) image() []byte {
	size := f.db.pageSize
	b := f.slab[f.used : f.used+size]
	f.used += size
	return b
}

// resolve replaces the pending references in b, a copy of n's image, by those
// of the pages that the kids were given.
func (n *node) resolve(b []byte) {
	if len(n.kids) == 0 {
		return
	}
	for at := range page.Node(b).Pending(0, n.img().Count()) {
		k, _ := page.GetRef(b[at:]).Pending()
		page.PutRef(b[at:], n.kids[k].ref)
	}
}

// drain writes the queued pages, neighbours together.
func (f *flush) drain() error {
	db := f.db
	slices.SortFunc(f.queue, func(a, b pageWrite) int { return cmp.Compare(a.id, b.id) })
	for i := 0; i < len(f.queue); {
		start := f.queue[i].id
		next := start
		f.bufs = f.bufs[:0]
		for ; i < len(f.queue) && f.queue[i].id == next; i++ {
			b := f.queue[i].buf
			db.verified.clear(next)
			next += page.ID(len(b) / db.pageSize)
			if last := len(f.bufs) - 1; last >= 0 && follows(f.bufs[last], b) {
				f.bufs[last] = f.bufs[last][:len(f.bufs[last])+len(b)]
			} else {
				f.bufs = append(f.bufs, b)
			}
		}
		if err := db.file.WriteAtv(fsync.OpPageWrite, f.bufs, db.offset(start)); err != nil {
			return fmt.Errorf("write pages %d to %d: %w", start, next-1, err)
		}
		f.g.writes++
	}
	f.queue = f.queue[:0]
	f.used = 0
	return nil
}

// follows reports whether b is the memory behind a, in one array.
func follows(a, b []byte) bool {
	return cap(a) > len(a) && &a[:len(a)+1][len(a)] == &b[0]
}

// writeMeta writes the meta page into the slot that does not hold the durable
// state (rule B) and makes the commit durable as the mode demands.
func (f *flush) writeMeta(m *page.Meta) error {
	db := f.db
	sync := db.durability().every == 0
	if sync && f.pages > db.largeTxPages {
		if err := db.file.Sync(fsync.OpPageSync); err != nil {
			return fmt.Errorf("sync pages of transaction %d: %w", f.tx, err)
		}
		m.DurableTx = m.TxID
	}
	slot := 1 - db.durableSlot
	if mutant.Is(mutant.SlotByNumber) {
		slot = int(f.tx % 2)
	}
	if err := db.writeMetaSlot(slot, m); err != nil {
		return err
	}
	db.written = f.tx
	db.slots[slot] = slotState{m.TxID, m.End}
	f.g.writes++
	if !sync {
		db.promised = f.tx
		return nil
	}
	if mutant.Is(mutant.PublishEarly) {
		db.published.Store(&snapshot{meta: *m})
	}
	if err := db.file.Sync(fsync.OpSync); err != nil {
		return fmt.Errorf("sync transaction %d: %w", f.tx, err)
	}
	db.durable, db.durableSlot = f.tx, slot
	return nil
}

// publish makes the commit visible.
func (f *flush) publish(m *page.Meta) {
	db := f.db
	snap := &snapshot{meta: *m}
	if db.durable == m.TxID {
		db.proven = snap
	}
	db.published.Store(snap)
	db.endPages.Store(uint64(m.End))
	f.g.flushed.Store(true)
	db.gauge()
	db.shrink()
}

// writeMetaSlot writes one meta slot. A failure poisons, see flush.run.
func (db *DB) writeMetaSlot(slot int, m *page.Meta) error {
	b := &db.metaImage
	page.EncodeMeta(b[:], m, db.hasher)
	if err := db.file.WriteAt(fsync.OpMetaWrite, b[:], int64(slot)*int64(db.pageSize)); err != nil {
		return fmt.Errorf("write meta page %d of transaction %d: %w", slot, m.TxID, err)
	}
	return nil
}
