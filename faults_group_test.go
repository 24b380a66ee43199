package lightning

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lightning-db/lightning/chaos/simdisk"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/page"
)

// A flush that fails takes down all that it carries and all that was built on
// it, and nobody waits for ever.
func TestFaults_GroupFailsTogether(t *testing.T) {
	for _, op := range []fsync.Op{fsync.OpPageWrite, fsync.OpMetaWrite, fsync.OpSync} {
		t.Run(op.String(), func(t *testing.T) {
			watch(t, "group")
			f := &ruleFile{t: t, path: filepath.Join(t.TempDir(), "group.db"), want: map[page.TxID]map[string]string{1: {}}}
			db, disk, faults, err := openFaulty(t, f.path, &simdisk.Image{}, Options{}, func(*fsync.Faults) {})
			if err != nil {
				t.Fatal(err)
			}
			f.db, f.disk = db, disk
			good := f.put("a", "1")
			const members = 6
			// The first flush is held while the others seal behind it; all of
			// them are successors of what then fails.
			held, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			disk.OnWrite = func(writing fsync.Op) {
				if writing != fsync.OpPageWrite {
					return
				}
				once.Do(func() {
					close(held)
					<-release
					faults.Fail(op, 1, nil)
					if op == fsync.OpPageWrite {
						faults.Fail(op, 2, nil) // this call has passed the faults already
					}
				})
			}
			errs := make(chan error, members)
			put := func(i int) {
				errs <- db.Update(func(tx *Tx) error {
					return tx.Bucket([]byte("bucket")).Put([]byte(fmt.Sprint("member", i)), []byte(text('m', 3000)))
				})
			}
			go put(0)
			<-held
			for i := 1; i < members; i++ {
				go put(i)
			}
			for sealed := 0; sealed < members-1; time.Sleep(time.Millisecond) {
				db.mu.Lock()
				sealed = int(db.tip.id) - int(good) - 1
				db.mu.Unlock()
			}
			close(release)
			failed := 0
			for range members {
				if err := <-errs; err != nil {
					failed++
					if !errors.Is(err, syscall.EIO) || errors.Is(err, ErrPoisoned) != poisoning[op] {
						t.Errorf("a member fails with %v", err)
					}
				}
			}
			if want := members; op != fsync.OpPageWrite && failed != want || failed < members-1 {
				t.Errorf("%d of %d members failed", failed, members)
			}
			disk.OnWrite = nil
			faults.Clear()
			_, err = f.tryPut("b", "2")
			if errors.Is(err, ErrPoisoned) != poisoning[op] {
				t.Errorf("the next commit: %v", err)
			}
			if err := db.View(func(tx *Tx) error {
				b := tx.Bucket([]byte("bucket"))
				if got := string(b.Get([]byte("a"))); got != "1" {
					t.Errorf("the acknowledged key holds %q", got)
				}
				for err := range tx.Check() {
					t.Error(err)
				}
				seen := 0
				for i := range members {
					if b.Get([]byte(fmt.Sprint("member", i))) != nil {
						seen++
					}
				}
				if seen != members-failed {
					t.Errorf("%d members are seen, %d were acknowledged", seen, members-failed)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A transaction that is open while what it builds on fails cannot be committed.
func TestFaults_OpenTransactionFallsWithItsBase(t *testing.T) {
	watch(t, "open transaction")
	f := &ruleFile{t: t, path: filepath.Join(t.TempDir(), "base.db"), want: map[page.TxID]map[string]string{1: {}}}
	db, disk, faults, err := openFaulty(t, f.path, &simdisk.Image{}, Options{}, func(*fsync.Faults) {})
	if err != nil {
		t.Fatal(err)
	}
	f.db, f.disk = db, disk
	defer db.Close()
	id := f.put("a", "1")
	put := func(tx *Tx, key string) {
		if err := tx.Bucket([]byte("bucket")).Put([]byte(key), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	base, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	put(base, "base")
	g, err := base.seal()
	if err != nil {
		t.Fatal(err)
	}
	open, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	put(open, "open")
	faults.Fail(fsync.OpPageWrite, 1, syscall.EIO)
	if err := db.await(g); !errors.Is(err, syscall.EIO) {
		t.Fatalf("the base: %v", err)
	}
	if err := open.Commit(); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrPoisoned) {
		t.Fatalf("the transaction on it: %v", err)
	}
	if got := f.put("b", "2"); got != id+1 {
		t.Errorf("the next transaction has the number %d, want %d", got, id+1)
	}
	if err := db.View(func(tx *Tx) error { f.compare("after", tx); return nil }); err != nil {
		t.Error(err)
	}
}

// SetReadOnly that fails with the group it is in changes nothing, neither now nor with a
// later commit.
func TestFaults_ReadOnlyFallsWithItsGroup(t *testing.T) {
	watch(t, "read-only in a group")
	f := &ruleFile{t: t, path: filepath.Join(t.TempDir(), "frozen.db"), want: map[page.TxID]map[string]string{1: {}}}
	db, disk, faults, err := openFaulty(t, f.path, &simdisk.Image{}, Options{}, func(*fsync.Faults) {})
	if err != nil {
		t.Fatal(err)
	}
	f.db, f.disk = db, disk
	defer db.Close()
	f.put("a", "1")
	beside, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	if err := beside.Bucket([]byte("bucket")).Put([]byte("beside"), nil); err != nil {
		t.Fatal(err)
	}
	g, err := beside.seal()
	if err != nil {
		t.Fatal(err)
	}
	faults.Fail(fsync.OpPageWrite, 1, syscall.EIO)
	if err := db.SetReadOnly(true); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrPoisoned) {
		t.Fatalf("SetReadOnly: %v", err)
	}
	if err := db.await(g); !errors.Is(err, syscall.EIO) {
		t.Fatalf("the transaction beside it: %v", err)
	}
	if db.IsReadOnly() {
		t.Error("read-only after SetReadOnly failed")
	}
	f.put("b", "2")
	if got := db.published.Load().meta.Flags; got != 0 {
		t.Errorf("the next commit has the flags %d", got)
	}
	if err := db.SetReadOnly(true); err != nil || !db.IsReadOnly() {
		t.Errorf("SetReadOnly once more: %v", err)
	}
}
