package fuzz

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	lightning "github.com/lightning-db/lightning"
)

// seedFile is a valid database file to be damaged.
type seedFile struct {
	name   string
	key    []byte // integrity key
	bytes  []byte
	states map[int]*model // content as of the transactions in the meta slots
	refs   []int64        // where its references are
}

// seedFiles returns the files, made anew in each process but the same every
// time, so that an input means the same damage tomorrow.
func seedFiles(t testing.TB) []*seedFile {
	t.Helper()
	files, err := makeSeeds()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var makeSeeds = sync.OnceValues(func() (files []*seedFile, err error) {
	dir, err := os.MkdirTemp("", "lightning-seeds-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for _, r := range recipes {
		f, err := r.make(dir)
		if err != nil {
			return nil, fmt.Errorf("seed %s: %w", r.name, err)
		}
		files = append(files, f)
	}
	return files, nil
})

// recipe says how a seed file is made.
type recipe struct {
	name    string
	options lightning.Options
	kill    bool // take the bytes while the database is open
	steps   func(*cook)
}

// recipes are only added to, at the end: the inputs under testdata name them by
// index. Of the proven file Open verifies nothing but meta slots and root.
var recipes = []recipe{
	{"small", lightning.Options{PageSize: 4096}, false, (*cook).nestedBuckets},
	{"extents", lightning.Options{PageSize: 4096}, false, (*cook).extents},
	{"large pages", lightning.Options{PageSize: 65536}, false, (*cook).nestedBuckets},
	{"space map", lightning.Options{PageSize: 4096, Durability: lightning.NoSync}, false, (*cook).churn},
	{"killed", lightning.Options{PageSize: 4096, Durability: lightning.NoSync}, true, (*cook).extents},
	{"space log, killed", lightning.Options{PageSize: 4096}, true, (*cook).someChurn},
	{"empty", lightning.Options{PageSize: 8192}, false, func(*cook) {}},
	{"keyed", lightning.Options{PageSize: 4096, IntegrityKey: []byte("secret")}, true, (*cook).nestedBuckets},
	{"proven", lightning.Options{PageSize: 4096, Durability: lightning.NoSync}, false, (*cook).nestedBuckets},
}

// cook runs the transactions that fill a seed file and records their states.
type cook struct {
	db     *lightning.DB
	state  *model
	states map[int]*model
	err    error
}

func (r recipe) make(dir string) (*seedFile, error) {
	path := filepath.Join(dir, r.name)
	db, err := lightning.Open(path, 0o600, &r.options)
	if err != nil {
		return nil, err
	}
	c := &cook{db: db, state: newModel(), states: map[int]*model{}}
	// The slots of a new file hold transactions 0 and 1.
	c.states[0], c.states[1] = c.state, c.state
	r.steps(c)
	var image []byte
	if r.kill && c.err == nil {
		image, c.err = os.ReadFile(path)
	}
	if err := db.Close(); err != nil || c.err != nil {
		return nil, fmt.Errorf("close: %w, fill: %w", err, c.err)
	}
	if !r.kill {
		if image, err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	f := &seedFile{name: r.name, key: r.options.IntegrityKey, bytes: image, states: map[int]*model{}}
	for slot := range 2 {
		id := int(binary.LittleEndian.Uint64(image[slot*r.options.PageSize+metaTxID:]))
		f.states[id] = c.states[id]
	}
	f.refs = setFileID(image, r.options.IntegrityKey, [16]byte{'f', 'u', 'z', 'z'})
	return f, os.Remove(path)
}

// update runs a transaction; fn fills database and model through put.
func (c *cook) update(fn func(put putFunc)) {
	if c.err != nil {
		return
	}
	next := c.state.clone()
	var id int
	c.err = c.db.Update(func(tx *lightning.Tx) (err error) {
		id = tx.ID()
		fn(func(path []string, k, v []byte) {
			if err == nil {
				err = putAt(tx, next, path, k, v)
			}
		})
		return err
	})
	c.state = next
	c.states[id] = next
}

// putFunc puts a key into the bucket at path, creating what is missing; a nil
// value deletes it.
type putFunc func(path []string, k, v []byte)

func putAt(tx *lightning.Tx, m *model, path []string, k, v []byte) error {
	b := tx.Cursor().Bucket()
	for _, name := range path {
		var err error
		if b, err = b.CreateBucketIfNotExists([]byte(name)); err != nil {
			return err
		}
		if m.nested[name] == nil {
			m.nested[name] = newModel()
		}
		m = m.nested[name]
	}
	if v == nil {
		delete(m.values, string(k))
		return b.Delete(k)
	}
	m.values[string(k)] = v
	m.seq++
	if _, err := b.NextSequence(); err != nil {
		return err
	}
	return b.Put(k, v)
}

func (c *cook) nestedBuckets() {
	size := c.db.Info().PageSize
	for round := range 3 {
		c.update(func(put putFunc) {
			for i := range 150 {
				put([]string{"inline"}, key(0, i%5, size), []byte("x"))
				put([]string{"tree", "deep", fmt.Sprint(i % 7)}, key(1, i, size), value(3, round*100+i, size))
				put([]string{"tree"}, key(170, i, size), value(4, round*100+i, size))
				put(nil, key(2, i, size), value(byte(i%5), i, size))
			}
			put([]string{"void"}, []byte("k"), []byte("v"))
			put([]string{"void"}, []byte("k"), nil)
		})
	}
}

func (c *cook) extents() {
	size := c.db.Info().PageSize
	for round := range 3 {
		c.update(func(put putFunc) {
			for i := range 12 {
				put([]string{"long"}, key(230, i*5, size), value(3, i, size))
				put([]string{"long", "big"}, key(0, i, size), value(byte(6+i%8), round*50+i, size))
			}
			put([]string{"long"}, key(230, round, size), nil)
		})
	}
	for i := range 3 {
		c.update(func(put putFunc) { put([]string{"long", "big"}, key(0, i, size), value(12, 900+i, size)) })
	}
}

// churn rewrites scattered pages until the log of the space map has been
// folded into bitmaps and begun anew.
func (c *cook) churn() { c.rewrite(420) }

// someChurn stops while the log is in pages of its own.
func (c *cook) someChurn() { c.rewrite(40) }

func (c *cook) rewrite(rounds int) {
	size := c.db.Info().PageSize
	const keys = 400
	name := func(i int) []byte { return fmt.Appendf(nil, "key-%05d", i) }
	c.update(func(put putFunc) {
		for i := range keys {
			put([]string{"churn"}, name(i), value(5, i, size))
		}
	})
	x := uint32(1)
	for round := range rounds {
		c.update(func(put putFunc) {
			for range 30 {
				x = x*1664525 + 1013904223
				put([]string{"churn"}, name(int(x>>8)%keys), value(5, round, size))
			}
		})
	}
}
