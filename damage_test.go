package lightning

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lightning-db/lightning/page"
)

var damageEvery = flag.Int("damage.every", 13, "TestDamage_EveryByte flips each nth byte of the file")

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

func flipByte(t *testing.T, path string, off int64) {
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
	b[0] ^= 0x10
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
		flipByte(t, path, int64(id)*4096+3000)
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

// Each byte of a small closed file is flipped in turn: Open or reading notices,
// or the content is right, to the last commit.
func TestDamage_EveryByte(t *testing.T) {
	for _, durability := range []Durability{NoSync, Sync} {
		t.Run(durability.String(), func(t *testing.T) {
			path, want := damaged(t, Options{Durability: durability})
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			every := *damageEvery
			if testing.Short() {
				every *= 10
			}
			noticed, harmless := 0, 0
			b := slices.Clone(whole)
			for at := 0; at < len(whole); at += every {
				b[at] ^= byte(1 << (at % 8))
				im := &crashImage{medium: b, cache: b}
				if readDamaged(t, path, im, want, at) {
					noticed++
				} else {
					harmless++
				}
				b[at] = whole[at]
			}
			t.Logf("%d bytes, noticed %d, harmless %d", len(whole), noticed, harmless)
			if noticed == 0 {
				t.Error("no damage was noticed")
			}
		})
	}
}

// readDamaged reads all that there is and reports whether damage was noticed.
func readDamaged(t *testing.T, path string, im *crashImage, want map[string]map[string]string, at int) bool {
	t.Helper()
	db, _, err := openImage(t, path+".flipped", im, Options{})
	if err != nil {
		var open *OpenError
		if !errors.As(err, &open) {
			t.Errorf("byte %d: Open fails with %T: %v", at, err, err)
		}
		return true
	}
	defer db.Close()
	err = db.View(func(tx *Tx) error {
		for _, name := range []string{"one", "two"} {
			b := tx.Bucket([]byte(name))
			if b == nil {
				if tx.Err() == nil {
					t.Errorf("byte %d: bucket %q is gone, no error", at, name)
				}
				return tx.Err()
			}
			seen := 0
			for c, k, v := first(b); k != nil; k, v = c.Next() {
				seen++
				if want[name][string(k)] != string(v) {
					t.Errorf("byte %d: key %q has a wrong value", at, k)
				}
			}
			if tx.Err() == nil && seen != len(want[name]) {
				t.Errorf("byte %d: %d keys, want %d, and no error", at, seen, len(want[name]))
			}
		}
		for err := range tx.Check() {
			return err
		}
		return nil
	})
	return err != nil
}

func first(b *Bucket) (c *Cursor, k, v []byte) {
	c = b.Cursor()
	k, v = c.First()
	return c, k, v
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
	flipByte(t, path, int64(id)*4096+3000)
	if v, err := get(); !errors.Is(err, ErrChecksum) {
		t.Errorf("damaged: %q, %v", v, err)
	}
	flipByte(t, path, int64(id)*4096+3000)
	if v, err := get(); err != nil || v != want["one"]["key10"] {
		t.Errorf("repaired: %q, %v", v, err)
	}
}
