package lightning_test

import (
	"bufio"
	"bytes"
	"fmt"
	"log"
	"strings"

	lightning "github.com/lightning-db/lightning"
)

func ExampleBucket_Put() {
	db, remove := exampleDB()
	defer remove()

	update(db, func(fruit *lightning.Bucket) error {
		return fruit.Put([]byte("date"), []byte("sweet")) // both are copied
	})
	view(db, func(fruit *lightning.Bucket) error {
		fmt.Printf("%s\n", fruit.Get([]byte("date")))
		return nil
	})
	// Output: sweet
}

func ExampleBucket_Get() {
	db, remove := exampleDB()
	defer remove()

	var kept []byte
	view(db, func(fruit *lightning.Bucket) error {
		fmt.Println(fruit.Get([]byte("plum")) == nil)
		kept = bytes.Clone(fruit.Get([]byte("cherry"))) // values end with their transaction
		return nil
	})
	fmt.Printf("%s\n", kept)
	// Output:
	// true
	// 6
}

func ExampleBucket_CreateBucket() {
	db, remove := exampleDB()
	defer remove()

	update(db, func(fruit *lightning.Bucket) error {
		citrus, err := fruit.CreateBucket([]byte("citrus"))
		if err != nil {
			return err
		}
		return citrus.Put([]byte("lemon"), []byte("sour"))
	})
	view(db, func(fruit *lightning.Bucket) error {
		fmt.Printf("%s\n", fruit.Bucket([]byte("citrus")).Get([]byte("lemon")))
		fmt.Println(fruit.Put([]byte("citrus"), nil))
		return nil
	})
	// Output:
	// sour
	// tx not writable
}

func ExampleBucket_MoveBucket() {
	db, remove := exampleDB()
	defer remove()

	err := db.Update(func(tx *lightning.Tx) error {
		shop, err := tx.CreateBucket([]byte("shop"))
		if err != nil {
			return err
		}
		return tx.MoveBucket([]byte("fruit"), nil, shop) // nil is the root
	})
	if err != nil {
		log.Fatal(err)
	}
	err = db.View(func(tx *lightning.Tx) error {
		fmt.Println(tx.Bucket([]byte("fruit")) == nil)
		fmt.Println(tx.Bucket([]byte("shop")).Bucket([]byte("fruit")).Len())
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// true
	// 4
}

func ExampleBucket_NextSequence() {
	db, remove := exampleDB()
	defer remove()

	update(db, func(fruit *lightning.Bucket) error {
		for range 2 {
			id, err := fruit.NextSequence()
			if err != nil {
				return err
			}
			fmt.Println(id)
		}
		return nil
	})
	// Output:
	// 1
	// 2
}

func ExampleBucket_ForEach() {
	db, remove := exampleDB()
	defer remove()

	view(db, func(fruit *lightning.Bucket) error {
		return fruit.ForEach(func(k, v []byte) error {
			fmt.Printf("%s=%s\n", k, v)
			return nil
		})
	})
	// Output:
	// apple=5
	// apricot=7
	// banana=6
	// cherry=6
}

func ExampleBucket_Prefix() {
	db, remove := exampleDB()
	defer remove()

	view(db, func(fruit *lightning.Bucket) error {
		for k := range fruit.Prefix([]byte("ap")) {
			fmt.Printf("%s\n", k)
		}
		return fruit.Tx().Err() // a page that could not be read ends the loop
	})
	// Output:
	// apple
	// apricot
}

func ExampleBucket_Range() {
	db, remove := exampleDB()
	defer remove()

	view(db, func(fruit *lightning.Bucket) error {
		for k, v := range fruit.Range([]byte("apricot"), []byte("cherry")) {
			fmt.Printf("%s=%s\n", k, v)
		}
		return fruit.Tx().Err()
	})
	// Output:
	// apricot=7
	// banana=6
}

func ExampleBucket_Backward() {
	db, remove := exampleDB()
	defer remove()

	view(db, func(fruit *lightning.Bucket) error {
		for k := range fruit.Backward() {
			fmt.Printf("%s\n", k)
			if bytes.Equal(k, []byte("banana")) {
				break
			}
		}
		return fruit.Tx().Err()
	})
	// Output:
	// cherry
	// banana
}

func ExampleBucket_DeleteRange() {
	db, remove := exampleDB()
	defer remove()

	update(db, func(fruit *lightning.Bucket) error {
		n, err := fruit.DeleteRange([]byte("apricot"), nil)
		fmt.Println(n, "deleted,", fruit.Len(), "left")
		return err
	})
	// Output: 3 deleted, 1 left
}

func ExampleBucket_Clear() {
	db, remove := exampleDB()
	defer remove()

	update(db, func(fruit *lightning.Bucket) error {
		if err := fruit.Clear(); err != nil {
			return err
		}
		fmt.Println(fruit.Len())
		return nil
	})
	// Output: 0
}

func ExampleCursor() {
	db, remove := exampleDB()
	defer remove()

	view(db, func(fruit *lightning.Bucket) error {
		c := fruit.Cursor()
		for k, v := c.Seek([]byte("b")); k != nil; k, v = c.Next() {
			fmt.Printf("%s=%s\n", k, v)
		}
		k, _ := c.Prev()
		fmt.Printf("before the last: %s\n", k)
		return fruit.Tx().Err()
	})
	// Output:
	// banana=6
	// cherry=6
	// before the last: banana
}

func ExampleCursor_Delete() {
	db, remove := exampleDB()
	defer remove()

	update(db, func(fruit *lightning.Bucket) error {
		c := fruit.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if !bytes.Equal(v, []byte("6")) {
				continue
			}
			if err := c.Delete(); err != nil {
				return err
			}
		}
		fmt.Println(fruit.Len(), "left")
		return nil
	})
	// Output: 2 left
}

func ExampleBucket_Load() {
	db, remove := exampleDB()
	defer remove()

	update(db, func(fruit *lightning.Bucket) error {
		sorted := bufio.NewScanner(strings.NewReader("damson 6\nelderberry 10\nfig 3\n"))
		n, err := fruit.Load(func(put func(key, value []byte) error) error {
			for sorted.Scan() {
				name, length, _ := bytes.Cut(sorted.Bytes(), []byte(" "))
				if err := put(name, length); err != nil {
					return err
				}
			}
			return sorted.Err() // a source that fails leaves nothing behind
		})
		fmt.Println(n, "loaded,", fruit.Len(), "in all")
		return err
	})
	// Output: 3 loaded, 7 in all
}
