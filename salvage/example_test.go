package salvage_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/salvage"
)

// A page of a database has rotted, and there is no backup.
func ExampleRun() {
	dir, err := os.MkdirTemp("", "salvage")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	src, dst := filepath.Join(dir, "app.db"), filepath.Join(dir, "saved.db")
	db, err := lightning.Open(src, 0o600, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := db.Update(func(tx *lightning.Tx) error {
		b, err := tx.CreateBucket([]byte("users"))
		if err != nil {
			return err
		}
		for i := range 1000 {
			if err := b.Put(fmt.Appendf(nil, "user%04d", i), []byte("somebody")); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		log.Fatal(err)
	}
	if err := db.Close(); err != nil {
		log.Fatal(err)
	}
	rot(src)

	report, err := salvage.Run(context.Background(), src, dst, salvage.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("whole:", report.Whole())
	for _, l := range report.Lost {
		fmt.Printf("lost in %v: %q to before %q\n", l.Bucket, l.Lower, l.Upper)
	}
	b := report.Damaged[0]
	fmt.Printf("%v: %d + %d of %d keys\n", b.Path, b.Saved.Sum(), b.Missing, b.Keys)
	// Output:
	// whole: false
	// lost in /users: "" to before "user0162"
	// /users: 838 + 162 of 1000 keys
}

// rot changes a bit in page 2.
func rot(path string) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	at := int64(2*lightning.DefaultPageSize + 1000)
	if _, err := f.ReadAt(b[:], at); err != nil {
		log.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], at); err != nil {
		log.Fatal(err)
	}
}
