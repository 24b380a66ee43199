package salvage

import (
	"bytes"

	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

// What is put in the place of what is lost, in this order, and never over
// what is there:
//
//	attested children of the damaged page itself
//	orphans that are younger than the older state (with Options.Orphans)
//	the older state
//	other orphans (with Options.Orphans), youngest first
//
// So the newest of what there is wins.

// fillPages is how many pages for each page of the file may be read to fill gaps. No
// damage needs so many; a forged file can ask for more without end.
const fillPages = 32

// fill fills the gaps.
func (u *run) fill() error {
	if len(u.losses) == 0 {
		return nil
	}
	u.budget = fillPages*int64(u.s.pages) + 1<<16
	var orphans [][]orphan
	if u.o.Orphans {
		var err error
		if orphans, err = u.findOrphans(); err != nil {
			return err
		}
	}
	buckets := map[*Path]*Bucket{}
	for _, b := range u.s.report.Damaged {
		buckets[b.Path] = b
	}
	for i, l := range u.losses {
		if err := u.out.move(l.Bucket); err != nil {
			return err
		}
		var mine []orphan
		if orphans != nil {
			mine = orphans[i]
		}
		if err := u.fillOne(l, mine, buckets[l.Bucket]); err != nil {
			return err
		}
	}
	return nil
}

// fillOne fills the gap l. mine are the orphans that fit it, youngest first.
func (u *run) fillOne(l *loss, mine []orphan, b *Bucket) error {
	with := func(g Grade, fn func(w *walker)) error {
		w := &walker{
			s: u.s, out: u.out, grade: g, seen: walk.PageSet{}, bad: walk.PageSet{},
			clip: l.in, saved: &l.Saved, spend: u.spend,
		}
		fn(w)
		if b != nil {
			b.Saved[g] += w.keys
		}
		return w.err
	}
	if l.node {
		if err := with(Attested, func(w *walker) { u.attested(w, l) }); err != nil {
			return err
		}
	}
	young := 0
	for u.older != nil && young < len(mine) && mine[young].birth > u.older.TxID {
		young++
	}
	adopt := func(list []orphan) error {
		for _, o := range list {
			if err := with(Orphan, func(w *walker) { u.adopt(w, l, o) }); err != nil {
				return err
			}
		}
		return nil
	}
	if err := adopt(mine[:young]); err != nil {
		return err
	}
	if h, inline, ok := u.olderBucket(l.Bucket); ok {
		if err := with(Older, func(w *walker) {
			if inline == nil && !h.Root.IsZero() {
				w.tree(l.Bucket, walk.Tree(h.Root), bounds{})
				return
			}
			for i := 0; inline != nil && i < inline.Count() && w.err == nil; i++ {
				if c := inline.Cell(i); l.in.has(c.Known()) {
					w.put(c.Known(), c.Value())
				}
			}
		}); err != nil {
			return err
		}
	}
	return adopt(mine[young:])
}

// spend reports whether one more page may be read to fill gaps.
func (u *run) spend() bool {
	if u.budget--; u.budget >= 0 {
		return true
	}
	u.s.report.Curtailed = true
	return false
}

// attested saves the subtrees whose digests the damaged page of l holds. The page
// must be the one that its parent means: in its place, of its birth and level. Pages
// that are reached from the newest root are where they belong already.
func (u *run) attested(w *walker, l *loss) {
	if u.s.hasher == nil || l.demand.Ref.ID < 2 || l.demand.Ref.ID >= u.s.pages || !u.spend() {
		return
	}
	b := make([]byte, u.s.pageSize)
	if u.s.read(l.demand.Ref.ID, b) != nil {
		return
	}
	level := page.LevelOf(b)
	if page.MatchHeader(b, l.demand.Ref, page.TypeBranch, 1) != nil || level < 1 || level >= maxHeight ||
		l.demand.Level != walk.AnyLevel && l.demand.Level != level {
		return
	}
	// Cells have no fixed places, and the slots that lead to them may be what is damaged.
	tries := len(b) / page.RefSize
	for at := page.HeaderSize; at+page.RefSize <= len(b) && tries > 0 && w.err == nil; at++ {
		id, birth := page.PlaceOf(b[at:])
		if id < 2 || id >= u.s.pages || birth == 0 || birth > l.demand.Ref.Birth || u.seen.Has(id) || w.seen.Has(id) {
			continue
		}
		if tries--; !u.spend() {
			return
		}
		d := walk.Child(page.Node(b), page.RefAt{Kind: page.RefChild, Offset: at}, u.s.pageSize)
		if _, err := u.s.extent(d); err != nil {
			continue
		}
		w.tree(l.Bucket, d, l.in)
		at += page.RefSize - 1
	}
}

// olderBucket returns the bucket at p in the older state.
func (u *run) olderBucket(p *Path) (h page.Bucket, inline page.Node, ok bool) {
	if u.older == nil {
		return h, nil, false
	}
	h = u.older.Root
	for _, name := range p.Names() {
		if inline != nil || h.Root.IsZero() {
			return h, nil, false
		}
		payload := u.lookup(h.Root, name)
		if payload == nil {
			return h, nil, false
		}
		h, inline = page.GetBucket(payload), page.InlineOf(payload)
	}
	return h, inline, true
}

// lookup returns the payload of the bucket of the given name in the tree at
// root, nil if it is not there.
func (u *run) lookup(root page.Ref, name []byte) []byte {
	// No walk: pages are looked at again and again here.
	w := &walker{s: u.s, seen: walk.PageSet{}, bad: walk.PageSet{}, spend: u.spend}
	d := walk.Tree(root)
	for range maxHeight {
		if !u.spend() {
			return nil
		}
		b, err := u.s.extent(d)
		if err != nil {
			return nil
		}
		n := page.Node(b)
		var key []byte
		i := n.Count() - 1
		for ; i >= 0; i-- {
			if n.IsBranch() && i == 0 {
				break
			}
			if key, err = w.key(n, i); err != nil {
				return nil
			}
			if bytes.Compare(key, name) <= 0 {
				break
			}
		}
		if i < 0 {
			return nil
		}
		if n.IsBranch() {
			d = walk.Child(n, page.RefAt{Kind: page.RefChild, Offset: n.ChildAt(i)}, u.s.pageSize)
			continue
		}
		c := n.Cell(i)
		if !bytes.Equal(key, name) || !c.IsBucket() {
			return nil
		}
		return bytes.Clone(c.Value())
	}
	return nil
}
