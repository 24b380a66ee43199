package lightning_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
)

func Example() {
	path := filepath.Join(os.TempDir(), "lightning-example.db")
	defer os.Remove(path)

	db, err := lightning.Open(path, 0o600, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *lightning.Tx) error { // durable when Update returns
		users, err := tx.CreateBucketIfNotExists([]byte("users"))
		if err != nil {
			return err
		}
		return users.Put([]byte("alice"), []byte("admin"))
	})
	if err != nil {
		log.Fatal(err)
	}
	err = db.View(func(tx *lightning.Tx) error { // a snapshot; waits for nobody
		fmt.Printf("alice is %s\n", tx.Bucket([]byte("users")).Get([]byte("alice")))
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: alice is admin
}

// TestReadme_Example keeps the code in README.md the same as in Example.
func TestReadme_Example(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, found := strings.Cut(strings.ReplaceAll(string(readme), "\r\n", "\n"), "```go\n")
	code, _, closed := strings.Cut(code, "```")
	if !found || !closed {
		t.Fatal("README.md has no Go code")
	}
	var indented strings.Builder
	for line := range strings.Lines(code) {
		if line != "\n" {
			indented.WriteByte('\t')
		}
		indented.WriteString(line)
	}
	if !strings.Contains(strings.ReplaceAll(string(source), "\r\n", "\n"), indented.String()) {
		t.Error("the code in README.md is not that of Example")
	}
}

// exampleDB opens a new database with a bucket "fruit" and returns a function
// that removes it.
func exampleDB() (db *lightning.DB, remove func()) {
	dir, err := os.MkdirTemp("", "lightning-example-")
	if err != nil {
		log.Fatal(err)
	}
	if db, err = lightning.Open(filepath.Join(dir, "example.db"), 0o600, nil); err != nil {
		log.Fatal(err)
	}
	err = db.Update(func(tx *lightning.Tx) error {
		fruit, err := tx.CreateBucket([]byte("fruit"))
		if err != nil {
			return err
		}
		for _, name := range []string{"apple", "apricot", "banana", "cherry"} {
			if err := fruit.Put([]byte(name), fmt.Append(nil, len(name))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	return db, func() {
		if err := errors.Join(db.Close(), os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}

// view runs fn on the bucket "fruit" of db.
func view(db *lightning.DB, fn func(fruit *lightning.Bucket) error) {
	err := db.View(func(tx *lightning.Tx) error { return fn(tx.Bucket([]byte("fruit"))) })
	if err != nil {
		log.Fatal(err)
	}
}

// update runs fn on the bucket "fruit" of db and commits.
func update(db *lightning.DB, fn func(fruit *lightning.Bucket) error) {
	err := db.Update(func(tx *lightning.Tx) error { return fn(tx.Bucket([]byte("fruit"))) })
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "lightning-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := lightning.Open(filepath.Join(dir, "app.db"), 0o600, &lightning.Options{
		Timeout:  time.Second, // do not wait longer for another process
		MaxSize:  1 << 30,     // bytes
		PageSize: 8192,        // of a new file
		Logger:   &lightning.DefaultLogger{Logger: log.Default()},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	fmt.Println(db.Info().PageSize)
	// Output: 8192
}

func ExampleOpenError() {
	f, err := os.CreateTemp("", "lightning-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(f.Name())
	if _, err := f.WriteString(strings.Repeat("no database ", 1000)); err != nil {
		log.Fatal(err)
	}
	if err := f.Close(); err != nil {
		log.Fatal(err)
	}

	_, err = lightning.Open(f.Name(), 0o600, nil)
	var open *lightning.OpenError
	if errors.As(err, &open) {
		fmt.Println(errors.Is(err, lightning.ErrInvalid))
		fmt.Println(open.SuggestedAction())
	}
	// Output:
	// true
	// check the path; the file was left as it is
}

func ExampleDB_Update() {
	db, remove := exampleDB()
	defer remove()

	// An error drops the changes of this transaction, and of no other.
	full := errors.New("the basket is full")
	err := db.Update(func(tx *lightning.Tx) error {
		if err := tx.Bucket([]byte("fruit")).Delete([]byte("apple")); err != nil {
			return err
		}
		return full
	})
	fmt.Println(err)

	view(db, func(fruit *lightning.Bucket) error {
		fmt.Printf("apple: %s\n", fruit.Get([]byte("apple")))
		return nil
	})
	// Output:
	// the basket is full
	// apple: 5
}

func ExampleDB_View() {
	db, remove := exampleDB()
	defer remove()

	err := db.View(func(tx *lightning.Tx) error {
		return tx.ForEach(func(name []byte, b *lightning.Bucket) error {
			fmt.Printf("%s: %d keys\n", name, b.Len())
			return nil
		})
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: fruit: 4 keys
}

func ExampleDB_Batch() {
	db, remove := exampleDB()
	defer remove()

	// Many goroutines, few transactions. The function may run more than once.
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			err := db.Batch(func(tx *lightning.Tx) error {
				return tx.Bucket([]byte("fruit")).Put(fmt.Appendf(nil, "fruit %d", i), []byte("new"))
			})
			if err != nil {
				log.Fatal(err)
			}
		})
	}
	wg.Wait()

	view(db, func(fruit *lightning.Bucket) error {
		fmt.Println(fruit.Len(), "keys")
		return nil
	})
	// Output: 12 keys
}

func ExampleDB_Begin() {
	db, remove := exampleDB()
	defer remove()

	tx, err := db.Begin(true)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback() // does nothing after Commit
	if err := tx.Bucket([]byte("fruit")).Put([]byte("date"), []byte("4")); err != nil {
		log.Fatal(err)
	}
	fmt.Println(tx.Commit())
	// Output: <nil>
}

func ExampleDB_BeginContext() {
	db, remove := exampleDB()
	defer remove()

	first, err := db.Begin(true)
	if err != nil {
		log.Fatal(err)
	}
	defer first.Rollback()

	// Writers run one at a time. This one does not wait for ever.
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err = db.BeginContext(ctx, true)
	fmt.Println(err)
	// Output: context deadline exceeded
}

func ExampleDB_Sync() {
	db, remove := exampleDB()
	defer remove()

	db.NoSync = true // a bulk load: no transaction waits for the disk
	for i := range 100 {
		update(db, func(fruit *lightning.Bucket) error {
			return fruit.Put(fmt.Appendf(nil, "melon %03d", i), []byte("9"))
		})
	}
	fmt.Println(db.Sync()) // now all of them are durable
	db.NoSync = false
	// Output: <nil>
}

func ExamplePeriodic() {
	dir, err := os.MkdirTemp("", "lightning-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	// A power cut loses the last 100 ms at the most, a kill loses nothing.
	mode := lightning.Periodic(100 * time.Millisecond)
	db, err := lightning.Open(filepath.Join(dir, "metrics.db"), 0o600, &lightning.Options{Durability: mode})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	fmt.Println(mode)
	// Output: Periodic(100ms)
}

func ExampleDB_Stats() {
	db, remove := exampleDB()
	defer remove()

	before := db.Stats()
	view(db, func(*lightning.Bucket) error {
		fmt.Println("open readers:", db.Stats().OpenTxN)
		return nil
	})
	after := db.Stats()
	fmt.Println("readers since:", after.Sub(&before).TxN)
	// Output:
	// open readers: 1
	// readers since: 1
}

func ExampleTx_OnCommit() {
	db, remove := exampleDB()
	defer remove()

	update(db, func(fruit *lightning.Bucket) error {
		fruit.Tx().OnCommit(func() { fmt.Println("durable") })
		return fruit.Delete([]byte("banana"))
	})
	// Output: durable
}

func ExampleTx_WriteTo() {
	db, remove := exampleDB()
	defer remove()

	// Writers go on meanwhile; the copy is what this transaction sees.
	var stream bytes.Buffer
	view(db, func(fruit *lightning.Bucket) error {
		n, err := fruit.Tx().WriteTo(&stream)
		fmt.Println(n == fruit.Tx().Size())
		return err
	})
	// Output: true
}

func ExampleTx_CopyFile() {
	db, remove := exampleDB()
	defer remove()

	backup := filepath.Join(filepath.Dir(db.Path()), "backup.db")
	view(db, func(fruit *lightning.Bucket) error {
		return fruit.Tx().CopyFile(backup, 0o600)
	})
	restored, err := lightning.Open(backup, 0o600, &lightning.Options{ReadOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	defer restored.Close()
	view(restored, func(fruit *lightning.Bucket) error {
		fmt.Println(fruit.Len(), "keys")
		return nil
	})
	// Output: 4 keys
}

func ExampleTx_Check() {
	db, remove := exampleDB()
	defer remove()

	view(db, func(fruit *lightning.Bucket) error {
		problems := 0
		for err := range fruit.Tx().Check() { // drain it
			fmt.Println(err)
			problems++
		}
		fmt.Println(problems, "problems")
		return nil
	})
	// Output: 0 problems
}

func ExampleCompact() {
	src, remove := exampleDB()
	defer remove()

	dst, err := lightning.Open(filepath.Join(filepath.Dir(src.Path()), "small.db"), 0o600, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer dst.Close()
	if err := lightning.Compact(dst, src, 1<<20); err != nil { // transactions of about 1 MiB
		log.Fatal(err)
	}
	view(dst, func(fruit *lightning.Bucket) error {
		fmt.Println(fruit.Len(), "keys")
		return nil
	})
	// Output: 4 keys
}

// A damaged byte is never returned as data: Get returns nil, and the
// transaction fails with the page and what to do.
func ExampleCorruptionError() {
	db, remove := exampleDB()
	defer remove()
	backup := filepath.Join(filepath.Dir(db.Path()), "backup.db")
	update(db, func(fruit *lightning.Bucket) error {
		return fruit.Put([]byte("durian"), bytes.Repeat([]byte("smell "), 500))
	})
	view(db, func(fruit *lightning.Bucket) error { return fruit.Tx().CopyFile(backup, 0o600) })

	// One byte of the backup rots.
	file, err := os.ReadFile(backup)
	if err != nil {
		log.Fatal(err)
	}
	file[bytes.Index(file, []byte("smell"))] = 'S'
	if err := os.WriteFile(backup, file, 0o600); err != nil {
		log.Fatal(err)
	}

	damaged, err := lightning.Open(backup, 0o600, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer damaged.Close()
	err = damaged.View(func(tx *lightning.Tx) error {
		fruit := tx.Bucket([]byte("fruit"))
		fmt.Printf("apple: %s\n", fruit.Get([]byte("apple")))
		fmt.Println("durian is nil:", fruit.Get([]byte("durian")) == nil)
		return nil
	})
	var corrupt *lightning.CorruptionError
	fmt.Println(errors.As(err, &corrupt), errors.Is(err, lightning.ErrChecksum))
	fmt.Println(corrupt.SuggestedAction())
	// Output:
	// apple: 5
	// durian is nil: true
	// true true
	// run 'lightning-cli check' to see the extent of the damage and restore these pages from a backup
}
