package lightning_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	lightning "github.com/lightning-db/lightning"
)

func TestTx_Snapshot_IsStable(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustCreate(t, tx, "b"), "k", "0") })
	var readers []*lightning.Tx
	for i := range 5 {
		readers = append(readers, mustBegin(t, db, false))
		mustUpdate(t, db, func(tx *lightning.Tx) {
			mustPut(t, mustBucket(t, tx, "b"), "k", fmt.Sprint(i+1))
			for _, r := range readers {
				wantValue(t, mustBucket(t, r, "b"), "k", fmt.Sprint(r.ID()-2))
			}
		})
	}
	for _, i := range []int{3, 0, 4, 1, 2} {
		wantValue(t, mustBucket(t, readers[i], "b"), "k", fmt.Sprint(i))
		mustRollback(t, readers[i])
	}
}

func TestTx_WriteTo_IsExactlySizeAndOpens(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		for i := range 1000 {
			mustPut(t, b, numberedKey(i), strings.Repeat("v", 300))
		}
		mustPut(t, b, "big", strings.Repeat("B", 3<<20))
	})
	want := dumpDB(t, db)
	tx := mustBegin(t, db, false)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustBucket(t, tx, "b"), numberedKey(0), "later") })

	copies := map[string]func(path string) error{
		"WriteTo": func(path string) error {
			var buf bytes.Buffer
			n, err := tx.WriteTo(&buf)
			if n != tx.Size() || int64(buf.Len()) != n {
				t.Errorf("WriteTo: returned %d and wrote %d, want Size %d", n, buf.Len(), tx.Size())
			}
			return errors.Join(err, os.WriteFile(path, buf.Bytes(), 0o600))
		},
		"Copy": func(path string) error {
			var buf bytes.Buffer
			err := tx.Copy(&buf)
			return errors.Join(err, os.WriteFile(path, buf.Bytes(), 0o600))
		},
		"CopyFile": func(path string) error { return tx.CopyFile(path, 0o640) },
	}
	for name, copyTo := range copies {
		path := filepath.Join(t.TempDir(), "copy.db")
		if err := copyTo(path); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if info, err := os.Stat(path); err != nil || name == "CopyFile" && info.Mode().Perm()&^0o640 != 0 {
			t.Errorf("%s: mode %v (error %v), want no more than 640", name, info.Mode(), err)
		}
		copied := openPath(t, path, nil)
		if got := dumpDB(t, copied); got != want {
			t.Errorf("%s: the copy differs from the snapshot: %d bytes, want %d", name, len(got), len(want))
		}
		mustUpdate(t, copied, func(tx *lightning.Tx) { mustPut(t, mustBucket(t, tx, "b"), "k", "v") })
	}
	mustRollback(t, tx)
}

func TestTx_WriteTo_LeavesOutUncommittedData(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustCreate(t, tx, "b"), "k", "committed") })
	want := dumpDB(t, db)
	path := filepath.Join(t.TempDir(), "copy.db")
	mustUpdate(t, db, func(tx *lightning.Tx) {
		mustPut(t, mustBucket(t, tx, "b"), "k", "not yet")
		mustView(t, db, func(read *lightning.Tx) {
			if err := read.CopyFile(path, 0o600); err != nil {
				t.Errorf("CopyFile: %v", err)
			}
		})
	})
	if got := dumpDB(t, openPath(t, path, nil)); got != want {
		t.Errorf("copy: got %s, want %s", got, want)
	}
}

type failingWriter struct {
	left int
	err  error
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return w.left, w.err
	}
	w.left -= len(p)
	return len(p), nil
}

func TestTx_WriteTo_ErrorOfTheWriter(t *testing.T) {
	db := openDB(t, nil)
	full := errors.New("no room")
	mustView(t, db, func(tx *lightning.Tx) {
		for _, left := range []int{0, 5000} {
			_, err := tx.WriteTo(&failingWriter{left: left, err: full})
			wantErr(t, fmt.Sprintf("WriteTo with room for %d bytes", left), err, full)
		}
	})
}

func TestTx_CopyFile_UsesOpenFile(t *testing.T) {
	var opened []string
	db := openDB(t, &lightning.Options{OpenFile: func(path string, flag int, mode os.FileMode) (*os.File, error) {
		opened = append(opened, path)
		return os.OpenFile(path, flag, mode)
	}})
	path := filepath.Join(t.TempDir(), "copy.db")
	opened = nil
	mustView(t, db, func(tx *lightning.Tx) {
		if err := tx.CopyFile(path, 0o600); err != nil {
			t.Errorf("CopyFile: %v", err)
		}
	})
	if !strings.Contains(strings.Join(opened, " "), path) {
		t.Errorf("OpenFile was called for %v, want %s among them", opened, path)
	}
}

// etcd shares one read transaction among its goroutines and rolls it back from yet another one.
func TestTx_Read_SharedByManyGoroutines(t *testing.T) {
	db := openDB(t, nil)
	const keys = 3000
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		mustPut(t, mustNest(t, b, "nested"), "k", "v")
		for i := range keys {
			mustPut(t, b, numberedKey(i), numberedKey(i))
		}
	})
	db = reopen(t, db, nil)
	tx := mustBegin(t, db, false)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			b := tx.Bucket([]byte("b"))
			for i := range keys {
				key := numberedKey((i*7 + g) % keys)
				wantValue(t, b, key, key)
			}
			n := 0
			for k, _ := b.Cursor().Seek([]byte(numberedKey(g))); k != nil && n < 100; n++ {
				k, _ = b.Cursor().Seek(append(k, 0))
			}
			if got := tx.Bucket([]byte("b")).Bucket([]byte("nested")).Get([]byte("k")); string(got) != "v" {
				t.Errorf("nested: got %q, want v", got)
			}
		})
	}
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustBucket(t, tx, "b"), numberedKey(1), "later") })
	wg.Wait()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := tx.Rollback(); err != nil {
			t.Errorf("Rollback: %v", err)
		}
	}()
	waitFor(t, "Rollback", done)
}

func TestTx_Check_Options(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		for i := range 2000 {
			mustPut(t, b, numberedKey(i), "v")
		}
		for err := range tx.Check() {
			t.Errorf("Check before the commit: %v", err)
		}
	})
	mustView(t, db, func(tx *lightning.Tx) {
		for err := range tx.Check(lightning.WithKVStringer(lightning.HexKVStringer())) {
			t.Errorf("Check with a KVStringer: %v", err)
		}
	})
}

func TestTx_Check_BesideAWriter(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustCreate(t, tx, "b") })
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 40 {
			err := db.Update(func(tx *lightning.Tx) error {
				b := tx.Bucket([]byte("b"))
				for j := range 50 {
					if err := b.Put([]byte(numberedKey((i*31+j*17)%500)), make([]byte, i*j)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Errorf("Update: %v", err)
			}
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		checkDB(t, db)
		runtime.Gosched()
	}
}

func TestTx_Page(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustCreate(t, tx, "b") })
	mustUpdate(t, db, func(tx *lightning.Tx) {
		info, err := tx.Page(0)
		if err != nil || info == nil || info.ID != 0 || info.Type != "meta" {
			t.Errorf("Page(0): got %+v, error %v, want a meta page", info, err)
		}
		for _, id := range []int{-1, 1 << 30} {
			if info, err := tx.Page(id); info != nil || err != nil {
				t.Errorf("Page(%d): got %+v, error %v, want nil and nil", id, info, err)
			}
		}
	})
}
