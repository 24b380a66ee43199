package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/seed"
)

// history is a database that changes at random, with what each of its states
// held when it was backed up.
type history struct {
	t     *testing.T
	dir   string
	db    *lightning.DB
	o     Options
	rnd   *rand.Rand
	now   map[string]string
	parts []string
	held  []map[string]string // by part
}

func newHistory(t *testing.T, o lightning.Options) *history {
	t.Helper()
	h := &history{t: t, dir: t.TempDir(), rnd: seed.Rand(t), now: map[string]string{}, o: Options{IntegrityKey: o.IntegrityKey}}
	db, err := lightning.Open(filepath.Join(h.dir, "live.ldb"), 0o600, &o)
	if err != nil {
		t.Fatal(err)
	}
	h.db = db
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// change runs a transaction of n random puts and deletes, some of them of big
// values and long keys.
func (h *history) change(n int) {
	h.t.Helper()
	err := h.db.Update(func(tx *lightning.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("data"))
		for i := 0; i < n && err == nil; i++ {
			key := fmt.Sprintf("key %05d", h.rnd.IntN(3000))
			if h.rnd.IntN(40) == 0 {
				key += string(bytes.Repeat([]byte{'k'}, 2000))
			}
			if h.rnd.IntN(4) == 0 {
				delete(h.now, key)
				err = b.Delete([]byte(key))
				continue
			}
			size := h.rnd.IntN(200)
			if h.rnd.IntN(30) == 0 {
				size = h.rnd.IntN(20_000)
			}
			value := bytes.Repeat([]byte{byte('a' + h.rnd.IntN(26))}, size)
			h.now[key] = string(value)
			err = b.Put([]byte(key), value)
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// back makes the next part of the chain.
func (h *history) back() {
	h.t.Helper()
	path, base := filepath.Join(h.dir, fmt.Sprintf("part%02d", len(h.parts))), ""
	if len(h.parts) > 0 {
		base = h.parts[len(h.parts)-1]
	}
	if _, err := Create(h.t.Context(), h.db, path, base, 0o600, h.o); err != nil {
		h.t.Fatal(err)
	}
	h.parts = append(h.parts, path)
	h.held = append(h.held, maps.Clone(h.now))
}

// grown is a history with a full backup and the given number of increments.
func grown(t *testing.T, o lightning.Options, increments int) *history {
	t.Helper()
	h := newHistory(t, o)
	h.change(3000)
	h.back()
	for range increments {
		for range 1 + h.rnd.IntN(3) {
			h.change(1 + h.rnd.IntN(100))
		}
		h.back()
	}
	return h
}

// restored opens what the parts give.
func (h *history) restored(parts []string) map[string]string {
	h.t.Helper()
	path := filepath.Join(h.t.TempDir(), "restored.ldb")
	if _, err := Restore(h.t.Context(), path, 0o600, parts, h.o); err != nil {
		h.t.Fatal(err)
	}
	db, err := lightning.Open(path, 0o600, &lightning.Options{IntegrityKey: h.o.IntegrityKey})
	if err != nil {
		h.t.Fatal(err)
	}
	defer db.Close()
	got := map[string]string{}
	err = db.View(func(tx *lightning.Tx) error {
		return tx.Bucket([]byte("data")).ForEach(func(k, v []byte) error {
			got[string(k)] = string(v)
			return nil
		})
	})
	if err == nil {
		err = db.Update(func(tx *lightning.Tx) error { return tx.Bucket([]byte("data")).Put([]byte("after"), nil) })
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return got
}

// Each state that was backed up is restored to what it held.
func TestRestore_EveryState(t *testing.T) {
	for name, o := range map[string]lightning.Options{
		"plain":  {},
		"keyed":  {IntegrityKey: []byte("secret")},
		"64K":    {PageSize: 64 << 10},
		"nosync": {NoSync: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := grown(t, o, 6)
			states, err := Verify(t.Context(), h.parts, h.o)
			if err != nil || len(states) != len(h.parts) {
				t.Fatalf("Verify: %d states of %d, %v", len(states), len(h.parts), err)
			}
			for i := range h.parts {
				if got := h.restored(h.parts[:i+1]); !maps.Equal(got, h.held[i]) {
					t.Errorf("part %d: %d keys restored, want %d, or other values", i, len(got), len(h.held[i]))
				}
			}
		})
	}
}

// An increment is as long as what changed, not as the database.
func TestCreate_IncrementIsSmall(t *testing.T) {
	h := newHistory(t, lightning.Options{NoSync: true})
	for range 10 {
		h.change(3000)
	}
	h.back()
	h.change(1)
	h.back()
	full, increment := h.inspect(0), h.inspect(1)
	if increment.Size*20 > full.Size {
		t.Errorf("one key changed in %d bytes: the increment has %d", full.Size, increment.Size)
	}
	h.back() // nothing changed
	if p := h.inspect(2); p.Size != 8192 || p.State != increment.State || *p.Since != increment.State {
		t.Errorf("an increment on nothing: %+v", p)
	}
}

func (h *history) inspect(i int) *Part {
	h.t.Helper()
	p, err := Inspect(h.t.Context(), h.parts[i], h.o)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// Parts in another order, missing, doubled or of another database are rejected
// by name.
func TestVerify_ErrChain(t *testing.T) {
	h, other := grown(t, lightning.Options{}, 3), grown(t, lightning.Options{}, 2)
	p := h.parts
	for name, parts := range map[string][]string{
		"none":            {},
		"no full backup":  p[1:],
		"one is missing":  {p[0], p[2], p[3]},
		"other order":     {p[0], p[2], p[1]},
		"two fulls":       {p[0], p[0]},
		"twice":           {p[0], p[1], p[1], p[2]},
		"other database":  {p[0], other.parts[1]},
		"other in middle": {p[0], p[1], other.parts[2], p[2]},
	} {
		if _, err := Verify(t.Context(), parts, h.o); !errors.Is(err, ErrChain) {
			t.Errorf("%s: Verify: %v, want ErrChain", name, err)
		}
		path := filepath.Join(t.TempDir(), "restored")
		if _, err := Restore(t.Context(), path, 0o600, parts, h.o); !errors.Is(err, ErrChain) {
			t.Errorf("%s: Restore: %v, want ErrChain", name, err)
		}
		if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
			t.Errorf("%s: Restore left %v", name, left)
		}
	}
}

// A byte changed anywhere in a part is found, but for bytes that mean nothing:
// pages of the full backup that are not in use.
func TestVerify_DamagedPart(t *testing.T) {
	h := grown(t, lightning.Options{}, 2)
	for i, path := range h.parts {
		sound, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			bad := bytes.Clone(sound)
			at := h.rnd.IntN(len(bad))
			if i == 0 {
				at = 8192 + h.rnd.IntN(len(bad)-8192)
				if page := bad[at/4096*4096:][:4096]; bytes.Equal(page, make([]byte, 4096)) {
					continue
				}
			}
			bad[at] ^= 1 << h.rnd.IntN(8)
			h.refused(i, bad, fmt.Sprintf("bit flipped at %d of part %d", at, i))
		}
		h.refused(i, sound[:len(sound)-1], fmt.Sprintf("part %d without its last byte", i))
		h.refused(i, sound[:len(sound)/2], fmt.Sprintf("half of part %d", i))
		if i > 0 {
			h.refused(i, append(bytes.Clone(sound), 0), fmt.Sprintf("part %d with a byte more", i))
		}
		if err := os.WriteFile(path, sound, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// refused looks whether a chain whose part i holds bad is refused, by the name of
// that part.
func (h *history) refused(i int, bad []byte, what string) {
	h.t.Helper()
	if err := os.WriteFile(h.parts[i], bad, 0o600); err != nil {
		h.t.Fatal(err)
	}
	good, err := Verify(h.t.Context(), h.parts, h.o)
	var damage *lightning.CorruptionError
	switch {
	case errors.As(err, &damage):
		if damage.Path != h.parts[i] || len(good) != i && good != nil {
			h.t.Errorf("%s: %v, %d good states", what, err, len(good))
		}
	case errors.Is(err, ErrNotBackup), errors.Is(err, ErrChain), errors.Is(err, lightning.ErrVersionMismatch), errors.Is(err, lightning.ErrIntegrityKey):
		// The header is not what it was.
	default:
		h.t.Errorf("%s: Verify: %v", what, err)
	}
	path := filepath.Join(h.dir, "never")
	if _, err := Restore(h.t.Context(), path, 0o600, h.parts, h.o); err == nil {
		h.t.Errorf("%s: restored", what)
	}
	if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
		h.t.Errorf("%s: Restore left %v", what, left)
	}
}

// A database that was itself restored has another past from there on: an
// increment on a backup of the first past is not accepted.
func TestVerify_OtherPast(t *testing.T) {
	h := grown(t, lightning.Options{}, 1)
	path := filepath.Join(h.dir, "second.ldb")
	if _, err := Restore(t.Context(), path, 0o600, h.parts[:1], h.o); err != nil {
		t.Fatal(err)
	}
	second := &history{t: t, dir: t.TempDir(), rnd: h.rnd, now: maps.Clone(h.held[0]), o: h.o, parts: h.parts, held: h.held}
	db, err := lightning.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	second.db = db
	for range 40 {
		second.change(50)
	}
	second.back()
	var damage *lightning.CorruptionError
	if good, err := Verify(t.Context(), second.parts, h.o); !errors.As(err, &damage) || damage.Path != second.parts[2] || len(good) != 2 {
		t.Errorf("Verify: %d good states, %v", len(good), err)
	}
}

// Whatever past a chain mixes, Verify says of each of its states what Restore finds:
// also where an older page of the right digest leads to pages that were written over since.
func TestVerify_Forks(t *testing.T) {
	r := seed.Rand(t)
	refused, over := 0, 0
	for range 60 {
		h := &history{t: t, dir: t.TempDir(), rnd: r, now: map[string]string{}}
		h.open("first.ldb")
		h.touch("one", 1500)
		h.touch("two", 500)
		h.back()
		h.touch("one", 1+r.IntN(12))
		h.back()
		h.close()
		// The other past has all that the first one did to bucket one still before it.
		if _, err := Restore(t.Context(), filepath.Join(h.dir, "second.ldb"), 0o600, h.parts[:1], h.o); err != nil {
			t.Fatal(err)
		}
		h.open("second.ldb")
		for range 4 + r.IntN(4) { // to get to the number that the last part leads to
			h.touch("two", 1+r.IntN(4))
		}
		path := filepath.Join(h.dir, "other")
		if _, err := Create(t.Context(), h.db, path, h.parts[1], 0o600, h.o); err == nil { // else it is known to be none of its states
			h.parts = append(h.parts, path)
		}
		h.close()
		good, err := Verify(t.Context(), h.parts, h.o)
		if (err == nil) != (len(good) == len(h.parts)) {
			t.Fatalf("%d of %d states are good, %v", len(good), len(h.parts), err)
		}
		if err != nil {
			refused++
			if strings.Contains(err.Error(), "written over") {
				over++
			}
			if _, err := Restore(t.Context(), filepath.Join(h.dir, "bad.ldb"), 0o600, h.parts[:len(good)+1], h.o); err == nil {
				t.Errorf("Verify refuses what Restore takes: %v", err)
			}
		}
		for i := range good {
			if _, err := Restore(t.Context(), filepath.Join(h.dir, fmt.Sprint("good", i)), 0o600, h.parts[:i+1], h.o); err != nil {
				t.Errorf("%d parts are good, and %d cannot be restored: %v", len(good), i+1, err)
			}
		}
	}
	t.Logf("%d chains refused, %d for pages written over", refused, over)
	if over == 0 {
		t.Error("no chain was refused for pages written over")
	}
}

// touch puts n random keys into a bucket, in a transaction each but for a first load.
func (h *history) touch(bucket string, n int) {
	h.t.Helper()
	each := 1
	if n > 100 {
		each = n
	}
	for ; n > 0; n -= each {
		if err := h.db.Update(func(tx *lightning.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(bucket))
			for range each {
				if err == nil {
					err = b.Put(fmt.Appendf(nil, "key %05d", h.rnd.IntN(3000)), bytes.Repeat([]byte{'v'}, 100))
				}
			}
			return err
		}); err != nil {
			h.t.Fatal(err)
		}
	}
}

// open opens a database of the directory.
func (h *history) open(name string) {
	h.t.Helper()
	db, err := lightning.Open(filepath.Join(h.dir, name), 0o600, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	h.db = db
	h.t.Cleanup(func() { db.Close() })
}

func (h *history) close() {
	h.t.Helper()
	if err := h.db.Close(); err != nil {
		h.t.Fatal(err)
	}
}

// Nothing is replaced, and what is stopped leaves nothing.
func TestCreateAndRestore_LeaveWhatIsThere(t *testing.T) {
	h := grown(t, lightning.Options{}, 1)
	taken := filepath.Join(h.dir, "taken")
	if err := os.WriteFile(taken, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(t.Context(), h.db, taken, "", 0o600, h.o); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create: %v", err)
	}
	if _, err := Restore(t.Context(), taken, 0o600, h.parts, h.o); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Restore: %v", err)
	}
	if got, err := os.ReadFile(taken); err != nil || string(got) != "mine" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	free := filepath.Join(h.dir, "free")
	for name, run := range map[string]func(ctx context.Context, o Options) error{
		"Create": func(ctx context.Context, o Options) error {
			_, err := Create(ctx, h.db, free, "", 0o600, o)
			return err
		},
		"Create of an increment": func(ctx context.Context, o Options) error {
			_, err := Create(ctx, h.db, free, h.parts[0], 0o600, o)
			return err
		},
		"Verify": func(ctx context.Context, o Options) error {
			_, err := Verify(ctx, h.parts, o)
			return err
		},
		"Restore": func(ctx context.Context, o Options) error {
			_, err := Restore(ctx, free, 0o600, h.parts, o)
			return err
		},
	} {
		ctx, stop := context.WithCancel(t.Context())
		o, told := h.o, 0
		o.Progress = func(done, total int64) {
			if told++; told == 2 {
				stop()
			}
			if done > total {
				t.Errorf("%s: %d of %d bytes", name, done, total)
			}
		}
		if err := run(ctx, o); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want that it was canceled", name, err)
		}
		if left, _ := filepath.Glob(free + "*"); len(left) > 0 {
			t.Errorf("%s left %v", name, left)
		}
	}
}

// Of several that write one backup at once one is told that it was made, and that one
// is whole.
func TestCreate_AtOnce(t *testing.T) {
	h := grown(t, lightning.Options{}, 1)
	path := filepath.Join(h.dir, "contended")
	var made atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := Create(t.Context(), h.db, path, "", 0o640, h.o)
			if err == nil {
				made.Add(1)
			} else if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if _, err := Verify(t.Context(), []string{path}, h.o); err != nil || made.Load() != 1 {
		t.Errorf("%d were made, %v", made.Load(), err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// WriteIncrement accepts states of the database's past only.
func TestWriteIncrement_ErrForeignState(t *testing.T) {
	h, other := grown(t, lightning.Options{}, 1), grown(t, lightning.Options{}, 1)
	if err := h.db.View(func(tx *lightning.Tx) error {
		now, err := tx.State()
		if err != nil {
			return err
		}
		newer, forged := now, now
		newer.TxID++
		forged.Digest[0] ^= 1
		for name, s := range map[string]lightning.State{"other database": other.inspect(1).State, "newer": newer, "forged": forged} {
			if n, err := tx.WriteIncrement(new(bytes.Buffer), s); !errors.Is(err, lightning.ErrForeignState) || n != 0 {
				t.Errorf("%s: %d bytes, %v", name, n, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
