//go:build unix

package lightning

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lightning-db/lightning/chaos/simdisk"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/memdir"
	"github.com/lightning-db/lightning/internal/seed"
	"github.com/lightning-db/lightning/page"
)

// rebuilt rebuilds the map of the file at path.
func rebuilt(t *testing.T, path string) *SpaceReport {
	t.Helper()
	r, err := RebuildSpace(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// contentOf returns the sum of what the file at path holds.
func contentOf(t *testing.T, path string) (sum contentSum) {
	t.Helper()
	db, err := Open(path, 0, &Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(sum.load); err != nil {
		t.Fatal(err)
	}
	return sum
}

// goesOn expects a sound map, and that writing keeps it sound.
func goesOn(t *testing.T, path string) {
	t.Helper()
	db, err := Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	checkClean(t, db)
	for round := range 3 {
		if err := db.Update(func(tx *Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("goes on"))
			for i := 0; i < 40 && err == nil; i++ {
				err = b.Put(fmt.Appendf(nil, "key%d", i), bytes.Repeat([]byte{byte(round)}, 900))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		checkClean(t, db)
	}
}

// isMap reports whether the page is part of the map of free pages.
func isMap(kind string) bool {
	switch strings.TrimSuffix(kind, "*") { // the mark of the unproven
	case "bitmap", "index", "log":
		return true
	}
	return false
}

// A damaged page of the map of free pages made a sound database read-only for ever.
func TestRebuildSpace_DamagedMap(t *testing.T) {
	dir := memdir.Temp(t)
	f := buildDamageFile(t, dir, damageClosed)
	path := filepath.Join(dir, "rebuild.db")
	kinds := map[string]int{}
	for id, kind := range f.now.kind {
		if !isMap(kind) {
			continue
		}
		kinds[kind]++
		image := bytes.Clone(f.image)
		image[int(id)*damagePage+1000] ^= 1
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		want := contentOf(t, path)
		r := rebuilt(t, path)
		if !r.Rebuilt || r.Damage == nil || r.Free == 0 {
			t.Errorf("%s page %d damaged: %+v", kind, id, r)
		}
		if got := contentOf(t, path); got != want {
			t.Errorf("%s page %d damaged: the content changed", kind, id)
		}
		if again := rebuilt(t, path); again.Rebuilt || again.TxID != r.TxID || again.Free != r.Free || again.Used != r.Used {
			t.Errorf("%s page %d: a second run: %+v after %+v", kind, id, again, r)
		}
		goesOn(t, path)
	}
	if len(kinds) != 3 {
		t.Errorf("the file has map pages of types %v", kinds)
	}
}

// Whatever cannot be mended by a new map is refused, and nothing is written.
func TestRebuildSpace_Refuses(t *testing.T) {
	dir := memdir.Temp(t)
	f := buildDamageFile(t, dir, damageClosed)
	path := filepath.Join(dir, "refused.db")
	refused := func(what string, image []byte, want error, o *Options) {
		t.Helper()
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		if want == context.Canceled {
			ended, stop := context.WithCancel(ctx)
			stop()
			ctx = ended
		}
		if r, err := RebuildSpace(ctx, path, o); !errors.Is(err, want) {
			t.Errorf("%s: %+v, %v, want %v", what, r, err, want)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, image) {
			t.Errorf("%s: the file was changed: %v", what, err)
		}
		if !lockFree(t, path) {
			t.Errorf("%s: the lock is held", what)
		}
	}
	image := bytes.Clone(f.image)
	for id, kind := range f.now.kind {
		if isMap(kind) {
			image[int(id)*damagePage+1000] ^= 1
		}
	}
	data := 0
	for id, kind := range f.now.kind {
		if isMap(kind) || id < 2 {
			continue
		}
		data++
		both := bytes.Clone(image)
		both[int(id)*damagePage+50] ^= 1
		refused(fmt.Sprintf("%s page %d", kind, id), both, ErrChecksum, nil)
	}
	if data < 5 {
		t.Errorf("only %d pages of data", data)
	}
	refused("canceled", image, context.Canceled, nil)
	refused("opened read-only", image, ErrDatabaseReadOnly, &Options{ReadOnly: true})
	refused("wrong key", image, ErrIntegrityKey, &Options{IntegrityKey: []byte("other")})
	refused("empty", nil, ErrInvalid, nil)
	for _, name := range []string{damageClosed, damageKilled} {
		image := buildDamageFile(t, memdir.Temp(t), name).image
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := rebuilt(t, path); r.Rebuilt {
			t.Errorf("%s: a sound map was rebuilt: %+v", name, r)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, image) {
			t.Errorf("%s: a sound file was changed: %v", name, err)
		}
	}
	if _, err := RebuildSpace(context.Background(), filepath.Join(dir, "missing"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

// A frozen database is nobody's to write to, its map not either.
func TestRebuildSpace_Frozen(t *testing.T) {
	db, path := mapOf(t)
	if err := errors.Join(db.SetReadOnly(true), db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := RebuildSpace(context.Background(), path, nil); !errors.Is(err, ErrDatabaseReadOnly) {
		t.Errorf("%v, want ErrDatabaseReadOnly", err)
	}
}

// mapOf returns a database with pages in use and free ones.
func mapOf(t *testing.T) (*DB, string) {
	t.Helper()
	path := spacePath(t)
	db, _ := spaceDB(t, path, Options{PageSize: 4096})
	fill(t, db, 400, 300, 100)
	overwrite(t, db, 1)
	return db, path
}

// A map of right digests that tells nonsense, of what no digest can tell.
func TestRebuildSpace_WrongMap(t *testing.T) {
	for name, spoil := range map[string]func(db *DB) error{
		"clash": func(db *DB) error { return db.space.free.release(uint64(db.published.Load().meta.Root.Root.ID), 1) },
		"lost": func(db *DB) error {
			db.space.free.setEnd(db.space.free.end() + 2)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			db, path := mapOf(t)
			err := spoil(db)
			db.space.fold = true
			if err := errors.Join(err, db.Update(func(*Tx) error { return nil }), db.Close()); err != nil {
				t.Fatal(err)
			}
			r := rebuilt(t, path)
			if !r.Rebuilt || r.Damage != nil || (r.Clashes > 0) != (name == "clash") || (r.Lost > 0) != (name == "lost") {
				t.Errorf("%+v", r)
			}
			goesOn(t, path)
		})
	}
}

// Where the newest state is unproven and its map damaged, and the other slot is gone,
// Open finds nothing at all; the data may still be whole.
func TestRebuildSpace_UnprovenMap(t *testing.T) {
	dir := memdir.Temp(t)
	f := buildSpaceDamageFile(t, dir, "unproven", true)
	image := bytes.Clone(f.image)
	path := filepath.Join(dir, "unproven.db")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	want := contentOf(t, path)
	var newest int
	if page.PeekTxID(image[damagePage:]) > page.PeekTxID(image) {
		newest = 1
	}
	clear(image[(1-newest)*damagePage:][:page.MetaSize])
	for id, kind := range f.now.kind {
		if isMap(kind) {
			image[int(id)*damagePage+1000] ^= 1
		}
	}
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	if db, err := Open(path, 0o600, nil); err == nil {
		db.Close()
		t.Fatal("Open accepts the file")
	}
	if r := rebuilt(t, path); !r.Rebuilt {
		t.Errorf("%+v", r)
	}
	if got := contentOf(t, path); got != want {
		t.Error("the content changed")
	}
	goesOn(t, path)
}

// rebuiltOn is rebuilt on a disk that holds image and records what is written.
func rebuiltOn(t *testing.T, path string, image []byte) (r *SpaceReport, disk *simdisk.Disk) {
	t.Helper()
	defer fsync.Intercept(path, func(f fsync.File) fsync.File {
		disk = simdisk.New(f, simdisk.Whole(image))
		return disk
	})()
	return rebuilt(t, path), disk
}

// A crash within the rebuild leaves the old state, its map damaged, or the new map.
func TestRebuildSpace_Crash(t *testing.T) {
	rng := seed.Rand(t)
	dir := memdir.Temp(t)
	for _, name := range []string{damageClosed, damageNoSyncClosed} {
		f := buildDamageFile(t, dir, name)
		image := bytes.Clone(f.image)
		for id, kind := range f.now.kind {
			if isMap(kind) {
				image[int(id)*damagePage+1000] ^= 1
			}
		}
		path := filepath.Join(dir, "crash-"+name+".db")
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		want := contentOf(t, path)
		r, disk := rebuiltOn(t, path, image)
		for n := range disk.Position() + 1 {
			for cut := range 12 {
				im := disk.At(n).PowerCut(rng, cut%2 == 1)
				if cut == 0 {
					im = disk.Kill(n, rng)
				}
				writeImage(t, path, im)
				if got := contentOf(t, path); got != want {
					t.Fatalf("%s: event %d, cut %d: the content changed", name, n, cut)
				}
				again := rebuilt(t, path)
				if again.Rebuilt && n == disk.Position() && cut == 0 {
					t.Errorf("%s: not rebuilt at the end: %+v, %+v", name, r, again)
				}
				if got := contentOf(t, path); got != want {
					t.Fatalf("%s: event %d, cut %d: the second rebuild changed the content", name, n, cut)
				}
				goesOn(t, path)
			}
		}
	}
}

func ExampleRebuildSpace() {
	path := filepath.Join(os.TempDir(), fmt.Sprintf("rebuild-%d.db", os.Getpid()))
	defer os.Remove(path)
	db, err := Open(path, 0o600, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := db.Close(); err != nil {
		fmt.Println(err)
		return
	}
	report, err := RebuildSpace(context.Background(), path, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Rebuilt, report.Lost, report.Clashes)
	// Output: false 0 0
}

// A map that can be read and tells nonsense is used as it is until the new one stands: a
// crash within the rebuild must not take pages of it.
func TestRebuildSpace_CrashKeepsWrongMap(t *testing.T) {
	rng := seed.Rand(t)
	db, path := mapOf(t)
	for round := range 30 {
		overwrite(t, db, round+2)
	}
	db.space.free.setEnd(db.space.free.end() + 2)
	db.space.fold = true
	if err := errors.Join(db.Update(func(*Tx) error { return nil }), db.Close()); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := contentOf(t, path)
	r, disk := rebuiltOn(t, path, image)
	if !r.Rebuilt || r.Lost == 0 || r.Free < 3 {
		t.Fatalf("%+v", r)
	}
	crashed := filepath.Join(memdir.Temp(t), "crashed.db")
	for n := range disk.Position() + 1 {
		for cut := range 8 {
			writeImage(t, crashed, disk.At(n).PowerCut(rng, cut%2 == 1))
			db, err := Open(crashed, 0o600, nil)
			if err != nil {
				t.Fatalf("event %d, cut %d: %v", n, cut, err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if got := contentOf(t, crashed); got != want {
				t.Fatalf("event %d, cut %d: the content changed", n, cut)
			}
		}
	}
}
