package lightning_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
)

// hangLimit bounds how long a test waits for something that must happen. It is far above what any machine
// needs, and only turns a hang into a failure with a message.
const hangLimit = 60 * time.Second

// openDB opens a database in a new directory. When the test ends it is checked and closed, if it is open.
func openDB(t testing.TB, opts *lightning.Options) *lightning.DB {
	t.Helper()
	return openPath(t, filepath.Join(t.TempDir(), "test.db"), opts)
}

func openPath(t testing.TB, path string, opts *lightning.Options) *lightning.DB {
	t.Helper()
	db, err := lightning.Open(path, 0o600, opts)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if db.Path() == "" {
			return
		}
		if !t.Failed() {
			checkDB(t, db)
		}
		closed := make(chan error, 1)
		go func() { closed <- db.Close() }()
		select {
		case err := <-closed:
			if err != nil {
				t.Errorf("Close: %v", err)
			}
		case <-time.After(hangLimit):
			t.Error("Close hangs: the test left a transaction open")
		}
	})
	return db
}

// reopen closes db and opens the same file again.
func reopen(t testing.TB, db *lightning.DB, opts *lightning.Options) *lightning.DB {
	t.Helper()
	path := db.Path()
	if err := db.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	return openPath(t, path, opts)
}

func checkDB(t testing.TB, db *lightning.DB) {
	t.Helper()
	err := db.View(func(tx *lightning.Tx) error {
		for err := range tx.Check() {
			t.Errorf("Check: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Errorf("View for Check: %v", err)
	}
}

func mustUpdate(t testing.TB, db *lightning.DB, fn func(tx *lightning.Tx)) {
	t.Helper()
	if err := db.Update(func(tx *lightning.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func mustView(t testing.TB, db *lightning.DB, fn func(tx *lightning.Tx)) {
	t.Helper()
	if err := db.View(func(tx *lightning.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatalf("View: %v", err)
	}
}

func mustBegin(t testing.TB, db *lightning.DB, writable bool) *lightning.Tx {
	t.Helper()
	tx, err := db.Begin(writable)
	if err != nil {
		t.Fatalf("Begin(%v): %v", writable, err)
	}
	return tx
}

func mustCommit(t testing.TB, tx *lightning.Tx) {
	t.Helper()
	if err := tx.Commit(); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

func mustRollback(t testing.TB, tx *lightning.Tx) {
	t.Helper()
	if err := tx.Rollback(); err != nil {
		t.Fatalf("Rollback: %v", err)
	}
}

func mustCreate(t testing.TB, tx *lightning.Tx, name string) *lightning.Bucket {
	t.Helper()
	b, err := tx.CreateBucket([]byte(name))
	if err != nil {
		t.Fatalf("CreateBucket(%.40q): %v", name, err)
	}
	return b
}

func mustNest(t testing.TB, b *lightning.Bucket, name string) *lightning.Bucket {
	t.Helper()
	child, err := b.CreateBucket([]byte(name))
	if err != nil {
		t.Fatalf("Bucket.CreateBucket(%.40q): %v", name, err)
	}
	return child
}

func mustBucket(t testing.TB, tx *lightning.Tx, path ...string) *lightning.Bucket {
	t.Helper()
	b := tx.Bucket([]byte(path[0]))
	for _, name := range path[1:] {
		if b != nil {
			b = b.Bucket([]byte(name))
		}
	}
	if b == nil {
		t.Fatalf("bucket %q does not exist", path)
	}
	return b
}

func mustPut(t testing.TB, b *lightning.Bucket, key, value string) {
	t.Helper()
	if err := b.Put([]byte(key), []byte(value)); err != nil {
		t.Fatalf("Put(%.40q): %v", key, err)
	}
}

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

func wantValue(t testing.TB, b *lightning.Bucket, key, want string) {
	t.Helper()
	got := b.Get([]byte(key))
	if got == nil && want != "" || string(got) != want {
		t.Errorf("Get(%.40q): got %.40q (%d bytes), want %.40q (%d bytes)", key, got, len(got), want, len(want))
	}
}

func wantAbsent(t testing.TB, b *lightning.Bucket, key string) {
	t.Helper()
	if got := b.Get([]byte(key)); got != nil {
		t.Errorf("Get(%.40q): got %.40q, want nil", key, got)
	}
}

// waitFor fails the test when done is not closed in time.
func waitFor(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(hangLimit):
		t.Fatalf("%s hangs", what)
	}
}

// recovered runs fn and returns what it panicked with, or nil.
func recovered(fn func()) (value any) {
	defer func() { value = recover() }()
	fn()
	return nil
}

func numberedKey(i int) string { return fmt.Sprintf("key-%08d", i) }

// pageSizes are all the page sizes that a file can have.
var pageSizes = []int{4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10}

// dumpDB writes all buckets with their sequences, keys and values as one string.
func dumpDB(t *testing.T, db *lightning.DB) string {
	t.Helper()
	var out strings.Builder
	var dump func(b *lightning.Bucket)
	dump = func(b *lightning.Bucket) {
		fmt.Fprintf(&out, "{seq=%d", b.Sequence())
		err := b.ForEach(func(k, v []byte) error {
			if v != nil {
				fmt.Fprintf(&out, " %q=%q", k, v)
				return nil
			}
			fmt.Fprintf(&out, " %q:", k)
			dump(b.Bucket(k))
			return nil
		})
		if err != nil {
			t.Errorf("ForEach: %v", err)
		}
		out.WriteString("}")
	}
	mustView(t, db, func(tx *lightning.Tx) {
		err := tx.ForEach(func(name []byte, b *lightning.Bucket) error {
			fmt.Fprintf(&out, " %q:", name)
			dump(b)
			return nil
		})
		if err != nil {
			t.Errorf("Tx.ForEach: %v", err)
		}
	})
	return out.String()
}

// fillBucket creates the bucket b with the keys numberedKey(0), numberedKey(1) and so on.
func fillBucket(t *testing.T, db *lightning.DB, keys int) {
	t.Helper()
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(keys) {
			mustPut(t, b, numberedKey(i), fmt.Sprint(i))
		}
	})
}
