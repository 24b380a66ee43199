package salvage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/decoy"
	"github.com/lightning-db/lightning/internal/seed"
	"github.com/lightning-db/lightning/page"
)

func TestRun_Intact(t *testing.T) {
	rng := seed.Rand(t)
	for _, pageSize := range []int{4096, 65536} {
		for _, end := range []ending{closed, killed, unproven} {
			s := newSample(t, rng, pageSize, []byte("secret"), 12, end)
			for _, o := range []Options{{}, {Orphans: true}} {
				got, err := s.salvage(t, s.image, o)
				if err != nil {
					t.Fatal(err)
				}
				s.judge(t, got, "intact", false)
				s.same(t, got, "intact")
				if r := got.report; !r.Whole() || r.TxID != s.newest || r.Saved.Sum() != r.Saved[Verified] || len(r.Damaged) > 0 {
					t.Errorf("%+v", r)
				}
			}
		}
	}
}

// Each page in turn is damaged in several ways.
func TestRun_EachPage(t *testing.T) {
	rng := seed.Rand(t)
	for _, end := range []ending{closed, killed} {
		s := newSample(t, rng, 4096, nil, 6, end)
		saved := map[string]int{}
		pages := len(s.image) / s.pageSize
		step := 1
		if testing.Short() {
			step = 1 + pages/16
		}
		for id := range pages {
			// Branches, and what the older state has otherwise, are few.
			b := s.image[id*s.pageSize:]
			if id%step != 0 && page.TypeOf(b) != page.TypeBranch && page.BirthOf(b) != page.TxID(s.newest) {
				continue
			}
			for kind, spoil := range spoilers {
				image := bytes.Clone(s.image)
				spoil(rng, image[id*s.pageSize:(id+1)*s.pageSize])
				for _, o := range []Options{{}, {Orphans: true}} {
					what := fmt.Sprintf("ending %d, page %d, %s, orphans %v", end, id, kind, o.Orphans)
					got, err := s.salvage(t, image, o)
					if err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					s.judge(t, got, what, false)
					for g, n := range got.report.Saved {
						saved[Grade(g).String()] += int(n)
					}
				}
			}
		}
		t.Logf("ending %d: %d pages, saved %v", end, pages, saved)
		for _, g := range []Grade{Verified, Attested, Orphan} {
			if saved[g.String()] == 0 {
				t.Errorf("no key of grade %v", g)
			}
		}
		if end == killed && saved[Older.String()] == 0 {
			t.Error("no key of grade older")
		}
	}
}

// spoilers damage a page.
var spoilers = map[string]func(rng *rand.Rand, b []byte){
	"bit":  func(rng *rand.Rand, b []byte) { b[rng.IntN(len(b))] ^= 1 << rng.IntN(8) },
	"half": func(_ *rand.Rand, b []byte) { clear(b[:len(b)/2]) },
	"tail": func(rng *rand.Rand, b []byte) {
		for i := len(b) / 2; i < len(b); i++ {
			b[i] = byte(rng.IntN(256))
		}
	},
}

// Random databases with random damage.
func TestRun_Random(t *testing.T) {
	rng := seed.Rand(t)
	rounds := 60
	if testing.Short() {
		rounds = 8
	}
	for round := range rounds {
		key := [][]byte{nil, []byte("secret")}[round%2]
		s := newSample(t, rng, []int{4096, 8192}[rng.IntN(2)], key, 1+rng.IntN(20), ending(rng.IntN(3)))
		for range 6 {
			image := bytes.Clone(s.image)
			for range 1 + rng.IntN(8) {
				id := rng.IntN(len(image) / s.pageSize)
				for _, spoil := range spoilers {
					if rng.IntN(2) == 0 {
						spoil(rng, image[id*s.pageSize:(id+1)*s.pageSize])
						break
					}
				}
			}
			if rng.IntN(4) == 0 {
				image = image[:rng.IntN(len(image))]
			}
			o := Options{Orphans: rng.IntN(2) == 0}
			what := fmt.Sprintf("round %d, orphans %v", round, o.Orphans)
			got, err := s.salvage(t, image, o)
			if err != nil {
				if s.slotOf(s.image, 0) != nil && len(image) > 2*s.pageSize && s.slotOf(image, 0) != nil {
					t.Fatalf("%s: %v", what, err)
				}
				continue
			}
			s.judge(t, got, what, true)
		}
	}
}

// What Open takes for a commit that was cut short salvage does, too: the state
// before it is whole.
func TestRun_CutShort(t *testing.T) {
	rng := seed.Rand(t)
	s := newSample(t, rng, 4096, nil, 8, unproven)
	newest := s.slotOf(s.image, 0)
	if other := s.slotOf(s.image, 1); other.TxID > newest.TxID {
		newest = other
	}
	image := bytes.Clone(s.image)
	image[int(newest.Root.Root.ID)*s.pageSize+1000] ^= 1
	got, err := s.salvage(t, image, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.same(t, got, "cut short")
	if r := got.report; !r.Whole() || r.TxID != s.newest-1 {
		t.Errorf("%+v", r)
	}
}

func TestRun_BothSlotsLost(t *testing.T) {
	rng := seed.Rand(t)
	s := newSample(t, rng, 4096, nil, 10, closed)
	image := bytes.Clone(s.image)
	for slot := range 2 {
		image[slot*s.pageSize+3000] ^= 1
	}
	got, err := s.salvage(t, image, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.same(t, got, "slots damaged")
	if got.report.Root != Attested {
		t.Errorf("the root is %v", got.report.Root)
	}
	for slot := range 2 {
		image[slot*s.pageSize+40] ^= 1 // the id of the file
	}
	if _, err := s.salvage(t, image, Options{}); !errors.Is(err, lightning.ErrInvalid) {
		t.Errorf("id lost: %v", err)
	}
	for slot := range 2 {
		clear(image[slot*s.pageSize:][:page.MetaSize])
	}
	if _, err := s.salvage(t, image, Options{}); !errors.Is(err, lightning.ErrInvalid) {
		t.Errorf("slots erased: %v", err)
	}
	got, err = s.salvage(t, image, Options{Orphans: true})
	if err != nil {
		t.Fatal(err)
	}
	s.same(t, got, "slots erased")
	if got.report.Root != Orphan || got.report.PageSize != s.pageSize || got.report.Saved.Sum() != got.report.Saved[Orphan] {
		t.Errorf("slots erased: %+v", got.report)
	}
}

// A value that looks like the meta slot of larger pages vouches for nothing.
func TestRun_ValueThatLooksLikeASlot(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	value := bytes.Repeat([]byte("v"), 100<<10)
	copy(value, "here it begins")
	image := func() []byte {
		t.Helper()
		if err := os.RemoveAll(src); err != nil {
			t.Fatal(err)
		}
		db, err := lightning.Open(src, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *lightning.Tx) error {
			b, err := tx.CreateBucket([]byte("b"))
			if err != nil {
				return err
			}
			return b.Put([]byte("k"), value)
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(src)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	decoy.Slots(t, value, bytes.Index(image(), value[:14]))
	b := image()
	clear(b[:2*page.MinSize])
	if err := os.WriteFile(src, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := Run(t.Context(), src, filepath.Join(dir, "dst"), Options{}); !errors.Is(err, lightning.ErrInvalid) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRun_Refuses(t *testing.T) {
	s := newSample(t, seed.Rand(t), 4096, []byte("secret"), 3, closed)
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	if err := os.WriteFile(src, s.image, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	good := Options{IntegrityKey: s.key}
	if _, err := Run(ctx, src, src, good); !errors.Is(err, fs.ErrExist) {
		t.Errorf("onto itself: %v", err)
	}
	if _, err := Run(ctx, src, dst, Options{}); !errors.Is(err, lightning.ErrIntegrityKey) {
		t.Errorf("without key: %v", err)
	}
	if _, err := Run(ctx, filepath.Join(dir, "none"), dst, good); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	db, err := lightning.Open(src, 0o600, &lightning.Options{IntegrityKey: s.key})
	if err != nil {
		t.Fatal(err)
	}
	busy := good
	busy.LockTimeout = 1
	if _, err := Run(ctx, src, dst, busy); !errors.Is(err, lightning.ErrTimeout) {
		t.Errorf("open for writing: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	// Canceled at every step.
	for steps := range 40 {
		ctx, stop := context.WithCancel(ctx)
		o, n := good, 0
		o.Progress = func(int64, int64) {
			if n++; n > steps {
				stop()
			}
		}
		if steps == 0 {
			stop()
		}
		_, err := Run(ctx, src, dst, o)
		if err == nil {
			t.Logf("whole after %d steps", steps)
		} else if !errors.Is(err, context.Canceled) {
			t.Errorf("canceled after %d steps: %v", steps, err)
		}
		stop()
		left, _ := filepath.Glob(dst + "*")
		if (err == nil) != (len(left) == 1) {
			t.Errorf("after %v: %v", err, left)
		}
		for _, name := range left {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}
