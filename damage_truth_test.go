package lightning

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/lightning-db/lightning/page"
)

// damageTruth is what one state of a file holds, and which pages what is read
// depends on.
type damageTruth struct {
	tx      page.TxID
	slot    page.ID // of its meta
	end     page.ID
	kind    map[page.ID]string  // of every page in use, "*" behind those that the meta does not know durable
	extent  map[page.ID]page.ID // first page of the extent that a page in use belongs to
	parent  map[page.ID]page.ID // extent that refers to the extent; the slot for the topmost
	buckets []*damageBucket     // the root first

	inspect BucketStructure
	pages   []PageInfo
	stream  []byte // what WriteTo writes
}

// damageBucket is a bucket in a state.
type damageBucket struct {
	path     []string
	sequence uint64
	entries  []*damageEntry // in order
	open     damageNeeds    // to get at the bucket
	walk     []page.ID      // extents that a walk over it reads, beside those to get at it
	stats    BucketStats
	within   []page.ID // extents of its tree and of those nested in it
}

// damageEntry is a key with a value, or a nested bucket.
type damageEntry struct {
	key, value string
	nested     bool
	damageNeeds
}

// damageNeeds are the extents that reading something takes.
type damageNeeds struct {
	must []page.ID // always
	may  []page.ID // these, and where the search may look for long keys
}

func (n damageNeeds) with(id page.ID) damageNeeds {
	return damageNeeds{append(slices.Clip(n.must), id), append(slices.Clip(n.may), id)}
}

// damageLab is a file in which damaged states are made, one after the other.
type damageLab struct {
	path    string
	file    *os.File
	scratch []byte // where images are made
}

func newDamageLab(t testing.TB, dir, name string) *damageLab {
	t.Helper()
	path := filepath.Join(dir, name+".lab")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return &damageLab{path: path, file: f}
}

func (l *damageLab) close() { l.file.Close() }

// set makes the file hold image.
func (l *damageLab) set(image []byte) error {
	if err := l.file.Truncate(int64(len(image))); err != nil {
		return err
	}
	_, err := l.file.WriteAt(image, 0)
	return err
}

// damageLogger counts warnings.
type damageLogger struct {
	silentLogger
	warnings atomic.Int32
}

func (l *damageLogger) Warningf(string, ...interface{}) { l.warnings.Add(1) }

// truth reads a sound image, page by page and through the API, and compares
// it with the model of its transaction.
func (l *damageLab) truth(t *testing.T, image []byte, models map[uint64]*damageModel) *damageTruth {
	t.Helper()
	if err := l.set(image); err != nil {
		t.Fatal(err)
	}
	db, err := Open(l.path, 0o600, &Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	m := &db.published.Load().meta
	tr := &damageTruth{
		tx: m.TxID, slot: page.ID(db.durableSlot), end: m.End,
		kind: map[page.ID]string{}, extent: map[page.ID]page.ID{}, parent: map[page.ID]page.ID{},
	}
	w := &damageWalk{tr: tr, image: image, meta: m}
	w.space()
	w.bucket(nil, m.Root, nil, damageNeeds{}, tr.slot)
	model := models[uint64(m.TxID)]
	if model == nil {
		t.Fatalf("no model of transaction %d", m.TxID)
	}
	got := newDamageModel()
	for _, b := range tr.buckets {
		at := got
		for _, name := range b.path {
			if at.buckets[name] == nil {
				at.buckets[name] = newDamageModel()
			}
			at = at.buckets[name]
		}
		at.sequence = b.sequence
		for _, e := range b.entries {
			if !e.nested {
				at.values[e.key] = e.value
			}
		}
	}
	if !sameDamageModel(got, model) {
		t.Fatalf("transaction %d is not what was put in", m.TxID)
	}
	if err := db.View(tr.reference); err != nil {
		t.Fatal(err)
	}
	return tr
}

func sameDamageModel(a, b *damageModel) bool {
	if a.sequence != b.sequence || len(a.values) != len(b.values) || len(a.buckets) != len(b.buckets) {
		return false
	}
	for k, v := range a.values {
		if w, ok := b.values[k]; !ok || v != w {
			return false
		}
	}
	for name, sub := range a.buckets {
		if b.buckets[name] == nil || !sameDamageModel(sub, b.buckets[name]) {
			return false
		}
	}
	return true
}

// reference keeps what descriptions of the sound state look like.
func (tr *damageTruth) reference(tx *Tx) error {
	tr.inspect = tx.Inspect()
	for _, b := range tr.buckets {
		bucket := damageBucketAt(tx, b.path)
		if bucket == nil {
			return fmt.Errorf("no bucket %q", b.path)
		}
		b.stats = bucket.Stats()
	}
	for id := range int(tr.end) {
		info, err := tx.Page(id)
		if err != nil {
			return err
		}
		tr.pages = append(tr.pages, *info)
		if _, used := tr.kind[page.ID(id)]; id >= 2 && used == (info.Type == "free") {
			return fmt.Errorf("page %d is %s, in use: %t", id, info.Type, used)
		}
	}
	for err := range tx.Check() {
		return err
	}
	var stream bytes.Buffer
	if _, err := tx.WriteTo(&stream); err != nil {
		return err
	}
	tr.stream = stream.Bytes()
	return tx.Err()
}

// damageBucketAt opens a bucket; the empty path is the root.
func damageBucketAt(tx *Tx, path []string) *Bucket {
	b := tx.Cursor().Bucket()
	for _, name := range path {
		if b = b.Bucket([]byte(name)); b == nil {
			return nil
		}
	}
	return b
}

// damageWalk follows the references of a sound image.
type damageWalk struct {
	tr    *damageTruth
	image []byte
	meta  *page.Meta
}

// claim notes the extent at r and returns it.
func (w *damageWalk) claim(r page.Ref, pages int, kind string, parent page.ID) []byte {
	if r.Birth > w.meta.DurableTx {
		kind += "*"
	}
	for i := range page.ID(pages) {
		w.tr.kind[r.ID+i], w.tr.extent[r.ID+i] = kind, r.ID
	}
	w.tr.parent[r.ID] = parent
	return w.image[int(r.ID)*damagePage:][:pages*damagePage]
}

func (w *damageWalk) space() {
	if !w.meta.Space.IsZero() {
		x := page.SpaceIndex(w.claim(w.meta.Space, 1, "index", w.tr.slot))
		for i := range x.Count() { // so small a file has one level
			if e := x.Entry(i); !e.Ref.IsZero() {
				w.claim(e.Ref, 1, "bitmap", w.meta.Space.ID)
			}
		}
	}
	parent := w.tr.slot
	for r := w.meta.SpaceLog; !r.IsZero(); {
		prev, _, err := page.SpaceLog(w.claim(r, 1, "log", parent))
		if err != nil {
			panic(err)
		}
		parent, r = r.ID, prev
	}
}

// bucket walks one bucket and those nested in it. open is what it takes to get
// at it; the result are the extents of all these trees.
func (w *damageWalk) bucket(path []string, h page.Bucket, inline page.Node, open damageNeeds, parent page.ID) []page.ID {
	b := &damageBucket{path: path, sequence: h.Sequence, open: open}
	w.tr.buckets = append(w.tr.buckets, b)
	switch {
	case inline != nil:
		w.leaf(b, inline, open, parent)
	case !h.Root.IsZero():
		w.tree(b, h.Root, open, parent)
	}
	b.within = append(b.within, b.walk...)
	return b.within
}

func (w *damageWalk) tree(b *damageBucket, r page.Ref, needs damageNeeds, parent page.ID) {
	n := page.Node(w.image[int(r.ID)*damagePage:][:damagePage])
	kind := "leaf"
	switch {
	case n.IsBranch():
		kind = "branch"
	case b.path == nil:
		kind = "root"
	case len(b.path) > 1:
		kind = "nested leaf"
	}
	w.claim(r, 1, kind, parent)
	b.walk = append(b.walk, r.ID)
	needs = needs.with(r.ID)
	if !n.IsBranch() {
		w.leaf(b, n, needs, r.ID)
		return
	}
	for i := range n.Count() {
		w.tree(b, n.Child(i), needs, r.ID)
	}
}

func (w *damageWalk) leaf(b *damageBucket, n page.Node, needs damageNeeds, parent page.ID) {
	keys := make([]page.ID, n.Count())
	var buf [3]page.RefAt
	content := func(at page.RefAt, kind string) (string, page.ID) {
		r := page.GetRef(n[at.Offset:])
		data, err := page.Payload(w.claim(r, page.ExtentPages(at.Length, damagePage), kind, parent), at.Length)
		if err != nil {
			panic(err)
		}
		b.walk = append(b.walk, r.ID)
		return string(data), r.ID
	}
	first := len(b.entries)
	for i := range n.Count() {
		c := n.Cell(i)
		e := &damageEntry{nested: c.IsBucket(), damageNeeds: needs}
		if !c.IsLong() {
			e.key = string(c.Known())
		}
		if !c.IsBig() && !c.IsBucket() {
			e.value = string(c.Value())
		}
		for _, at := range n.Refs(i, &buf) {
			switch at.Kind {
			case page.RefKey:
				e.key, keys[i] = content(at, "key")
			case page.RefValue:
				var id page.ID
				e.value, id = content(at, "value")
				e.damageNeeds = e.with(id)
			}
		}
		b.entries = append(b.entries, e)
	}
	for i, e := range b.entries[first:] {
		for j, id := range keys {
			if id != 0 {
				e.may = append(slices.Clip(e.may), id)
			}
			if id != 0 && i == j {
				e.must = append(slices.Clip(e.must), id)
			}
		}
	}
	for i, e := range b.entries[first:] {
		if e.nested {
			c := n.Cell(i)
			sub := append(slices.Clip(b.path), e.key)
			b.within = append(b.within, w.bucket(sub, page.GetBucket(c.Value()), page.InlineOf(c.Value()), e.damageNeeds, parent)...)
		}
	}
}

// hits returns the extents of the state that the changed pages belong to.
func (tr *damageTruth) hits(changed []page.ID) map[page.ID]bool {
	hits := map[page.ID]bool{}
	for _, id := range changed {
		if start, used := tr.extent[id]; used {
			hits[start] = true
		}
	}
	return hits
}

func touched(hits map[page.ID]bool, ids []page.ID) bool {
	return slices.ContainsFunc(ids, func(id page.ID) bool { return hits[id] })
}

// find returns the entry with the given key, or the one behind it.
func (b *damageBucket) find(key string) (i int, found bool) {
	return slices.BinarySearchFunc(b.entries, key, func(e *damageEntry, key string) int { return cmp.Compare(e.key, key) })
}

// corruption returns the CorruptionError in err, nil if there is none.
func corruption(err error) *CorruptionError {
	var c *CorruptionError
	if !errors.As(err, &c) || !errors.Is(err, ErrChecksum) {
		return nil
	}
	return c
}
