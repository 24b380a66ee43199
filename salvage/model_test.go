package salvage

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/page"
)

// entry is a key of a database: the names of the buckets around it and its own,
// joined by zero bytes, which no name in these tests has.
type entry = string

func join(path [][]byte, key []byte) entry {
	return string(bytes.Join(append(slices.Clone(path), key), []byte{0}))
}

// content is what a state holds; of a bucket the value is bucketMark and its sequence.
type content map[entry]string

const bucketMark = "\x00bucket "

// read returns what the bucket holds.
func (c content) read(path [][]byte, b *lightning.Bucket) error {
	for k, v := range b.All() {
		if v != nil {
			c[join(path, k)] = string(v)
			continue
		}
		nested := b.Bucket(k)
		if nested == nil {
			return b.Tx().Err()
		}
		c[join(path, k)] = fmt.Sprint(bucketMark, nested.Sequence())
		if err := c.read(append(slices.Clone(path), bytes.Clone(k)), nested); err != nil {
			return err
		}
	}
	return b.Tx().Err()
}

// contentOf returns what the sound database at path holds.
func contentOf(t testing.TB, path string, key []byte) content {
	t.Helper()
	db, err := lightning.Open(path, 0, &lightning.Options{ReadOnly: true, IntegrityKey: key})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c := content{}
	if err := db.View(func(tx *lightning.Tx) error {
		for err := range tx.Check() {
			t.Errorf("%s: Check: %v", path, err)
		}
		return c.read(nil, tx.Cursor().Bucket())
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

// sample is a database with all that it has ever held.
type sample struct {
	image    []byte
	pageSize int
	key      []byte
	states   map[uint64]content
	newest   uint64
}

// everHeld reports whether the entry had the value in some state. An orphan does not say
// which bucket it is from: then any bucket will do.
func (s *sample) everHeld(e entry, v string, orphan bool) bool {
	key := e[strings.LastIndexByte(e, 0)+1:]
	for _, c := range s.states {
		if had, ok := c[e]; ok && had == v {
			return true
		}
		for other, had := range c {
			if orphan && had == v && other[strings.LastIndexByte(other, 0)+1:] == key {
				return true
			}
		}
	}
	return false
}

// ending says what became of the process that wrote a sample.
type ending int

const (
	closed   ending = iota
	killed          // its last transaction is known to be durable
	unproven        // its last transaction is not: damage to it looks like a write that was cut short
)

// newSample makes a database by random transactions.
func newSample(t testing.TB, rng *rand.Rand, pageSize int, key []byte, rounds int, end ending) *sample {
	t.Helper()
	large := 0
	if end == killed { // large transactions are durable by themselves
		large = 1
	}
	path := filepath.Join(t.TempDir(), "sample.db")
	db, err := lightning.Open(path, 0o600, &lightning.Options{PageSize: pageSize, IntegrityKey: key, LargeTxPages: large})
	if err != nil {
		t.Fatal(err)
	}
	db.AllocSize = 16 * pageSize
	defer db.Close()
	s := &sample{pageSize: pageSize, key: key, states: map[uint64]content{1: {}}}
	for range rounds {
		if err := db.Update(func(tx *lightning.Tx) error { return change(rng, tx, pageSize) }); err != nil {
			t.Fatal(err)
		}
		if err := db.View(func(tx *lightning.Tx) error {
			c := content{}
			s.newest = uint64(tx.ID())
			s.states[s.newest] = c
			return c.read(nil, tx.Cursor().Bucket())
		}); err != nil {
			t.Fatal(err)
		}
	}
	if end == closed {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if s.image, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return s
}

// change makes random changes.
func change(rng *rand.Rand, tx *lightning.Tx, pageSize int) error {
	for range 1 + rng.IntN(3) {
		b, err := tx.CreateBucketIfNotExists(fmt.Appendf(nil, "bucket%d", rng.IntN(4)))
		if err != nil {
			return err
		}
		for rng.IntN(3) == 0 {
			if b, err = b.CreateBucketIfNotExists(fmt.Appendf(nil, "nested%d", rng.IntN(3))); err != nil {
				return err
			}
		}
		if err := b.SetSequence(rng.Uint64N(1000)); err != nil {
			return err
		}
		n := []int{3, 30, 300}[rng.IntN(3)]
		for range n {
			k := fmt.Appendf(nil, "key%04d", rng.IntN(600))
			if rng.IntN(20) == 0 { // a long one
				k = append(k, bytes.Repeat([]byte{'k'}, pageSize/8+rng.IntN(pageSize/4))...)
			}
			if rng.IntN(5) == 0 {
				if err := b.Delete(k); err != nil {
					return err
				}
				continue
			}
			size := rng.IntN(pageSize / 8)
			if rng.IntN(20) == 0 {
				size = rng.IntN(4 * pageSize)
			}
			if err := b.Put(k, bytes.Repeat([]byte{byte(rng.IntN(256))}, size)); err != nil {
				return err
			}
		}
	}
	return nil
}

// salvaged is the outcome of a run.
type salvaged struct {
	report *Report
	losses []*Loss
	got    content
}

// salvage runs on the image and checks that it leaves it alone.
func (s *sample) salvage(t testing.TB, image []byte, o Options) (*salvaged, error) {
	t.Helper()
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	if err := os.WriteFile(src, image, 0o400); err != nil {
		t.Fatal(err)
	}
	out := &salvaged{}
	o.IntegrityKey = s.key
	o.Lost = func(l *Loss) { out.losses = append(out.losses, l) }
	var err error
	out.report, err = Run(context.Background(), src, dst, o)
	if now, readErr := os.ReadFile(src); readErr != nil || !bytes.Equal(now, image) {
		t.Errorf("the source was changed: %v", readErr)
	}
	if left, _ := filepath.Glob(dst + ".partial*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err != nil {
		if _, there := os.Stat(dst); there == nil {
			t.Errorf("a database in spite of %v", err)
		}
		return nil, err
	}
	if n := out.report.Saved[Orphan]; n > 0 && !o.Orphans {
		t.Errorf("%d orphans that nobody asked for", n)
	}
	out.got = contentOf(t, dst, s.key)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	return out, nil
}

// covering returns the losses that the entry, or a bucket around it, lies in.
func (o *salvaged) covering(e entry) (in []*Loss) {
	names := strings.Split(e, "\x00")
	for _, l := range o.losses {
		path := l.Bucket.Names()
		if len(path) >= len(names) {
			continue
		}
		same := true
		for i, name := range path {
			same = same && string(name) == names[i]
		}
		name := names[len(path)]
		if same && name >= string(l.Lower) && (l.Upper == nil || name < string(l.Upper)) {
			in = append(in, l)
		}
	}
	return in
}

// judge compares what was saved with what the database held: what is missing must be
// reported, and what is different, too. many says that more than one page is damaged.
func (s *sample) judge(t testing.TB, o *salvaged, what string, many bool) {
	t.Helper()
	want, ok := s.states[o.report.TxID]
	if !ok && o.report.Root == Verified {
		t.Fatalf("%s: state %d was never committed", what, o.report.TxID)
	}
	for e, v := range want {
		if got, ok := o.got[e]; (!ok || got != v) && len(o.covering(e)) == 0 {
			t.Errorf("%s: %.80q is lost or wrong (%.20q, want %.20q), and not reported", what, e, got, v)
		}
	}
	for e, v := range o.got {
		if had, ok := want[e]; ok && had == v && o.report.Root != Orphan {
			continue
		}
		in := o.covering(e)
		orphan := slices.ContainsFunc(in, func(l *Loss) bool { return l.Saved[Orphan] > 0 })
		// Where more than one page is damaged, one that nothing vouches for may be, too.
		if !(orphan && many) && !s.everHeld(e, v, orphan) {
			t.Errorf("%s: %.80q was never %.20q", what, e, v)
		}
		if !slices.ContainsFunc(in, func(l *Loss) bool { return l.Saved[Attested]+l.Saved[Older]+l.Saved[Orphan] > 0 }) && o.report.Root != Orphan {
			t.Errorf("%s: %.80q is what it was before, and not graded so: %v", what, e, in)
		}
	}
	if n := o.report.Saved.Sum(); n != uint64(len(o.got)) {
		t.Errorf("%s: %d keys reported as saved, %d are there", what, n, len(o.got))
	}
	if uint64(len(o.losses)) != o.report.Losses || len(o.report.Lost) != min(len(o.losses), MaxListed) {
		t.Errorf("%s: %d losses told, %d counted, %d listed", what, len(o.losses), o.report.Losses, len(o.report.Lost))
	}
	if t.Failed() {
		for _, l := range o.losses {
			t.Logf("%v (page %d)", l, l.Page)
		}
		t.FailNow()
	}
}

// same expects that all was saved.
func (s *sample) same(t testing.TB, o *salvaged, what string) {
	t.Helper()
	if !maps.Equal(o.got, s.states[o.report.TxID]) {
		t.Errorf("%s: %d keys, want %d, the same", what, len(o.got), len(s.states[o.report.TxID]))
	}
}

// slotOf returns a meta slot, nil if it is not good.
func (s *sample) slotOf(image []byte, slot int) *page.Meta {
	b := image[slot*s.pageSize:]
	id, err := page.PeekMeta(b)
	if err != nil {
		return nil
	}
	h, check := page.Keys(s.key, id.FileID)
	m, err := page.DecodeMeta(b, h, check)
	if err != nil {
		return nil
	}
	return m
}
