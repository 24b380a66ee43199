package lightning_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"

	lightning "github.com/lightning-db/lightning"
)

func ExampleDiff() {
	db, remove := exampleDB()
	defer remove()

	before, err := db.Begin(false)
	if err != nil {
		log.Fatal(err)
	}
	defer before.Rollback()
	update(db, func(fruit *lightning.Bucket) error {
		return errors.Join(fruit.Put([]byte("date"), []byte("4")), fruit.Delete([]byte("cherry")))
	})
	if err := db.View(func(after *lightning.Tx) error {
		return lightning.Diff(context.Background(), before, after, func(d *lightning.Difference) error {
			fmt.Printf("%s/%s: %q -> %q\n", bytes.Join(d.Path, []byte("/")), d.Key, d.Old, d.New)
			return nil
		})
	}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// fruit/cherry: "6" -> ""
	// fruit/date: "" -> "4"
}

func ExampleTx_Prove() {
	db, remove := exampleDB()
	defer remove()

	// Whoever keeps the database publishes the digest of its state, and hands
	// out a proof to who asks for a key.
	var proof []byte
	var published lightning.State
	if err := db.View(func(tx *lightning.Tx) (err error) {
		if published, err = tx.State(); err == nil {
			proof, err = tx.Prove([][]byte{[]byte("fruit")}, []byte("cherry"))
		}
		return err
	}); err != nil {
		log.Fatal(err)
	}

	// Who has the digest needs neither the database nor trust.
	p, err := lightning.VerifyProof(proof, published.Digest, nil)
	fmt.Printf("%s is %s: %v\n", p.Key, p.Value, err)
	_, err = lightning.VerifyProof(bytes.Replace(proof, []byte("cherry6"), []byte("cherry7"), 1), published.Digest, nil)
	fmt.Println("forged:", errors.Is(err, lightning.ErrProof))
	// Output:
	// cherry is 6: <nil>
	// forged: true
}

func ExampleDB_SetReadOnly() {
	db, remove := exampleDB()
	defer remove()

	if err := db.SetReadOnly(true); err != nil { // from now on, whoever opens the file
		log.Fatal(err)
	}
	err := db.Update(func(tx *lightning.Tx) error { return nil })
	fmt.Println(errors.Is(err, lightning.ErrDatabaseReadOnly))
	// Output: true
}

func ExampleTx_WriteIncrement() {
	db, remove := exampleDB()
	defer remove()

	var since lightning.State // of the last backup
	if err := db.View(func(tx *lightning.Tx) (err error) {
		since, err = tx.State()
		return err
	}); err != nil {
		log.Fatal(err)
	}
	update(db, func(fruit *lightning.Bucket) error { return fruit.Put([]byte("date"), []byte("4")) })

	var increment bytes.Buffer // what changed; package backup verifies and restores it
	if err := db.View(func(tx *lightning.Tx) error {
		_, err := tx.WriteIncrement(&increment, since)
		return err
	}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("pages of 4 KiB, two of them headers:", increment.Len()/4096)
	// Output: pages of 4 KiB, two of them headers: 3
}
