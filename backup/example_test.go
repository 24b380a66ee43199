package backup_test

import (
	"context"
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
