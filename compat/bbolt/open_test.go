package bbolt_test

import (
	"bytes"
	stderrors "errors"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lightning-db/lightning"
	"go.etcd.io/bbolt"
	"go.etcd.io/bbolt/errors"
)

// Programs compare the errors of Open with ==.
func TestOpen_BareErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	logger := &bbolt.DefaultLogger{Logger: log.New(&logged, "", 0)}
	if _, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Millisecond, Logger: logger}); err != bbolt.ErrTimeout {
		t.Errorf("Open of a locked file: got %v, want exactly %v", err, bbolt.ErrTimeout)
	}
	if !strings.Contains(logged.String(), path) {
		t.Errorf("the log does not name the file: %q", logged.String())
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, bytes.Repeat([]byte("other "), 3000), 0o600); err != nil {
		t.Fatal(err)
	}
	if db, err := bbolt.Open(other, 0o600, nil); err != bbolt.ErrInvalid || db != nil {
		t.Errorf("Open of another file: got %v, %v, want nil and exactly %v", db, err, bbolt.ErrInvalid)
	}
	if db, err := bbolt.Open(filepath.Join(dir, "no", "db"), 0o600, nil); !stderrors.Is(err, os.ErrNotExist) || db != nil {
		t.Errorf("Open in a missing directory: got %v, %v, want nil and %v", db, err, os.ErrNotExist)
	}
}

// The variable is the program's to set.
func TestOpen_DefaultOptions(t *testing.T) {
	old := bbolt.DefaultOptions
	defer func() { bbolt.DefaultOptions = old }()
	bbolt.DefaultOptions = &bbolt.Options{PageSize: 16384, NoSync: true}
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if got := db.Info().PageSize; got != 16384 || !db.NoSync {
		t.Errorf("page size %d, NoSync %t; want 16384, true", got, db.NoSync)
	}
}

// Programs delete the file while it is open: tests that clean up, and those who
// use it as scratch space.
func TestOpen_Removed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("b"))
		return err
	}); err != nil {
		t.Errorf("Update after the file was deleted: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("Close after the file was deleted: %v", err)
	}
}

// One program uses the three packages side by side.
func TestSameValues(t *testing.T) {
	if bbolt.ErrTimeout != errors.ErrTimeout || errors.ErrTimeout != lightning.ErrTimeout {
		t.Error("the errors of the packages differ")
	}
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	var engine *lightning.DB = db
	if err := engine.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("b"))
		if err != nil {
			return err
		}
		return b.Put([]byte("k"), []byte("v"))
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.View(func(tx *lightning.Tx) error {
		for err := range tx.Check(bbolt.WithKVStringer(bbolt.HexKVStringer()), bbolt.WithPageId(0)) {
			t.Error(err)
		}
		_, err := tx.WriteTo(io.Discard)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	copied, err := bbolt.Open(path+".copy", 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := bbolt.Compact(copied, db, 0); err != nil {
		t.Error(err)
	}
	for _, db := range []*bbolt.DB{db, copied} {
		if err := db.View(func(tx *bbolt.Tx) error {
			if got := tx.Bucket([]byte("b")).Get([]byte("k")); string(got) != "v" {
				t.Errorf("got %q, want v", got)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}
