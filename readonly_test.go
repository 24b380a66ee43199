package lightning_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/lightning-db/lightning"
)

// Read-only lasts until it is taken away, whatever opens the file, also a copy made
// the moment after, as a kill or a power cut would leave it.
func TestSetReadOnly_LastsInTheFile(t *testing.T) {
	for name, o := range map[string]*lightning.Options{"sync": {}, "nosync": {Durability: lightning.NoSync}, "keyed": {IntegrityKey: []byte("k")}} {
		db := openDB(t, o)
		put := func(value string) error {
			return db.Update(func(tx *lightning.Tx) error {
				b, err := tx.CreateBucketIfNotExists([]byte("b"))
				if err != nil {
					return err
				}
				return b.Put([]byte("key"), []byte(value))
			})
		}
		want := func(when, value string, frozen bool) {
			t.Helper()
			mustView(t, db, func(tx *lightning.Tx) { wantValue(t, tx.Bucket([]byte("b")), "key", value) })
			if db.IsReadOnly() != frozen {
				t.Errorf("%s: %s: IsReadOnly() = %v", name, when, !frozen)
			}
			if err := put("refused"); frozen {
				wantErr(t, name+": "+when, err, lightning.ErrDatabaseReadOnly)
			}
			checkDB(t, db)
		}
		for range 3 {
			if err := put("one"); err != nil {
				t.Fatal(err)
			}
			if err := db.SetReadOnly(true); err != nil {
				t.Fatal(err)
			}
			want("set", "one", true)
			image, err := os.ReadFile(db.Path())
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "killed")
			if err := os.WriteFile(path, image, 0o600); err != nil {
				t.Fatal(err)
			}
			db = reopen(t, db, o)
			want("reopened", "one", true)
			live := db
			db = openPath(t, path, o)
			want("of a kill", "one", true)
			db = live
			for range 2 { // the second one changes nothing
				if err := db.SetReadOnly(false); err != nil {
					t.Fatal(err)
				}
			}
			if err := put("two"); err != nil {
				t.Fatal(err)
			}
			db = reopen(t, db, o)
			if err := put("three"); err != nil || db.IsReadOnly() {
				t.Errorf("%s: writable again and reopened: %v", name, err)
			}
		}
	}
}

// Beside writers: whoever got through is in the file, whoever was refused is not.
func TestSetReadOnly_BesideWriters(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustCreate(t, tx, "b") })
	var writers sync.WaitGroup
	wrote := make([]int, 8)
	for w := range wrote {
		writers.Go(func() {
			for range 60 {
				err := db.Update(func(tx *lightning.Tx) error {
					b := tx.Bucket([]byte("b"))
					return b.Put([]byte(numberedKey(w*1000+wrote[w])), nil)
				})
				switch {
				case err == nil:
					wrote[w]++
				case !errors.Is(err, lightning.ErrDatabaseReadOnly):
					t.Error(err)
				}
			}
		})
	}
	for i := range 20 {
		if err := db.SetReadOnly(i%2 == 0); err != nil {
			t.Error(err)
		}
	}
	writers.Wait()
	total := 0
	for _, n := range wrote {
		total += n
	}
	mustView(t, db, func(tx *lightning.Tx) {
		if n := tx.Bucket([]byte("b")).Len(); n != total {
			t.Errorf("%d keys, %d were put", n, total)
		}
	})
	if err := db.SetReadOnly(true); err != nil {
		t.Fatal(err)
	}
	db = reopen(t, db, nil)
	mustView(t, db, func(tx *lightning.Tx) {
		if n := tx.Bucket([]byte("b")).Len(); n != total {
			t.Errorf("%d keys after reopening, %d were put", n, total)
		}
	})
}

func TestSetReadOnly_Errors(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { wantErr(t, "inside Update", db.SetReadOnly(true), lightning.ErrNestedUpdate) })
	path := db.Path()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "closed", db.SetReadOnly(true), lightning.ErrDatabaseNotOpen)
	ro := openPath(t, path, &lightning.Options{ReadOnly: true})
	wantErr(t, "opened read-only", ro.SetReadOnly(false), lightning.ErrDatabaseReadOnly)
}

// A writer that waits while the database becomes read-only gets in before that, or not at all.
func TestSetReadOnly_WriterThatWaits(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustCreate(t, tx, "b") })
	for range 40 {
		before, err := db.Begin(true)
		if err != nil {
			t.Fatal(err)
		}
		var waiting sync.WaitGroup
		var wrote [8]int
		for w := range wrote {
			waiting.Go(func() {
				err := db.Update(func(tx *lightning.Tx) error {
					wrote[w] = tx.ID()
					return tx.Bucket([]byte("b")).Put([]byte("k"), nil)
				})
				if err != nil {
					wrote[w] = 0
					wantErr(t, "waited", err, lightning.ErrDatabaseReadOnly)
				}
			})
		}
		waiting.Go(func() {
			if err := db.SetReadOnly(true); err != nil {
				t.Error(err)
			}
		})
		runtime.Gosched()
		if err := before.Rollback(); err != nil {
			t.Fatal(err)
		}
		waiting.Wait()
		mustView(t, db, func(tx *lightning.Tx) {
			for _, id := range wrote {
				if id >= tx.ID() {
					t.Errorf("transaction %d wrote, the database is read-only since %d", id, tx.ID())
				}
			}
		})
		if err := db.SetReadOnly(false); err != nil {
			t.Fatal(err)
		}
	}
}
