package chaos_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/chaos/simdisk"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/page"
)

// Slot 1 of a new database is damaged: Open goes on from transaction 0, and the
// first commit is transaction 1, as creation's own was. Close took it for that,
// wrote no second meta, and damage to the closed file then undid the commit silently.
func TestCrash_FirstCommitClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "first.db")
	open := func(im *simdisk.Image) (db *lightning.DB, disk *simdisk.Disk) {
		t.Helper()
		if err := im.WriteTo(path); err != nil {
			t.Fatal(err)
		}
		defer fsync.Intercept(path, func(f fsync.File) fsync.File {
			disk = simdisk.New(f, im)
			return disk
		})()
		db, err := lightning.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		return db, disk
	}
	db, disk := open(&simdisk.Image{})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	created := disk.At(disk.Position()).Choose(func(simdisk.Event) bool { return true }).Medium
	created[len(created)/2+page.MetaSize/2] ^= 1

	db, disk = open(simdisk.Whole(created))
	if err := db.Update(func(tx *lightning.Tx) error {
		b, err := tx.CreateBucket([]byte("bucket"))
		if err != nil {
			return err
		}
		return b.Put([]byte("key"), make([]byte, 1000))
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for i, e := range disk.Events() {
		if e.Op == fsync.OpPageWrite {
			file := disk.At(disk.Position()).Choose(func(simdisk.Event) bool { return true }).Medium
			file[e.Off+int64(len(e.Data))/2] ^= 1
			if err := os.WriteFile(path, file, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := look(path); err == nil {
				t.Errorf("a bit turned in the pages that event %d wrote: the committed bucket is gone, and no error", i)
			}
		}
	}
}

// look returns the error that says that the bucket cannot be had, nil if it is
// said not to be there.
func look(path string) error {
	db, err := lightning.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	err = db.View(func(tx *lightning.Tx) error {
		if tx.Bucket([]byte("bucket")) == nil {
			return tx.Err()
		}
		return tx.Bucket([]byte("bucket")).ForEach(func(_, _ []byte) error { return nil })
	})
	if closing := db.Close(); err == nil {
		err = closing
	}
	return err
}
