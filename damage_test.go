package lightning

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lightning-db/lightning/internal/memdir"
	"github.com/lightning-db/lightning/page"
)

// damaged makes a closed file with two buckets of several pages each.
func damaged(t *testing.T, o Options) (path string, want map[string]map[string]string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "damaged.db")
	db, err := Open(path, 0o600, &o)
	if err != nil {
		t.Fatal(err)
	}
	want = map[string]map[string]string{}
	for _, name := range []string{"one", "two"} {
		want[name] = map[string]string{}
		err := db.Update(func(tx *Tx) error {
			b, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			for i := range 24 {
				k, v := fmt.Sprintf("key%02d", i), text(byte('a'+i%26), 200)
				if i == 12 {
					v = text('B', 5000)
				}
				want[name][k] = v
				if err := b.Put([]byte(k), []byte(v)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path, want
}

// leafOf returns the page of the leaf or value that holds key.
func leafOf(t *testing.T, path, bucket, key string) (id page.ID) {
	t.Helper()
	db, err := Open(path, 0o600, &Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *Tx) error {
		v, _, found, err := tx.Bucket([]byte(bucket)).tree.find([]byte(key))
		if err == nil && !found {
			err = errors.New("key not found")
		}
		if err == nil {
			id = page.IDOf(v.img)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func flipBit(t *testing.T, path string, off int64, bit byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := []byte{0}
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= bit
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

// A damaged leaf is named, what it holds is not returned, and the rest of the
// database stays readable.
func TestDamage_LeafIsNamedAndTheRestReadable(t *testing.T) {
	for _, durability := range []Durability{Sync, NoSync} {
		path, want := damaged(t, Options{Durability: durability})
		id := leafOf(t, path, "one", "key10")
		flipBit(t, path, int64(id)*4096+3000, 0x10)
		db, err := Open(path, 0o600, nil)
		if err != nil {
			t.Fatalf("%v: Open: %v", durability, err)
		}
		named := func(what string, err error) {
			t.Helper()
			var c *CorruptionError
			if !errors.As(err, &c) || c.Page != uint64(id) || !errors.Is(err, ErrChecksum) || c.Path != path {
				t.Errorf("%s: %v, want a CorruptionError for page %d", what, err, id)
			}
		}
		tx, err := db.Begin(false)
		if err != nil {
			t.Fatal(err)
		}
		if v := tx.Bucket([]byte("one")).Get([]byte("key10")); v != nil {
			t.Errorf("Get returns %d bytes from a damaged page", len(v))
		}
		named("Tx.Err", tx.Err())
		for k, v := range want["two"] {
			if got := tx.Bucket([]byte("two")).Get([]byte(k)); string(got) != v {
				t.Errorf("key %q of the other bucket is not readable", k)
			}
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		get := func(tx *Tx) error {
			if tx.Bucket([]byte("one")).Get([]byte("key10")) != nil {
				return errors.New("Get returns damage")
			}
			return nil
		}
		named("View", db.View(get))
		named("Update", db.Update(get))
		named("ForEach", db.View(func(tx *Tx) error {
			return tx.Bucket([]byte("one")).ForEach(func(_, _ []byte) error { return nil })
		}))
		named("Cursor", db.View(func(tx *Tx) error {
			c := tx.Bucket([]byte("one")).Cursor()
			if k, _ := c.Seek([]byte("key10")); k != nil {
				return fmt.Errorf("Seek returns %q", k)
			}
			return nil
		}))
		named("Put", db.Update(func(tx *Tx) error { return tx.Bucket([]byte("one")).Put([]byte("key10"), []byte("x")) }))
		if err := db.Update(func(tx *Tx) error { return tx.Bucket([]byte("two")).Put([]byte("new"), []byte("x")) }); err != nil {
			t.Errorf("Update of the other bucket: %v", err)
		}
		if err := db.View(func(tx *Tx) error {
			var found []error
			for err := range tx.Check() {
				found = append(found, err)
			}
			if len(found) == 0 {
				t.Error("Check finds nothing")
				return nil
			}
			named("Check", found[0])
			return nil
		}); err != nil {
			t.Errorf("View around Check: %v", err)
		}
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

// Every byte, sector and page of a small file is damaged in turn, in every way
// that disks are known for. Each time Open refuses the file, or what is
// touched fails by name and the rest is right, or all is right; where the file
// was not closed, damage to the last commit takes the file back to the commit
// before (after unsynced commits to the last synced one), with a warning.
// Nothing else, and never a panic.
func TestDamage_Everything(t *testing.T) {
	share := 1 // all
	switch {
	case testing.Short():
		share = 17
	case *damageEvery >= damageSample:
		share = 5
	}
	for _, name := range []string{damageClosed, damageKilled, damageNoSync, damageNoSyncClosed} {
		t.Run(name, func(t *testing.T) {
			dir := memdir.Temp(t)
			f := buildDamageFile(t, dir, name)
			began := time.Now()
			table := (&damageRun{f: f, dir: dir, every: *damageEvery, pick: f.share(share), limit: damageProblems}).run(t)
			t.Logf("%d pages, -damage.every=%d: %d states in %v\n%v", f.pages(), *damageEvery, table.states, time.Since(began).Round(time.Millisecond), table)
			table.report(t)
			assertDamageTable(t, f, table)
		})
	}
}

// assertDamageTable wants every type of page in the file, damage to what is in
// use never harmless, and damage to what is not never anything else.
func assertDamageTable(t *testing.T, f *damageFile, table *damageTable) {
	t.Helper()
	rows := table.byRow()
	for _, kind := range []string{"root", "branch", "leaf", "nested leaf", "value", "key", "bitmap", "index", "log"} {
		if rows[kind] == nil && rows[kind+"*"] == nil {
			t.Errorf("no page of type %s", kind)
		}
	}
	for row, outcomes := range rows {
		allowed := []string{damageRefused, damageReported}
		switch {
		case row == "free", row == "tail", row == "length beyond":
			allowed = []string{damageHarmless}
		case row == "length within":
			allowed = []string{damageRefused, damageBack, damageNew}
		case row == "meta older":
			allowed = []string{damageHarmless}
		case row == "meta newest" && f.back == nil:
			allowed = []string{damageHarmless} // Close wrote the state into both slots
		case row == "meta newest":
			allowed = []string{damageBack, damageBackMute, damageRefused}
		case f.back != nil && row[len(row)-1] == '*':
			allowed = []string{damageRefused, damageBack}
		}
		for outcome, n := range outcomes {
			if !slices.Contains(allowed, outcome) {
				t.Errorf("%s: %s %d times, want %v", row, outcome, n, allowed)
			}
		}
	}
}

// Settings that verify more, or less: reading damage ends, and does not panic.
func TestDamage_VerifyAlwaysAndNever(t *testing.T) {
	dir := memdir.Temp(t)
	f := buildDamageFile(t, dir, damageClosed)
	share := 1 // of those that -damage.every leaves, all
	switch {
	case testing.Short():
		share = 17
	case *damageEvery >= damageSample:
		share = 5
	}
	for _, verify := range []Verify{VerifyAlways, VerifyNever} {
		table := (&damageRun{
			f: f, dir: dir, every: *damageEvery, verify: verify, limit: damageProblems, pick: f.share(share),
		}).run(t)
		t.Logf("Verify %d, %d states\n%v", verify, table.states, table)
		table.report(t)
	}
}

// Page said "page 0" where it had found the bitmap of free pages damaged.
func TestDamage_BitmapIsNamed(t *testing.T) {
	dir := memdir.Temp(t)
	f := buildDamageFile(t, dir, damageClosed)
	var bitmap page.ID
	for id, kind := range f.now.kind {
		if kind == "bitmap" {
			bitmap = id
		}
	}
	lab := newDamageLab(t, dir, "bitmap")
	defer lab.close()
	image := bytes.Clone(f.image)
	image[int(bitmap)*damagePage+1000] ^= 1
	if err := lab.set(image); err != nil {
		t.Fatal(err)
	}
	db, err := Open(lab.path, 0o600, &Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *Tx) error {
		_, err := tx.Page(2)
		return err
	})
	var c *CorruptionError
	if !errors.As(err, &c) || c.Page != uint64(bitmap) {
		t.Errorf("%v, want a CorruptionError for page %d", err, bitmap)
	}
}

// What could not be read from the medium once is read again the next time.
func TestDamage_RepairedPageIsReadable(t *testing.T) {
	path, want := damaged(t, Options{})
	id := leafOf(t, path, "one", "key10")
	db, err := Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	get := func() (v string, err error) {
		err = db.View(func(tx *Tx) error {
			v = string(tx.Bucket([]byte("one")).Get([]byte("key10")))
			return nil
		})
		return v, err
	}
	flipBit(t, path, int64(id)*4096+3000, 0x10)
	if v, err := get(); !errors.Is(err, ErrChecksum) {
		t.Errorf("damaged: %q, %v", v, err)
	}
	flipBit(t, path, int64(id)*4096+3000, 0x10)
	if v, err := get(); err != nil || v != want["one"]["key10"] {
		t.Errorf("repaired: %q, %v", v, err)
	}
}
