package backup

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/decoy"
	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

// forgery is a chain of a genuine full backup and an increment that a test makes up,
// with right digests.
type forgery struct {
	t    *testing.T
	path []string
	full *part
}

func newForgery(t *testing.T) *forgery {
	t.Helper()
	f := &forgery{t: t, path: []string{filepath.Join(t.TempDir(), "full"), filepath.Join(t.TempDir(), "inc")}}
	full, _ := smallChain(t)
	if err := os.WriteFile(f.path[0], full, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := openPart(t.Context(), f.path[0], &Options{})
	if err != nil {
		t.Fatal(err)
	}
	f.full = p
	t.Cleanup(func() { p.file.Close() })
	return f
}

// verify writes the increment and verifies the chain.
func (f *forgery) verify(change func(h *page.Increment, m *page.Meta), pages ...[]byte) error {
	f.t.Helper()
	m := *f.full.meta
	m.TxID++
	m.DurableTx = m.TxID
	h := page.Increment{
		FileID: m.FileID, KeyCheck: m.KeyCheck, PageSize: m.PageSize,
		Since: f.full.meta.TxID, SinceDigest: f.full.State.Digest,
	}
	change(&h, &m)
	b := make([]byte, 2*page.MetaSize)
	page.EncodeIncrement(b, &h, f.full.hasher)
	page.EncodeMeta(b[page.MetaSize:], &m, f.full.hasher)
	for _, p := range pages {
		b = append(b, p...)
	}
	if err := os.WriteFile(f.path[1], b, 0o600); err != nil {
		f.t.Fatal(err)
	}
	_, err := Verify(f.t.Context(), f.path, Options{})
	return err
}

func TestInspect_FieldsThatContradict(t *testing.T) {
	f := newForgery(t)
	if err := f.verify(func(*page.Increment, *page.Meta) {}); err != nil {
		t.Errorf("an increment that changes nothing but the number: %v", err)
	}
	for name, change := range map[string]func(h *page.Increment, m *page.Meta){
		"file":            func(_ *page.Increment, m *page.Meta) { m.FileID[0]++ },
		"page size":       func(_ *page.Increment, m *page.Meta) { m.PageSize *= 2 },
		"older than base": func(h *page.Increment, m *page.Meta) { h.Since = m.TxID + 1 },
		"not durable":     func(_ *page.Increment, m *page.Meta) { m.DurableTx-- },
		"key check":       func(h *page.Increment, _ *page.Meta) { h.KeyCheck[0]++ },
	} {
		err := f.verify(change)
		var damage *lightning.CorruptionError
		if (!errors.As(err, &damage) || damage.Path != f.path[1]) && !errors.Is(err, lightning.ErrIntegrityKey) {
			t.Errorf("%s: %v, want that the increment is refused", name, err)
		}
	}
}

// A new page in the place of the second page of an older value that is still
// referred to: each is as its reference says, but a file cannot hold both.
func TestVerify_OverlapOfNewAndOld(t *testing.T) {
	f := newForgery(t)
	var older walk.Demand
	c := &chain{ctx: t.Context(), o: &Options{}, laid: newOverlay()}
	if err := c.run(f.full, func(d walk.Demand, _ []byte) error {
		if d.Pages == 2 {
			older = d
		}
		return nil
	}); err != nil || older.Pages == 0 {
		t.Fatalf("no value of two pages, %v", err)
	}
	for place, want := range map[page.ID]bool{older.Ref.ID + 1: false, f.full.meta.End: true} {
		leaf := page.InitNode(make([]byte, f.full.meta.PageSize), 0)
		cell := page.AppendBigCell(nil, page.Key{Bytes: []byte("old")}, 5000, older.Ref)
		leaf.Insert(0, cell, make([]byte, len(leaf)))
		err := f.verify(func(_ *page.Increment, m *page.Meta) {
			m.End++
			page.Stamp(leaf, place, m.TxID)
			m.Root = page.Bucket{Root: page.Ref{ID: place, Birth: m.TxID, Digest: page.Digest(f.full.hasher.Sum(leaf))}, Count: 1}
		}, leaf)
		if good := err == nil; good != want {
			t.Errorf("root at page %d, the value that it refers to at %d: %v", place, older.Ref.ID, err)
		}
	}
}

// A value that looks like a meta slot lies where the slot of another page size would
// be. It once took the backup over: Create sealed the state that it spoke of.
func TestCreate_ValueThatLooksLikeASlot(t *testing.T) {
	dir := t.TempDir()
	value := make([]byte, 100<<10)
	copy(value, "where the value is")
	made := func(name string) (path string, p *Part) {
		db, err := lightning.Open(filepath.Join(dir, name), 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.Update(func(tx *lightning.Tx) error {
			b, err := tx.CreateBucket([]byte("b"))
			if err != nil {
				return err
			}
			return b.Put([]byte("k"), value)
		}); err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(dir, name+".full")
		if p, err = Create(t.Context(), db, path, "", 0o600, Options{}); err != nil {
			t.Fatal(err)
		}
		return path, p
	}
	first, _ := made("first")
	b, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	decoy.Slots(t, value, bytes.Index(b, value[:18]))
	path, p := made("second")
	if good, err := Verify(t.Context(), []string{path}, Options{}); err != nil || len(good) != 1 || good[0] != p.State {
		t.Errorf("Verify: %v, %v; want %v", good, err, p.State)
	}
	if state, err := Restore(t.Context(), filepath.Join(dir, "restored"), 0o600, []string{path}, Options{}); err != nil || state != p.State {
		t.Errorf("Restore: %v, %v; want %v", state, err, p.State)
	}
	if b, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	clear(b[:2*page.MinSize]) // now nothing but the value looks like a slot
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := Inspect(t.Context(), path, Options{}); !errors.Is(err, ErrNotBackup) {
		t.Errorf("without its slots the backup is %+v, %v", p, err)
	}
}
