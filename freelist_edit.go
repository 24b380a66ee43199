package lightning

import (
	"bytes"
	"errors"

	"github.com/lightning-db/lightning/page"
)

// spaceEdit is what one flush does to the space map: it can be undone until
// commit. Pages are taken and given up first, then finish writes the map.
type spaceEdit struct {
	s       *space
	tx      page.TxID        // transaction under which the flush's pages are born
	limit   uint64           // pages that the file may have, 0 = no limit
	ops     []spaceOp        // in order, for undo
	records []byte           // in order, for the log
	last    page.SpaceRecord // not in records yet: it may grow
	freed   []freedExtent
	ids     []page.ID   // result of takePages
	net     int64       // pages taken less pages given up
	dumped  []int       // chunks whose bitmaps were dumped, for undo
	pages   []pageWrite // pages of the map itself

	// State of the map on disk after this flush.
	entries []page.SpaceEntry
	top     page.Ref
	index   []extent
	log     []page.Ref
	inline  []byte
}

type spaceOp struct {
	kind  spaceOpKind
	start uint64
	pages uint64
}

type spaceOpKind uint8

const (
	spaceTake   spaceOpKind = iota // free pages were allocated
	spaceExtend                    // the file's end was moved up
	spaceGive                      // pages were freed
	spaceCut                       // the file's end was moved down
)

// edit begins an edit. There is one at a time; it takes over the storage of the
// one before.
func (s *space) edit(tx page.TxID, limit uint64) *spaceEdit {
	// When much of the file is free, what is in use moves to the front, so
	// that the file can be cut.
	s.free.setLowestFirst(s.free.freePages() > s.free.end()/2)
	e := &s.editing
	*e = spaceEdit{
		s: s, tx: tx, limit: limit, entries: s.entries, top: s.top, index: s.index, log: s.log, inline: s.inline,
		ops: reuse(e.ops), records: reuse(e.records), freed: reuse(e.freed), ids: reuse(e.ids),
	}
	return e
}

// take allocates n pages: exactly n in a row if whole, else the next good run
// of at most n.
func (e *spaceEdit) take(n uint64, whole bool) (page.ID, uint64, error) {
	f := e.s.free
	var start uint64
	var ok bool
	var err error
	got := n
	if whole {
		start, ok, err = f.alloc(n)
	} else {
		start, got, ok, err = f.allocUpTo(n)
	}
	if err != nil {
		return 0, 0, e.s.mapError(err)
	}
	if ok {
		e.ops = append(e.ops, spaceOp{spaceTake, start, got})
		e.net += int64(got)
		e.record(start, got, false)
		return page.ID(start), got, nil
	}
	start = f.end()
	if e.limit > 0 && start+n > e.limit {
		return 0, 0, e.s.db.tooLarge(start + n)
	}
	f.setEnd(start + n)
	if f.err != nil {
		return 0, 0, e.s.mapError(f.err)
	}
	e.ops = append(e.ops, spaceOp{spaceExtend, start, n})
	e.net += int64(n)
	return page.ID(start), n, nil
}

// give frees an extent; it becomes reusable by rule A after the commit.
func (e *spaceEdit) give(x extent) error {
	if err := e.s.free.release(uint64(x.id), uint64(x.pages)); err != nil {
		return e.s.mapError(err)
	}
	e.ops = append(e.ops, spaceOp{spaceGive, uint64(x.id), uint64(x.pages)})
	e.net -= int64(x.pages)
	e.record(uint64(x.id), uint64(x.pages), true)
	e.freed = append(e.freed, freedExtent{x, e.tx})
	return nil
}

// record adds to the log; neighbours become one record.
func (e *spaceEdit) record(start, pages uint64, freed bool) {
	if e.last.Freed == freed && uint64(e.last.Start)+e.last.Pages == start && e.last.Pages > 0 {
		e.last.Pages += pages
		return
	}
	if e.last.Pages > 0 {
		e.records = page.AppendSpaceRecord(e.records, e.last)
	}
	e.last = page.SpaceRecord{Start: page.ID(start), Pages: pages, Freed: freed}
}

// takeRecords returns the records since the last call, valid until the next
// record.
func (e *spaceEdit) takeRecords() []byte {
	if e.last.Pages > 0 {
		e.records = page.AppendSpaceRecord(e.records, e.last)
	}
	records := e.records
	e.records, e.last = e.records[:0], page.SpaceRecord{}
	return records
}

func (s *space) mapError(err error) error {
	if damaged := new(*CorruptionError); errors.As(err, damaged) {
		return err // names the page
	}
	return s.db.corrupt(0, "map of free pages", err)
}

// finish brings the map on disk up to date: the end moves below free pages at
// the tail, and the records of this flush go to the log in the meta page, from
// there to log pages when it is full, from there into the bitmaps when the log
// is long.
func (e *spaceEdit) finish() error {
	if err := e.cutTail(); err != nil {
		return err
	}
	log := e.appendInline(e.takeRecords())
	if e.s.fold || e.logPages(len(log)) > e.s.logLimit() {
		if err := e.fold(); err != nil {
			return err
		}
		log = bytes.Clone(e.takeRecords())
	}
	for len(log) > page.InlineCapacity {
		if err := e.spill(log); err != nil {
			return err
		}
		log = bytes.Clone(e.takeRecords())
	}
	e.inline = log
	return nil
}

// appendInline returns the inline log with the records behind it. States that
// were published hold shorter prefixes of the same array: it grows in place,
// and what an edit that was undone left behind them nobody sees.
func (e *spaceEdit) appendInline(records []byte) []byte {
	if cap(e.inline)-len(e.inline) < len(records) {
		grown := make([]byte, len(e.inline), len(e.inline)+len(records)+page.InlineCapacity)
		copy(grown, e.inline)
		e.inline = grown
	}
	return append(e.inline, records...)
}

// cutTail lowers the end of the file to the last page in use.
func (e *spaceEdit) cutTail() error {
	f := e.s.free
	n, err := f.tailReady()
	if err != nil {
		return e.s.mapError(err)
	}
	if n == 0 {
		return nil
	}
	end := f.end() - n
	f.setEnd(end)
	if f.err != nil {
		return e.s.mapError(f.err)
	}
	e.ops = append(e.ops, spaceOp{spaceCut, end, n})
	e.record(end, n, false) // what is cut off is no longer free
	return nil
}

// logPages returns how many log pages there would be if n bytes of records
// that do not fit into the meta page were spilled.
func (e *spaceEdit) logPages(n int) int {
	if n <= page.InlineCapacity {
		return len(e.log)
	}
	room := page.SpaceLogCapacity(e.s.db.pageSize)
	return len(e.log) + (n+room-1)/room
}

// logLimit is how many log pages are kept before they are folded into the
// bitmaps: few enough that Open, which reads them, stays fast, and more when
// there are more bitmaps to rewrite.
func (s *space) logLimit() int {
	return min(4+len(s.entries)/8, 64)
}

// spill moves the records to new log pages.
func (e *spaceEdit) spill(log []byte) error {
	db := e.s.db
	room := page.SpaceLogCapacity(db.pageSize)
	e.log = e.log[:len(e.log):len(e.log)]
	ids, err := e.takePages((len(log) + room - 1) / room)
	if err != nil {
		return err
	}
	for _, id := range ids {
		part := log[:min(room, len(log))]
		log = log[len(part):]
		var prev page.Ref
		if len(e.log) > 0 {
			prev = e.log[len(e.log)-1]
		}
		b := db.buffers.get()
		page.InitSpaceLog(b, prev, part)
		e.log = append(e.log, e.seal(b, id))
	}
	return nil
}

// takePages allocates n single pages, in as few runs as there are. The result is
// valid until the next call.
func (e *spaceEdit) takePages(n int) ([]page.ID, error) {
	ids := e.ids[:0]
	for len(ids) < n {
		start, got, err := e.take(uint64(n-len(ids)), false)
		if err != nil {
			return nil, err
		}
		for i := range got {
			ids = append(ids, start+page.ID(i))
		}
	}
	e.ids = ids
	return ids, nil
}

// seal stamps a page of the map, hashes it and adds it to those to be written.
func (e *spaceEdit) seal(b []byte, id page.ID) page.Ref {
	page.Stamp(b, id, e.tx)
	e.pages = append(e.pages, pageWrite{id, b})
	return page.Ref{ID: id, Birth: e.tx, Digest: page.Digest(e.s.db.hasher.Sum(b))}
}

// fold dumps the bitmaps that changed, which makes the log so far obsolete.
// What fold itself allocates and frees comes after the dump, as new records.
func (e *spaceEdit) fold() error {
	f := e.s.free
	e.dumped = f.dirtyChunks()
	dumps := make(map[int][]byte, len(e.dumped))
	e.entries = append([]page.SpaceEntry(nil), e.entries...)
	var old []extent
	for _, c := range e.dumped {
		bits, free, maxRun, err := f.chunkBitmap(c)
		if err != nil {
			return e.s.mapError(err)
		}
		for len(e.entries) <= c {
			e.entries = append(e.entries, page.SpaceEntry{})
		}
		if r := e.entries[c].Ref; !r.IsZero() {
			old = append(old, extent{r.ID, 1, r.Birth})
		}
		e.entries[c] = page.SpaceEntry{Free: free, MaxRun: maxRun}
		if free > 0 {
			dumps[c] = bits
		}
		f.clearDirty(c)
	}
	for len(e.entries) > 0 && e.entries[len(e.entries)-1].Ref.IsZero() && dumps[len(e.entries)-1] == nil {
		e.entries = e.entries[:len(e.entries)-1]
	}
	for _, r := range e.log {
		old = append(old, extent{r.ID, 1, r.Birth})
	}
	old = append(old, e.index...)
	for _, x := range old {
		if err := e.give(x); err != nil {
			return err
		}
	}
	e.log, e.index = nil, nil
	return e.writeBitmaps(dumps)
}

func (e *spaceEdit) writeBitmaps(dumps map[int][]byte) error {
	ids, err := e.takePages(len(dumps))
	if err != nil {
		return err
	}
	for _, c := range e.dumped {
		bits := dumps[c]
		if bits == nil {
			continue
		}
		b := e.s.db.buffers.get()
		copy(page.InitSpaceLeaf(b), bits)
		e.entries[c].Ref = e.seal(b, ids[0])
		ids = ids[1:]
	}
	return e.writeIndex()
}

// writeIndex builds the index over the bitmaps, level by level.
func (e *spaceEdit) writeIndex() error {
	e.top = page.Ref{}
	level := e.entries
	fanout := page.SpaceFanout(e.s.db.pageSize)
	for height := 1; len(level) > 0; height++ {
		n := (len(level) + fanout - 1) / fanout
		ids, err := e.takePages(n)
		if err != nil {
			return err
		}
		var above []page.SpaceEntry
		for _, id := range ids {
			part := level[:min(fanout, len(level))]
			level = level[len(part):]
			b := e.s.db.buffers.get()
			page.InitSpaceIndex(b, height, part)
			r := e.seal(b, id)
			above = append(above, page.SpaceEntry{Ref: r})
			e.index = append(e.index, extent{id, 1, e.tx})
			e.top = r
		}
		if n == 1 {
			return nil
		}
		level = above
	}
	return nil
}

// commit makes the edit the state of the map; the flush has written it.
func (e *spaceEdit) commit() {
	s := e.s
	s.fresh = append(s.fresh, e.freed...)
	s.fold = false
	s.entries, s.top, s.index, s.log, s.inline = e.entries, e.top, e.index, e.log, e.inline
	e.releaseBuffers()
}

// rollback undoes the edit; nothing that was written is referred to.
func (e *spaceEdit) rollback() error {
	e.releaseBuffers()
	f := e.s.free
	for i := len(e.ops) - 1; i >= 0; i-- {
		op := e.ops[i]
		var err error
		switch op.kind {
		case spaceTake:
			err = f.unalloc(op.start, op.pages)
		case spaceExtend:
			if err = f.unalloc(op.start, op.pages); err == nil {
				f.setEnd(op.start)
				err = f.err
			}
		case spaceGive:
			err = f.unrelease(op.start, op.pages)
		case spaceCut:
			f.setEnd(op.start + op.pages)
			err = f.unalloc(op.start, op.pages)
		}
		if err != nil {
			return e.s.mapError(err)
		}
	}
	for _, c := range e.dumped {
		f.markDirty(c)
	}
	return nil
}

func (e *spaceEdit) releaseBuffers() {
	for _, p := range e.pages {
		e.s.db.buffers.put(p.buf)
	}
	e.pages = nil
}
