package lightning

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/lightning-db/lightning/fsync"
)

// What the tests of regressions share.

// openThrough opens the database with wrap between the engine and its file.
func openThrough(path string, o *Options, wrap func(fsync.File) fsync.File) (*DB, error) {
	defer fsync.Intercept(path, wrap)()
	return Open(path, 0o600, o)
}

// mustOpenThrough is openThrough that must succeed.
func mustOpenThrough(t *testing.T, path string, wrap func(fsync.File) fsync.File) *DB {
	t.Helper()
	db, err := openThrough(path, nil, wrap)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return db
}

// openWithFaults opens a database with a fault-injecting file between.
func openWithFaults(t *testing.T, path string, o Options) (*DB, *fsync.Faults) {
	t.Helper()
	var faults *fsync.Faults
	db, err := openThrough(path, &o, func(f fsync.File) fsync.File {
		faults = fsync.NewFaults(f)
		return faults
	})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil && !errors.Is(err, ErrPoisoned) {
			t.Errorf("Close: %v", err)
		}
	})
	return db, faults
}

func putOne(t *testing.T, db *DB, key string, value []byte) {
	t.Helper()
	err := db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("b"))
		if err != nil {
			return err
		}
		return b.Put([]byte(key), value)
	})
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
}

func overwriteAt(t *testing.T, path string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

type slowSync struct{ fsync.File }

func (s slowSync) Sync(op fsync.Op) error {
	time.Sleep(2 * time.Millisecond)
	return s.File.Sync(op)
}

type countingLogger struct {
	Logger
	mu     sync.Mutex
	errors []string
}

func (l *countingLogger) Errorf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errors = append(l.errors, fmt.Sprintf(format, v...))
}
