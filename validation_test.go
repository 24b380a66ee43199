package lightning

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/lightning-db/lightning/fsync"
)

// killedAfterPut makes a file of three levels as a kill leaves it after a
// durable put of one key.
func killedAfterPut(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "db")
	db := mustOpen(t, path, Options{})
	if err := db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		for i := 0; i < 5000 && err == nil; i++ {
			err = b.Put(fmt.Appendf(nil, "key %08d", i), []byte(text('v', 100)))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *Tx) error { return tx.Bucket([]byte("b")).Put([]byte("key 00002500"), []byte("last")) }); err != nil {
		t.Fatal(err)
	}
	image := mustRead(t, path)
	mustClose(t, db)
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// openCounted opens the file with the faults that plan sets, and returns how often
// unproven pages were read and how many were found good.
func openCounted(t *testing.T, path string, plan func(f *fsync.Faults)) (reads, pages int) {
	t.Helper()
	var faults *fsync.Faults
	o := &Options{OnRecovery: func(p RecoveryProgress) { pages = max(pages, p.Pages) }}
	db, err := openThrough(path, o, func(f fsync.File) fsync.File {
		faults = fsync.NewFaults(f)
		plan(faults)
		return faults
	})
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, db)
	if err := db.View(func(tx *Tx) error {
		if v := tx.Bucket([]byte("b")).Get([]byte("key 00002500")); string(v) != "last" {
			t.Errorf("got %q, want what was put last", v)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	return faults.Calls(fsync.OpPageRead), pages
}

// What a small transaction wrote lies in a row, and is read at once: nothing waits
// for the medium level by level.
func TestValidation_ReadsARowAtOnce(t *testing.T) {
	reads, pages := openCounted(t, killedAfterPut(t), func(*fsync.Faults) {})
	if reads != 1 || pages < 4 {
		t.Errorf("%d pages validated with %d reads, want 4 or more with one", pages, reads)
	}
}

// The pages around those that are validated need not be readable.
func TestValidation_NeighboursDoNotMatter(t *testing.T) {
	reads, pages := openCounted(t, killedAfterPut(t), func(f *fsync.Faults) { f.Fail(fsync.OpPageRead, 1, syscall.EIO) })
	if reads < 3 || pages < 4 {
		t.Errorf("%d pages validated with %d reads, want 4 or more with 3 or more", pages, reads)
	}
}
