package lightning

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/lightning-db/lightning/page"
)

// damageModel is what was put into a bucket.
type damageModel struct {
	sequence uint64
	values   map[string]string
	buckets  map[string]*damageModel
}

func newDamageModel() *damageModel {
	return &damageModel{values: map[string]string{}, buckets: map[string]*damageModel{}}
}

func (m *damageModel) clone() *damageModel {
	c := &damageModel{m.sequence, maps.Clone(m.values), map[string]*damageModel{}}
	for name, b := range m.buckets {
		c.buckets[name] = b.clone()
	}
	return c
}

// damageFile is a small file with every type of page, as a process left it.
type damageFile struct {
	name    string
	image   []byte
	history map[page.ID][][]byte // what pages held after earlier commits, oldest first
	now     *damageTruth
	back    *damageTruth // what an open may go back to; nil after a Close

	// Without syncs: what an older meta in the slot of the newest leads to, by
	// transaction, where its pages are still there.
	between map[page.TxID]*damageTruth
}

// damageBuilder makes such a file. It keeps to small steps of growth, so that
// the file stays small.
type damageBuilder struct {
	t       *testing.T
	db      *DB
	path    string
	model   *damageModel            // after the last commit
	states  map[uint64]*damageModel // after each, by transaction
	history map[page.ID][][]byte
	seen    map[page.ID]map[uint64]bool // sums of what history holds
	seed    maphash.Seed
	last    []byte // the file after the last commit
}

const (
	damagePage     = 4096
	damageAlloc    = 4 * damagePage
	damageChurnKey = 24
)

// The ways in which a process leaves the file.
const (
	damageClosed       = "closed"
	damageKilled       = "killed"
	damageNoSync       = "nosync-killed"
	damageNoSyncClosed = "nosync-closed"
)

func damageIsClosed(name string) bool { return name == damageClosed || name == damageNoSyncClosed }

// buildDamageFile makes the file. The first transactions fill the space log
// until it folds into a bitmap and spills to a page again, the last ones leave
// unproven pages of most types.
func buildDamageFile(t *testing.T, dir, name string) *damageFile {
	t.Helper()
	path := filepath.Join(dir, name+".db")
	db, err := Open(path, 0o600, &Options{PageSize: damagePage, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	db.AllocSize = damageAlloc
	b := &damageBuilder{
		t: t, db: db, path: path, model: newDamageModel(), states: map[uint64]*damageModel{},
		history: map[page.ID][][]byte{}, seen: map[page.ID]map[uint64]bool{}, seed: maphash.MakeSeed(),
	}
	b.churn()
	db.NoSync = name == damageNoSync || name == damageNoSyncClosed
	b.content()
	if db.NoSync {
		if err := db.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	b.unproven(db.NoSync)
	if damageIsClosed(name) {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	image := b.read()
	if !damageIsClosed(name) {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	f := &damageFile{name: name, image: image, history: b.history}
	b.truths(f)
	return f
}

// truths reads what the file holds and, unless it was closed, what the other
// meta slot and earlier contents of this one lead to, and compares all with
// what was put in.
func (b *damageBuilder) truths(f *damageFile) {
	lab := newDamageLab(b.t, filepath.Dir(b.path), f.name+"-truth")
	defer lab.close()
	f.now = lab.truth(b.t, f.image, b.states)
	if damageIsClosed(f.name) {
		return
	}
	older := bytes.Clone(f.image)
	slot := older[int(f.now.slot)*damagePage:][:damagePage]
	clear(slot)
	f.back = lab.truth(b.t, older, b.states)
	f.between = map[page.TxID]*damageTruth{}
	for _, was := range f.history[f.now.slot] {
		if id := page.PeekTxID(was); id <= f.back.tx || id == f.now.tx {
			continue
		}
		copy(slot, was)
		if tr := lab.truth(b.t, older, b.states); tr.tx != f.back.tx {
			f.between[tr.tx] = tr
		}
	}
}

// commit runs one transaction and keeps what the file and the model are then.
func (b *damageBuilder) commit(fn func(tx *Tx, m *damageModel) error) {
	b.t.Helper()
	m := b.model.clone()
	err := b.db.Update(func(tx *Tx) error {
		b.states[uint64(tx.ID())] = m
		return fn(tx, m)
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.model = m
	info, err := os.Stat(b.path)
	if err != nil {
		b.t.Fatal(err)
	}
	size := int(info.Size())
	b.last = b.last[:min(len(b.last), size)]
	for at := 0; at < size; at += damagePage {
		// The map shows what was written; thousands of reads of the whole file take seconds.
		content, ok := b.db.data.At(int64(at), damagePage)
		if !ok {
			b.t.Fatalf("page %d is not mapped", at/damagePage)
		}
		if at == len(b.last) {
			b.last = append(b.last, content...)
		} else if bytes.Equal(content, b.last[at:at+damagePage]) {
			continue
		}
		copy(b.last[at:], content)
		id, sum := page.ID(at/damagePage), maphash.Bytes(b.seed, content)
		if b.seen[id] == nil {
			b.seen[id] = map[uint64]bool{}
		}
		if !b.seen[id][sum] {
			b.seen[id][sum] = true
			b.history[id] = append(b.history[id], bytes.Clone(content))
		}
	}
}

func (b *damageBuilder) read() []byte {
	b.t.Helper()
	image, err := os.ReadFile(b.path)
	if err != nil {
		b.t.Fatal(err)
	}
	return image
}

// churn commits until the map of free pages has all its kinds of pages.
func (b *damageBuilder) churn() {
	rng := rand.New(rand.NewPCG(1, 2))
	name := []byte("churn")
	for n := 0; len(b.db.space.index) == 0 || len(b.db.space.log) == 0; n++ {
		if n > 50_000 {
			b.t.Fatal("the space log does not fold")
		}
		b.commit(func(tx *Tx, m *damageModel) error {
			bucket, err := tx.CreateBucketIfNotExists(name)
			if err != nil {
				return err
			}
			c := m.buckets["churn"]
			if c == nil {
				c = newDamageModel()
				m.buckets["churn"] = c
			}
			for range 3 {
				key := fmt.Sprintf("key%02d", rng.IntN(damageChurnKey))
				c.values[key] = damageText(n, 900)
				if err := bucket.Put([]byte(key), []byte(c.values[key])); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// damageText is n bytes that tell who wrote them.
func damageText(who, n int) string {
	s := bytes.Repeat(fmt.Appendf(nil, "%d,", who), n)
	return string(s[:n])
}

// damageLongKey is a key with an extent of its own. Those with the same c
// begin alike, so that a search has to read them.
func damageLongKey(c byte, i, n int) string {
	return string(bytes.Repeat([]byte{c}, n)) + fmt.Sprint(i)
}

// content makes the tree: branch, leaves, big values, long keys, and nested
// buckets with pages and without.
func (b *damageBuilder) content() {
	b.commit(func(tx *Tx, m *damageModel) error {
		delete(m.buckets, "churn")
		return tx.DeleteBucket([]byte("churn"))
	})
	b.commit(func(tx *Tx, m *damageModel) error {
		w := damageWriter{m: newDamageModel()}
		m.buckets["one"] = w.m
		if w.b, w.err = tx.CreateBucket([]byte("one")); w.err != nil {
			return w.err
		}
		for i := range 24 {
			w.put(fmt.Sprintf("key%02d", i), damageText(i, 300))
		}
		w.put("big1", damageText(31, 5000))
		w.put("big2", damageText(32, 1500))
		w.put(damageLongKey('k', 1, 600), "long 1")
		w.put(damageLongKey('k', 2, 5000), "long 2")
		w.put(damageLongKey('l', 3, 700), damageText(33, 2000))
		return w.err
	})
	b.commit(func(tx *Tx, m *damageModel) error {
		w := damageWriter{m: m.buckets["one"], b: tx.Bucket([]byte("one"))}
		nest := w.nested("nest")
		for i := range 5 {
			nest.put(fmt.Sprintf("deep%d", i), damageText(40+i, 400))
		}
		nest.sequence(77)
		small := nest.nested("small")
		small.put("in", "line")
		small.sequence(5)
		inline := w.nested("inline")
		inline.put("a", "1")
		inline.put("b", "2")
		w.nested("none")
		w.sequence(123456)
		return w.first(nest, small, inline)
	})
	b.commit(func(tx *Tx, m *damageModel) error {
		w := damageWriter{m: newDamageModel()}
		m.buckets["two"] = w.m
		if w.b, w.err = tx.CreateBucket([]byte("two")); w.err != nil {
			return w.err
		}
		for i := range 9 {
			w.put(fmt.Sprintf("t%d", i), damageText(50+i, 500))
		}
		w.put("big", damageText(60, 4200))
		return w.err
	})
}

// unproven commits what is unproven in a file that is not closed. Without syncs
// several transactions are.
func (b *damageBuilder) unproven(several bool) {
	if several {
		for i := range 3 {
			b.commit(func(tx *Tx, m *damageModel) error {
				w := damageWriter{m: m.buckets["one"], b: tx.Bucket([]byte("one"))}
				w.put(fmt.Sprintf("key%02d", 3+i), damageText(70+i, 310))
				return w.err
			})
		}
	}
	b.commit(func(tx *Tx, m *damageModel) error {
		w := damageWriter{m: m.buckets["one"], b: tx.Bucket([]byte("one"))}
		w.put("key05", damageText(80, 320))
		w.put("key21", damageText(81, 290))
		w.put("big1", damageText(82, 6000))
		w.put(damageLongKey('l', 4, 800), "long 4")
		w.sequence(123457)
		return w.err
	})
}

// damageWriter puts into a bucket and its model; it keeps the first error.
type damageWriter struct {
	b   *Bucket
	m   *damageModel
	err error
}

func (w *damageWriter) put(key, value string) {
	if w.err == nil {
		w.m.values[key] = value
		w.err = w.b.Put([]byte(key), []byte(value))
	}
}

func (w *damageWriter) sequence(n uint64) {
	if w.err == nil {
		w.m.sequence = n
		w.err = w.b.SetSequence(n)
	}
}

func (w *damageWriter) nested(name string) *damageWriter {
	n := &damageWriter{m: newDamageModel(), err: w.err}
	if w.err == nil {
		w.m.buckets[name] = n.m
		n.b, n.err = w.b.CreateBucket([]byte(name))
	}
	return n
}

// first returns the first error of w and others.
func (w *damageWriter) first(others ...*damageWriter) error {
	for _, o := range others {
		if w.err == nil {
			w.err = o.err
		}
	}
	return w.err
}
