package backup_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/backup"
)

// A full backup on Monday, what changed on Tuesday, and the state of either day
// restored.
func Example() {
	dir, err := os.MkdirTemp("", "backup")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	at := func(name string) string { return filepath.Join(dir, name) }
	db, err := lightning.Open(at("app.db"), 0o600, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	put := func(value string) {
		if err := db.Update(func(tx *lightning.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("days"))
			if err != nil {
				return err
			}
			return b.Put([]byte("today"), []byte(value))
		}); err != nil {
			log.Fatal(err)
		}
	}
	ctx := context.Background()

	put("Monday")
	if _, err := backup.Create(ctx, db, at("monday.full"), "", 0o600, backup.Options{}); err != nil {
		log.Fatal(err)
	}
	put("Tuesday")
	if _, err := backup.Create(ctx, db, at("tuesday.inc"), at("monday.full"), 0o600, backup.Options{}); err != nil {
		log.Fatal(err)
	}
	chain := []string{at("monday.full"), at("tuesday.inc")}
	good, err := backup.Verify(ctx, chain, backup.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(good), "states can be restored")

	for n := range chain {
		restored := at(fmt.Sprint("restored", n))
		if _, err := backup.Restore(ctx, restored, 0o600, chain[:n+1], backup.Options{}); err != nil {
			log.Fatal(err)
		}
		old, err := lightning.Open(restored, 0o600, nil)
		if err != nil {
			log.Fatal(err)
		}
		if err := old.View(func(tx *lightning.Tx) error {
			fmt.Printf("%s\n", tx.Bucket([]byte("days")).Get([]byte("today")))
			return nil
		}); err != nil {
			log.Fatal(err)
		}
		if err := old.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 2 states can be restored
	// Monday
	// Tuesday
}

// A page that went bad on the disk is replaced from a backup.
func ExampleRepair() {
	dir, err := os.MkdirTemp("", "repair")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path, full := filepath.Join(dir, "app.db"), filepath.Join(dir, "monday.full")
	db, err := lightning.Open(path, 0o600, nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	err = db.Update(func(tx *lightning.Tx) error {
		b, err := tx.CreateBucket([]byte("days"))
		if err != nil {
			return err
		}
		return b.Put([]byte("today"), []byte("Monday"))
	})
	if err == nil {
		_, err = backup.Create(ctx, db, full, "", 0o600, backup.Options{})
	}
	if err = errors.Join(err, db.Close()); err != nil {
		log.Fatal(err)
	}

	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		log.Fatal(err)
	}
	if _, err = f.WriteAt([]byte("rust"), 2*4096+50); err != nil { // the disk fails
		log.Fatal(err)
	}
	if err := f.Close(); err != nil {
		log.Fatal(err)
	}

	report, err := backup.Repair(ctx, path, []string{full}, backup.RepairOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range report.Damaged {
		fmt.Printf("page %d, %s, from %s\n", d.Page, d.Type, filepath.Base(d.From))
	}
	// Output:
	// page 2, branch or leaf, from monday.full
}
