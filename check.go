package lightning

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

// CheckLevel says how deep Tx.Check looks. Each level includes those before it.
type CheckLevel uint8

const (
	// CheckDigest recomputes the digest of every page.
	CheckDigest CheckLevel = iota + 1
	// CheckStructure looks into pages: bounds, cells, order of keys.
	CheckStructure
	// CheckLogic looks at the whole: key ranges, equal depth, counts, and that
	// every page of the file is used or free, exactly once. The default.
	CheckLogic
)

// CheckOption is an option of Tx.Check.
type CheckOption func(*checkConfig)

type checkConfig struct {
	ctx      context.Context
	kv       KVStringer
	from     uint64
	level    CheckLevel
	progress func(done, total int64)
}

// WithKVStringer makes Tx.Check show keys by way of kv; default is hex.
func WithKVStringer(kv KVStringer) CheckOption { return func(c *checkConfig) { c.kv = kv } }

// WithPageId makes Tx.Check look only at the given page and what is below it.
func WithPageId(id uint64) CheckOption { return func(c *checkConfig) { c.from = id } }

// WithCheckLevel sets how deep Tx.Check looks; default is CheckLogic.
func WithCheckLevel(level CheckLevel) CheckOption { return func(c *checkConfig) { c.level = level } }

// WithCheckProgress makes Tx.Check report the pages looked at, in its goroutine.
func WithCheckProgress(fn func(done, total int64)) CheckOption {
	return func(c *checkConfig) { c.progress = fn }
}

// WithCheckContext makes Tx.Check stop when ctx ends; the last error it sends is
// then that of ctx.
func WithCheckContext(ctx context.Context) CheckOption {
	return func(c *checkConfig) { c.ctx = ctx }
}

// Check looks for damage in the state that a read-only transaction sees, or in
// the newest committed state for a writable one, and sends what it finds. The
// channel is closed at the end; if it is not drained, the goroutine behind it
// stays until the transaction has ended and the database is closed. Every page
// is read again, whether verified before or not. It is safe beside readers and
// writers.
func (tx *Tx) Check(options ...CheckOption) <-chan error {
	config := checkConfig{ctx: context.Background(), level: CheckLogic, kv: HexKVStringer()}
	for _, o := range options {
		o(&config)
	}
	found := make(chan error)
	snap, release, err := tx.pin()
	go func() {
		defer close(found)
		if err != nil {
			tx.send(found, err)
			return
		}
		defer release()
		ctx, stop := context.WithCancel(config.ctx)
		defer stop()
		config.ctx = ctx
		newChecker(tx.db, &snap.meta, config, func(err error) {
			if !tx.send(found, err) {
				stop()
			}
		}).run()
	}()
	return found
}

// send sends err to whoever drains found. It gives up when the transaction has
// ended and Close waits: a Check that nobody listens to must not hold it up.
func (tx *Tx) send(found chan<- error, err error) bool {
	select {
	case found <- err:
		return true
	case <-tx.db.closed:
	}
	for !tx.closed.Load() {
		select {
		case found <- err:
			return true
		case <-time.After(time.Millisecond):
		}
	}
	return false
}

// pin keeps the snapshot of a read-only transaction, or the newest one for a
// writable one, from being reused until release is called.
func (tx *Tx) pin() (snap *snapshot, release func(), err error) {
	db := tx.db
	if tx.closed.Load() {
		return nil, nil, ErrTxClosed
	}
	if tx.writable {
		r, err := db.beginRead()
		if err != nil {
			return nil, nil, err
		}
		return r.snap, r.rollback, nil
	}
	// The transaction itself holds the snapshot until this slot does.
	slot := db.readers.enter(tx.id)
	return tx.snap, func() { db.leave(slot) }, nil
}

// strictCheck is DB.StrictMode.
func (db *DB) strictCheck() error {
	if !db.StrictMode {
		return nil
	}
	err := db.View(func(tx *Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	if errors.Is(err, ErrDatabaseNotOpen) {
		return nil // closed by another goroutine; the commit stands
	}
	return err
}

// checker walks one state. It trusts nothing it has not checked.
type checker struct {
	db     *DB
	meta   *page.Meta
	config checkConfig
	report func(error)

	seen   []uint64 // pages reached, one bit each
	done   int64
	below  int // > 0 within the subtree that WithPageId asks for
	failed bool
	ended  bool // the context has ended
}

func newChecker(db *DB, m *page.Meta, config checkConfig, report func(error)) *checker {
	return &checker{db: db, meta: m, config: config, report: report, seen: make([]uint64, (m.End+63)/64)}
}

func (c *checker) run() {
	c.guard(func() { c.bucket(&place{}, c.meta.Root, nil) })
	if c.config.from != 0 {
		return
	}
	c.guard(c.spaceMap)
	if c.config.level >= CheckLogic && !c.failed {
		c.guard(c.account)
	}
}

// guard turns faults of the mapping within fn into a report.
func (c *checker) guard(fn func()) {
	if err := c.db.guarded(func() error { fn(); return nil }); err != nil {
		c.fail(err)
	}
}

func (c *checker) fail(err error) {
	c.failed = true
	if c.config.from == 0 || c.below > 0 {
		c.report(err)
	}
}

func (c *checker) problem(id page.ID, format string, args ...any) {
	c.fail(c.db.corrupt(uint64(id), fmt.Sprintf(format, args...), nil))
}

// load reads an extent and checks that it is what d demands, and that nobody
// else has claimed its pages. It returns nil, having reported, if not.
func (c *checker) load(d walk.Demand) []byte {
	if c.stop() {
		return nil
	}
	id := d.Ref.ID
	if id < 2 || uint64(id)+uint64(d.Pages) > uint64(c.meta.End) {
		c.problem(id, "extent of %d pages lies outside the file of %d", d.Pages, c.meta.End)
		return nil
	}
	for i := id; i < id+page.ID(d.Pages); i++ {
		if c.seen[i/64]>>(i%64)&1 != 0 {
			c.problem(i, "page is referred to twice")
			return nil
		}
		c.seen[i/64] |= 1 << (i % 64)
	}
	c.done += int64(d.Pages)
	if c.config.progress != nil {
		c.config.progress(c.done, int64(c.meta.End)-2)
	}
	var b []byte
	ok := false
	c.guard(func() {
		if b, ok = c.db.data.At(c.db.offset(id), d.Pages*c.db.pageSize); !ok {
			c.problem(id, "extent is not mapped")
			return
		}
		ok = c.examine(d, b)
	})
	if !ok {
		return nil
	}
	return b
}

// stop reports whether the context has ended; nothing is read then.
func (c *checker) stop() bool {
	if !c.ended && c.config.ctx.Err() != nil {
		c.ended, c.failed = true, true
		c.report(c.config.ctx.Err())
	}
	return c.ended
}

// examine checks digest, header and structure of the extent b. Structure is
// checked at every level: what follows reads the page.
func (c *checker) examine(d walk.Demand, b []byte) bool {
	if got := page.Digest(c.db.hasher.Sum(b)); got != d.Ref.Digest {
		c.fail(c.db.corruptDigest(uint64(d.Ref.ID), [24]byte(d.Ref.Digest), [24]byte(got)))
		return false
	}
	if err := d.Match(b); err != nil {
		c.fail(c.db.fault(err))
		return false
	}
	return true
}

// bounds are the keys that a subtree may hold: [lo, hi), nil = open.
type bounds struct{ lo, hi []byte }

// place is where a bucket is. Names are put together only for a report: whole
// paths of buckets nested in each other would take memory with the square of
// the depth.
type place struct {
	above *place // nil for the root
	name  []byte
	level int // buckets around it
}

// shownNames is how many names of a path are shown at its start and at its end.
const shownNames = 8

// show returns the path of the bucket, without names in the middle if there are
// too many of them.
func (p *place) show(kv KVStringer) string {
	var names []string
	hidden := max(p.level-2*shownNames, 0)
	for ; p.above != nil; p = p.above {
		switch {
		case hidden == 0 || p.level <= shownNames || p.level > shownNames+hidden:
			names = append(names, kv.KeyToString(p.name))
		case p.level == shownNames+1:
			names = append(names, fmt.Sprintf("(%d more)", hidden))
		}
	}
	names = append(names, "")
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// nested checks the bucket in cell i of the leaf n.
func (c *checker) nested(in *place, name []byte, n page.Node, i int) {
	p := &place{above: in, name: name, level: in.level + 1}
	if p.level > MaxBucketDepth {
		c.fail(fmt.Errorf("%s: page %d: bucket %q: %w", c.db.path, page.IDOf(n), p.show(c.config.kv), ErrBucketDepth))
		return
	}
	cell := n.Cell(i)
	c.bucket(p, page.GetBucket(cell.Value()), page.InlineOf(cell.Value()))
}

// bucket checks the tree of one bucket and counts its keys.
func (c *checker) bucket(at *place, h page.Bucket, inline page.Node) {
	var n uint64
	switch {
	case inline != nil:
		n = uint64(inline.Count())
	case !h.Root.IsZero():
		n = c.tree(at, walk.Tree(h.Root), bounds{})
	}
	if n != h.Count && c.config.level >= CheckLogic && !c.failed {
		c.problem(h.Root.ID, "bucket %q holds %d keys, its header says %d", at.show(c.config.kv), n, h.Count)
	}
}

// tree checks the subtree at d and returns its number of keys.
func (c *checker) tree(in *place, d walk.Demand, within bounds) (keys uint64) {
	if uint64(d.Ref.ID) == c.config.from {
		c.below++
		defer func() { c.below-- }()
	}
	b := c.load(d)
	if b == nil {
		return 0
	}
	n := page.Node(b)
	if n.Level() >= maxHeight {
		c.problem(d.Ref.ID, "tree of %d levels is taller than any can grow", n.Level()+1)
		return 0
	}
	if n.IsBranch() {
		return c.branch(in, n, within)
	}
	c.leaf(in, n, within)
	return uint64(n.Count())
}

func (c *checker) branch(in *place, n page.Node, within bounds) (keys uint64) {
	separators := make([][]byte, n.Count()+1)
	separators[0], separators[n.Count()] = within.lo, within.hi
	for i := 1; i < n.Count(); i++ {
		separators[i] = c.key(n, i)
		c.order(n, i, separators[i-1], separators[i], within)
	}
	var buf [3]page.RefAt
	for i := range n.Count() {
		if i%maxAhead == 0 && c.db.sparing.Load() {
			c.db.readAhead(n, i, 1, maxAhead)
		}
		for _, at := range n.Refs(i, &buf) {
			if at.Kind == page.RefChild {
				keys += c.tree(in, walk.Child(n, at, c.db.pageSize), bounds{separators[i], separators[i+1]})
			}
		}
	}
	return keys
}

func (c *checker) leaf(in *place, n page.Node, within bounds) {
	var before []byte
	var buf [3]page.RefAt
	for i := range n.Count() {
		key := c.key(n, i)
		c.order(n, i, before, key, within)
		before = key
		for _, at := range n.Refs(i, &buf) {
			if at.Kind == page.RefValue {
				c.payload(n, at)
			}
		}
		if cell := n.Cell(i); cell.IsBucket() {
			c.nested(in, key, n, i)
		}
	}
}

// order checks that key i stands between the key before it and its bounds.
func (c *checker) order(n page.Node, i int, before, key []byte, in bounds) {
	if c.config.level < CheckLogic || key == nil {
		return
	}
	show := c.config.kv.KeyToString
	if before != nil && bytes.Compare(before, key) >= 0 {
		c.problem(page.IDOf(n), "key %d, %s, is not greater than %s before it", i, show(key), show(before))
	}
	if in.lo != nil && bytes.Compare(key, in.lo) < 0 {
		c.problem(page.IDOf(n), "key %d, %s, is below the page's range from %s", i, show(key), show(in.lo))
	}
	if in.hi != nil && bytes.Compare(key, in.hi) >= 0 {
		c.problem(page.IDOf(n), "key %d, %s, is above the page's range to %s", i, show(key), show(in.hi))
	}
}

// key returns the full key of cell i, or nil if its extent is bad.
func (c *checker) key(n page.Node, i int) []byte {
	cell := n.Cell(i)
	if !cell.IsLong() {
		return cell.Known()
	}
	var buf [3]page.RefAt
	for _, at := range n.Refs(i, &buf) {
		if at.Kind != page.RefKey {
			continue
		}
		key := c.payload(n, at)
		if key != nil && !bytes.HasPrefix(key, cell.Known()) {
			c.problem(page.IDOf(n), "long key %d does not begin as its cell says", i)
		}
		return key
	}
	return nil
}

// payload checks the extent that at leads to and returns its content.
func (c *checker) payload(n page.Node, at page.RefAt) []byte {
	b := c.load(walk.Child(n, at, c.db.pageSize))
	if b == nil {
		return nil
	}
	data, err := page.Payload(b, at.Length)
	if err != nil {
		c.problem(page.IDOf(b), "%v", err)
		return nil
	}
	return data
}

// spaceMap checks the pages of the map of free pages.
func (c *checker) spaceMap() {
	if !c.meta.Space.IsZero() {
		c.spaceIndex(walk.SpaceTop(c.meta.Space))
	}
	for r := c.meta.SpaceLog; !r.IsZero(); {
		b := c.load(walk.SpaceLog(r))
		if b == nil {
			return
		}
		prev, _, err := page.SpaceLog(b)
		if err != nil {
			c.problem(r.ID, "%v", err)
			return
		}
		r = prev
	}
}

func (c *checker) spaceIndex(d walk.Demand) {
	b := c.load(d)
	if b == nil || page.TypeOf(b) != page.TypeSpaceIndex {
		return
	}
	x := page.SpaceIndex(b)
	for i := range x.Count() {
		if e := x.Entry(i); !e.Ref.IsZero() {
			c.spaceIndex(walk.SpaceChild(e.Ref, page.LevelOf(b)))
		}
	}
}

// account checks that every page is either used or free.
func (c *checker) account() {
	s, err := openSpace(c.db, c.meta)
	if err != nil {
		c.fail(err)
		return
	}
	next := uint64(2) // first page not accounted for
	err = s.free.forEachFree(func(start, n uint64) bool {
		c.mustBeUsed(next, start)
		for p := start; p < start+n; p++ {
			if c.seen[p/64]>>(p%64)&1 != 0 {
				c.problem(page.ID(p), "page is in use and on the map of free pages")
			}
		}
		next = start + n
		return true
	})
	if err != nil {
		c.fail(err)
		return
	}
	c.mustBeUsed(next, uint64(c.meta.End))
}

// mustBeUsed reports the pages in [from, to), none of them free, that nothing
// refers to.
func (c *checker) mustBeUsed(from, to uint64) {
	for p := from; p < to; p++ {
		if c.seen[p/64]>>(p%64)&1 == 0 {
			c.problem(page.ID(p), "page is neither in use nor free")
		}
	}
}
