package lightning

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/lightning-db/lightning/page"
)

// FuzzSpaceMap forges a map of free pages as the input says (bitmaps, an index
// of one level or two, a log in pages and in the meta slot), and then takes and
// gives pages by it. It proves: a map that is right is read as exactly what it
// says; one that is wrong is refused as damage, or gives out nothing that it
// does not call free; no page is given out twice; what a transaction did is
// undone by its rollback; and what it wrote reads back as the same map. Digests
// are not looked at. Ten minutes of it:
//
//	go test . -run '^$' -fuzz '^FuzzSpaceMap$' -fuzztime=10m
func FuzzSpaceMap(f *testing.F) {
	for i := range uint32(16) {
		var seed []byte
		x := i*2654435761 + 99
		for range 40 + 10*i {
			x = x*1664525 + 1013904223
			seed = append(seed, byte(x>>24))
		}
		f.Add(seed)
	}
	db := openForForgery(f)
	f.Fuzz(func(t *testing.T, input []byte) {
		input = input[:min(len(input), 1<<10)] // longer programs find nothing that these do not
		watch(t, "FuzzSpaceMap")
		g := &spaceForger{t: t, db: db, input: input}
		g.forge()
		g.run()
	})
}

const (
	forgedSpaceSize  = page.MinSize // bytes a page
	forgedSpacePages = 4 * (forgedSpaceSize - page.HeaderSize) * 8
)

// openForForgery opens a database in a file with many pages that hold nothing.
func openForForgery(t testing.TB) *DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "forged")
	options := &Options{PageSize: forgedSpaceSize, Durability: NoSync, Verify: VerifyNever}
	for _, prepare := range []func() error{
		func() error { return nil },
		func() error { return os.Truncate(path, forgedSpacePages*forgedSpaceSize) },
	} {
		if err := prepare(); err != nil {
			t.Fatal(err)
		}
		db, err := Open(path, 0o600, options)
		if err != nil {
			t.Fatal(err)
		}
		if db.filePages.Load() == forgedSpacePages {
			t.Cleanup(func() {
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			})
			return db
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the file is shorter than it was made")
	return nil
}

// spaceForger makes a map and knows what it says.
type spaceForger struct {
	t     *testing.T
	db    *DB
	input []byte

	meta  page.Meta
	free  []bool // by page, as the map says
	next  page.ID
	doubt bool // the map contradicts itself: it may be refused, or not
}

func (g *spaceForger) byte() byte {
	if len(g.input) == 0 {
		return 0
	}
	b := g.input[0]
	g.input = g.input[1:]
	return b
}

// n returns a number in [0, limit).
func (g *spaceForger) n(limit int) int {
	if limit <= 256 {
		return int(g.byte()) % max(limit, 1)
	}
	return (int(g.byte()) | int(g.byte())<<8 | int(g.byte())<<16) % limit
}

func (g *spaceForger) seldom() bool { return g.byte()%16 == 15 }

func (g *spaceForger) forge() {
	chunk := page.SpaceChunk(forgedSpaceSize)
	ends := [...]int{48, 300, chunk - 8, chunk, 2*chunk - 8, 2 * chunk, 3 * chunk, 3*chunk + 150}
	end := ends[g.n(len(ends))] + g.n(16)
	g.meta = page.Meta{PageSize: forgedSpaceSize, End: page.ID(end), TxID: 100, DurableTx: 100}
	g.free = make([]bool, forgedSpacePages)
	g.next = 2
	entries := g.bitmaps(chunk)
	if len(entries) > 0 {
		g.meta.Space = g.index(entries)
	}
	limit := max(end, len(entries)*chunk)
	for range g.n(3) {
		b := make([]byte, forgedSpaceSize)
		page.InitSpaceLog(b, g.meta.SpaceLog, g.records(limit))
		g.meta.SpaceLog = g.write(b)
		g.meta.LogPages++
	}
	g.meta.Inline = g.records(limit)
	for p, free := range g.free {
		if free {
			g.meta.SpaceFree++
			g.doubt = g.doubt || p < 2 || p >= end
		}
	}
	if g.seldom() {
		g.meta.LogPages, g.doubt = uint32(g.byte()), true
	}
	if g.seldom() {
		g.meta.SpaceFree, g.doubt = uint64(g.byte()), true
	}
}

// write places a page of the map in the file.
func (g *spaceForger) write(b []byte) page.Ref {
	r := page.Ref{ID: g.next, Birth: 90}
	page.Stamp(b, r.ID, r.Birth)
	g.place(r.ID, b)
	g.next++
	return r
}

func (g *spaceForger) place(id page.ID, b []byte) {
	if _, err := g.db.file.OSFile().WriteAt(b, g.db.offset(id)); err != nil {
		g.t.Fatal(err)
	}
	g.db.verified.clear(id)
}

// bitmaps writes up to four bitmaps and returns their entries.
func (g *spaceForger) bitmaps(chunk int) (entries []page.SpaceEntry) {
	for c := range g.n(5) {
		kind := g.byte()
		if kind%8 == 0 {
			entries = append(entries, page.SpaceEntry{})
			continue
		}
		bits := g.free[c*chunk : (c+1)*chunk]
		for range g.n(8) {
			from := g.n(chunk)
			to := min(from+1+g.n(1<<(kind%8)), chunk)
			if kind < 240 { // else also pages that cannot be free
				from, to = max(from, int(g.next)+8-c*chunk), min(to, int(g.meta.End)-c*chunk)
			}
			for i := from; i < to; i++ {
				bits[i] = true
			}
		}
		b := make([]byte, forgedSpaceSize)
		to := page.InitSpaceLeaf(b)
		e := page.SpaceEntry{}
		run := uint32(0)
		for i, free := range bits {
			if !free {
				run = 0
				continue
			}
			to[i/8] |= 1 << (i % 8)
			run++
			e.Free++
			e.MaxRun = max(e.MaxRun, run)
		}
		if g.seldom() {
			e.Free, e.MaxRun, g.doubt = e.Free+uint32(g.n(5))-2, e.MaxRun+uint32(g.n(5))-2, true
		}
		e.Ref = g.write(b)
		entries = append(entries, e)
	}
	return entries
}

// index writes an index over the entries, of one level or two.
func (g *spaceForger) index(entries []page.SpaceEntry) page.Ref {
	level := 1
	if cut := g.n(4); cut > 0 && cut < len(entries) {
		var above []page.SpaceEntry
		for _, part := range [][]page.SpaceEntry{entries[:cut], entries[cut:]} {
			b := make([]byte, forgedSpaceSize)
			page.InitSpaceIndex(b, level, part)
			above = append(above, page.SpaceEntry{Ref: g.write(b)})
		}
		entries, level = above, 2
	}
	b := make([]byte, forgedSpaceSize)
	page.InitSpaceIndex(b, level, entries)
	for g.seldom() { // any byte of header and entries
		b[g.n(page.HeaderSize+len(entries)*(page.RefSize+8))] = g.byte()
		g.doubt = true
	}
	r := g.write(b)
	if page.IDOf(b) != r.ID || page.BirthOf(b) != r.Birth {
		g.t.Fatal("a stamp does not hold")
	}
	return r
}

// records returns a log of changes to the map and makes them.
func (g *spaceForger) records(limit int) (log []byte) {
	for range g.n(24) {
		start := 2 + g.n(limit-2)
		most := 1 + g.n(1<<g.n(12))
		r := page.SpaceRecord{Start: page.ID(start), Freed: !g.free[start]}
		for ; r.Pages < uint64(most) && start+int(r.Pages) < limit && g.free[start+int(r.Pages)] != r.Freed; r.Pages++ {
		}
		if start >= int(g.meta.End) || start <= int(g.next)+8 || start+int(r.Pages) > int(g.meta.End) {
			if !g.seldom() {
				continue // where nothing should be free
			}
		}
		if g.seldom() {
			r.Pages, r.Freed = uint64(g.byte()), g.byte()%2 == 0
		}
		log = page.AppendSpaceRecord(log, r)
		g.apply(r)
	}
	if g.seldom() {
		log, g.doubt = append(log, g.byte(), g.byte(), g.byte()), true
	}
	return log
}

// apply makes the change that r records, above the end of the file, too: a log
// that leaves pages free there contradicts itself.
func (g *spaceForger) apply(r page.SpaceRecord) {
	stop := int(r.Start) + int(r.Pages)
	g.doubt = g.doubt || r.Pages == 0 || stop > len(g.free)
	for p := int(r.Start); p < min(stop, len(g.free)); p++ {
		g.doubt = g.doubt || g.free[p] == r.Freed
		g.free[p] = r.Freed
	}
}

// run opens the map and uses it.
func (g *spaceForger) run() {
	s, err := openSpace(g.db, &g.meta)
	var is []bool
	if err == nil {
		is, err = g.freeOf(s)
	}
	if err != nil {
		if !g.doubt || !errors.Is(err, ErrChecksum) && !errors.Is(err, errFreeMapDamaged) {
			g.t.Fatalf("a map that is right is refused: %v", err)
		}
		return
	}
	if !g.doubt {
		g.same("as read", is, g.free)
	}
	g.spend(s, is)
}

// freeOf returns the free pages of s.
func (g *spaceForger) freeOf(s *space) ([]bool, error) {
	is := make([]bool, forgedSpacePages)
	at, sum := uint64(2), uint64(0)
	err := s.free.forEachFree(func(start, n uint64) bool {
		if start < at || n == 0 || start+n > s.free.end() {
			g.t.Fatalf("pages %d+%d are free after %d, with the end at %d", start, n, at, s.free.end())
		}
		for p := start; p < start+n; p++ {
			is[p] = true
		}
		at, sum = start+n+1, sum+n
		return true
	})
	if err == nil && sum != s.free.freePages() {
		g.t.Fatalf("%d pages are free, counted as %d", sum, s.free.freePages())
	}
	return is, err
}

func (g *spaceForger) same(what string, got, want []bool) {
	g.t.Helper()
	for p := range want {
		if got[p] != want[p] {
			g.t.Fatalf("%s: page %d is free: %t, want %t", what, p, got[p], want[p])
		}
	}
}

// spaceSpender runs one transaction's changes of the map beside what they
// should be.
type spaceSpender struct {
	*spaceForger
	s    *space
	e    *spaceEdit
	free []bool
	end  uint64
	seen int // of e.ops
}

// spend takes and gives pages, and ends in a rollback or a commit.
func (g *spaceForger) spend(s *space, is []bool) {
	before, end := append([]bool(nil), is...), s.free.end()
	w := &spaceSpender{spaceForger: g, s: s, e: s.edit(101, forgedSpacePages-1), free: is, end: end}
	var err error
	for range 1 + g.n(32) {
		if err = w.step(); err != nil {
			break
		}
	}
	rollback := g.seldom()
	if err == nil && !rollback {
		err = w.e.finish()
		w.follow()
	}
	if err == nil && !rollback {
		w.commit(before)
		return
	}
	if !rollback && !errors.Is(err, ErrChecksum) && !errors.Is(err, ErrMaxSizeReached) {
		g.t.Fatalf("a change of the map: %v", err)
	}
	if err := w.e.rollback(); err != nil {
		if !g.doubt || !errors.Is(err, ErrChecksum) {
			g.t.Fatalf("rollback: %v", err)
		}
		return // a bitmap that was not needed until then is damaged
	}
	now, err := g.freeOf(s)
	if err != nil || s.free.end() != end {
		g.t.Fatalf("after a rollback the end is %d, %v, want %d", s.free.end(), err, end)
	}
	g.same("after a rollback", now, before)
}

// step takes or gives once.
func (w *spaceSpender) step() error {
	if w.n(3) > 0 {
		n := uint64(1 + w.n(1<<w.n(10)))
		id, got, err := w.e.take(n, w.n(2) == 0)
		if err == nil && (got == 0 || got > n || uint64(id) < 2 || uint64(id)+got > w.s.free.end()) {
			w.t.Fatalf("%d pages wanted, got %d+%d, with the end at %d", n, id, got, w.s.free.end())
		}
		w.follow()
		return err
	}
	x := extent{page.ID(w.n(int(w.end))), 1 + w.n(8), 50}
	legal := x.id >= 2 && uint64(x.id)+uint64(x.pages) <= w.end
	for p := uint64(x.id); legal && p < uint64(x.id)+uint64(x.pages); p++ {
		legal = !w.free[p]
	}
	err := w.e.give(x)
	w.follow()
	if legal != (err == nil) && !(w.doubt && errors.Is(err, ErrChecksum)) {
		w.t.Fatalf("giving pages %d+%d: %v, while that is right: %t", x.id, x.pages, err, legal)
	}
	if err != nil && !legal {
		return nil // refused, and nothing has changed
	}
	return err
}

// follow makes the changes that the edit recorded since.
func (w *spaceSpender) follow() {
	w.t.Helper()
	for ; w.seen < len(w.e.ops); w.seen++ {
		op := w.e.ops[w.seen]
		was, will := true, false
		switch op.kind {
		case spaceExtend:
			was = false
			if op.start != w.end {
				w.t.Fatalf("the file grows from page %d, its end is %d", op.start, w.end)
			}
			w.end += op.pages
		case spaceGive:
			was, will = false, true
		case spaceCut:
			if op.start+op.pages != w.end {
				w.t.Fatalf("pages %d+%d are cut off at the end, which is %d", op.start, op.pages, w.end)
			}
			w.end = op.start
		}
		for p := op.start; p < op.start+op.pages; p++ {
			if w.free[p] != was {
				w.t.Fatalf("operation %d on pages %d+%d: page %d is free: %t", op.kind, op.start, op.pages, p, w.free[p])
			}
			w.free[p] = will
		}
	}
}

// commit places what the edit wrote in the file and reads it.
func (w *spaceSpender) commit(before []bool) {
	w.t.Helper()
	now, err := w.freeOf(w.s)
	if err != nil || w.s.free.end() != w.end {
		w.t.Fatalf("before a commit the end is %d, %v, want %d", w.s.free.end(), err, w.end)
	}
	w.same("before a commit", now, w.free)
	m := page.Meta{
		PageSize: forgedSpaceSize, TxID: 101, DurableTx: 100, End: page.ID(w.end),
		Space: w.e.top, LogPages: uint32(len(w.e.log)), Inline: w.e.inline, SpaceFree: w.s.free.freePages(),
	}
	if len(w.e.log) > 0 {
		m.SpaceLog = w.e.log[len(w.e.log)-1]
	}
	if len(m.Inline) > page.InlineCapacity {
		w.t.Fatalf("%d bytes of log for the meta page", len(m.Inline))
	}
	readable := !w.doubt
	for _, p := range w.e.pages {
		if !before[p.id] && p.id < w.meta.End {
			w.t.Fatalf("page %d is in use and written over", p.id)
		}
		w.place(p.id, p.buf)
	}
	w.e.commit()
	for id := page.ID(2); id < w.next; id++ {
		readable = readable && !before[id] // else the map may have been written over
	}
	if !readable {
		return
	}
	again, err := openSpace(w.db, &m)
	if err != nil {
		w.t.Fatalf("the map that was written is refused: %v", err)
	}
	now, err = w.freeOf(again)
	if err != nil {
		w.t.Fatalf("the map that was written: %v", err)
	}
	w.same("read again", now, w.free)
}

// A log that leaves pages above the end of the file free was accepted, for
// what is above was not looked at. When the file had grown over them, the same
// log said something else, and the file did not open any more.
func TestOpenSpace_FreeAboveTheEnd(t *testing.T) {
	db := openForForgery(t)
	log := page.AppendSpaceRecord(nil, page.SpaceRecord{Start: 90, Pages: 50, Freed: true})
	m := &page.Meta{PageSize: forgedSpaceSize, End: 100, TxID: 100, DurableTx: 100, Inline: log, SpaceFree: 10}
	if _, err := openSpace(db, m); !errors.Is(err, ErrChecksum) {
		t.Errorf("got %v, want %v", err, ErrChecksum)
	}
	m.Inline = page.AppendSpaceRecord(m.Inline, page.SpaceRecord{Start: 100, Pages: 40})
	if _, err := openSpace(db, m); err != nil {
		t.Errorf("a log that takes back what is above the end: %v", err)
	}
}
