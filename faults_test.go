package lightning

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lightning-db/lightning/chaos/simdisk"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/page"
)

// faultRun is a fixed workload on a disk of which one call fails.
type faultRun struct {
	*ruleFile
	what    string
	options Options
	faults  *fsync.Faults
	acked   page.TxID // newest acknowledged
	synced  page.TxID // newest that a sync covers for certain
	failure error     // first error
}

// watch turns a hang into a failure that says where.
func watch(t *testing.T, what string) { t.Cleanup(watchdog(what)) }

// watchdog is watch up to a call of stop.
func watchdog(what string) (stop func()) {
	timer := time.AfterFunc(time.Minute, func() { panic("hangs: " + what) })
	return func() { timer.Stop() }
}

// openFaulty opens the image with faults, planned by plan before the open.
func openFaulty(t *testing.T, path string, im *simdisk.Image, o Options, plan func(*fsync.Faults)) (*DB, *simdisk.Disk, *fsync.Faults, error) {
	t.Helper()
	writeImage(t, path, im)
	var disk *simdisk.Disk
	var faults *fsync.Faults
	db, err := openThrough(path, &o, func(f fsync.File) fsync.File {
		disk = simdisk.New(f, im)
		faults = fsync.NewFaults(disk)
		plan(faults)
		return faults
	})
	return db, disk, faults, err
}

// poisoning are the calls after whose failure the medium is in doubt.
var poisoning = map[fsync.Op]bool{
	fsync.OpMetaWrite: true, fsync.OpSync: true, fsync.OpPageSync: true, fsync.OpGrowSync: true,
	fsync.OpErase: true, fsync.OpEraseSync: true,
}

// tolerated are the calls that fail without an error to the caller: a file that
// stays long costs space only, and a growth that fails is tried smaller.
var tolerated = map[fsync.Op]bool{fsync.OpTruncate: true, fsync.OpGrow: true}

var faultOps = []fsync.Op{
	fsync.OpLock, fsync.OpStat, fsync.OpMetaRead, fsync.OpPageWrite, fsync.OpMetaWrite, fsync.OpPageSync,
	fsync.OpCreateSync, fsync.OpOpenSync, fsync.OpSync, fsync.OpCloseSync, fsync.OpGrow, fsync.OpGrowSync, fsync.OpTruncate, fsync.OpErase, fsync.OpEraseSync, fsync.OpClose,
}

// Each call of each operation fails in turn, in each mode, on a new file and on
// one whose newest transaction is rejected at Open.
func TestFaults_EveryCallFailsOnce(t *testing.T) {
	rejected, base := rejectedImage(t)
	starts := []struct {
		name  string
		image *simdisk.Image
		base  map[string]string
		tx    page.TxID
	}{
		{"new file", &simdisk.Image{}, map[string]string{}, 1},
		{"rejected slot", rejected, base, 2},
	}
	for _, mode := range []Durability{Sync, NoSync, Periodic(time.Hour)} {
		if testing.Short() && mode != Sync {
			continue
		}
		for _, start := range starts {
			t.Run(fmt.Sprintf("%v/%s", mode, start.name), func(t *testing.T) {
				hit := map[fsync.Op]int{}
				for _, op := range faultOps {
					for nth := 1; ; nth++ {
						r := &faultRun{what: fmt.Sprintf("%v %d", op, nth), options: Options{Durability: mode}}
						r.ruleFile = &ruleFile{t: t, path: filepath.Join(t.TempDir(), "faults.db"), want: map[page.TxID]map[string]string{start.tx: start.base}}
						r.acked, r.synced = start.tx, start.tx
						if !r.run(start.image, op, nth) {
							break
						}
						hit[op]++
					}
				}
				for _, op := range []fsync.Op{fsync.OpPageWrite, fsync.OpMetaWrite, fsync.OpSync, fsync.OpGrow, fsync.OpTruncate, fsync.OpMetaRead, fsync.OpClose} {
					if hit[op] == 0 {
						t.Errorf("the workload never met %v", op)
					}
				}
				if start.name == "rejected slot" && (hit[fsync.OpErase] == 0 || hit[fsync.OpEraseSync] == 0) {
					t.Errorf("recovery was not met: %v", hit)
				}
			})
		}
	}
}

// rejectedImage is a file whose newest meta misses pages.
func rejectedImage(t *testing.T) (*simdisk.Image, map[string]string) {
	f := newRuleFile(t, Options{NoSync: true})
	id := f.put("a", text('a', 5000))
	f.sync()
	f.put("b", text('b', 9000))
	return f.now().Choose(isMeta), f.want[id]
}

// run reports whether the nth call of op took place.
func (r *faultRun) run(im *simdisk.Image, op fsync.Op, nth int) bool {
	r.t.Helper()
	watch(r.t, r.what)
	var err error
	r.db, r.disk, r.faults, err = openFaulty(r.t, r.path, im, r.options, func(f *fsync.Faults) { f.Fail(op, nth, nil) })
	if err != nil {
		r.mustBeTyped(err)
		var open *OpenError
		if !errors.As(err, &open) {
			r.t.Errorf("%s: Open fails with %T, want *OpenError", r.what, err)
		}
	} else {
		for i := range 12 {
			r.step(i, op)
			r.readable(r.db)
		}
		if err := r.db.Close(); err != nil {
			r.mustBeTyped(err)
			r.failure = errors.Join(r.failure, err)
		} else if r.failure == nil || !errors.Is(r.failure, ErrPoisoned) {
			r.synced = r.acked
		}
	}
	met := r.faults.Calls(op) >= nth
	if met && err == nil && r.failure == nil && !tolerated[op] {
		r.t.Errorf("%s: the failure was told to nobody", r.what)
	}
	r.reopened()
	return met
}

// step is part of the workload: growth, overwriting, deleting, syncs.
func (r *faultRun) step(i int, op fsync.Op) {
	r.t.Helper()
	if i%4 == 3 {
		if err := r.db.Sync(); err != nil {
			r.failed(err, op)
		} else {
			r.synced = r.acked
		}
		return
	}
	pairs := []string{"a", text(byte('a'+i), 5000), fmt.Sprint("key", i%3), text(byte('A'+i), 1500)}
	switch i {
	case 2:
		pairs = append(pairs, "big", text('B', 3<<20))
	case 5:
		pairs = append(pairs, "big", "")
	}
	id, err := r.tryPut(pairs...)
	if err != nil {
		r.failed(err, op)
		return
	}
	r.acked = id
	if r.options.Durability == Sync {
		r.synced = id
	}
}

// failed judges the error of a commit or DB.Sync.
func (r *faultRun) failed(err error, op fsync.Op) {
	r.t.Helper()
	r.mustBeTyped(err)
	if got := errors.Is(err, ErrPoisoned); got != poisoning[op] {
		r.t.Errorf("%s: poisoned is %v: %v", r.what, got, err)
	}
	if !poisoning[op] {
		if r.failure != nil {
			r.t.Errorf("%s: a second write fails: %v", r.what, err)
		}
		id, again := r.tryPut("again", "1")
		if again != nil {
			r.t.Errorf("%s: writing does not work again: %v", r.what, again)
		} else if r.acked = id; r.options.Durability == Sync {
			r.synced = id
		}
	}
	r.failure = errors.Join(r.failure, err)
}

func (r *faultRun) mustBeTyped(err error) {
	r.t.Helper()
	var op *fsync.OpError
	if !errors.Is(err, syscall.EIO) || !errors.As(err, &op) || !strings.Contains(err.Error(), r.path) {
		r.t.Errorf("%s: %v: want an error that wraps EIO and names the path", r.what, err)
	}
}

// readable expects what was acknowledged; on a poisoned handle what is durable.
func (r *faultRun) readable(db *DB) {
	r.t.Helper()
	err := db.View(func(tx *Tx) error {
		want := r.acked
		if db.poisoned() != nil {
			want = r.synced
		}
		if tx.id < want {
			r.t.Errorf("%s: readers see transaction %d, want %d", r.what, tx.id, want)
		}
		r.compare(r.what, tx)
		return nil
	})
	if err != nil {
		r.t.Errorf("%s: View: %v", r.what, err)
	}
}

// reopened opens the file again, in a process that has no faults.
func (r *faultRun) reopened() {
	r.t.Helper()
	db, err := openThrough(r.path, nil, func(f fsync.File) fsync.File { return simdisk.New(f, &simdisk.Image{}) })
	if err != nil {
		r.t.Fatalf("%s: Open again: %v", r.what, err)
	}
	defer db.Close()
	err = db.View(func(tx *Tx) error {
		if tx.id < r.synced {
			r.t.Errorf("%s: the file holds transaction %d, promised was %d", r.what, tx.id, r.synced)
		}
		if tx.id > 1 || len(r.want[1]) > 0 {
			r.compare(r.what+", opened again", tx)
		}
		return nil
	})
	if err == nil {
		err = db.Update(func(tx *Tx) error {
			_, err := tx.CreateBucketIfNotExists([]byte("after"))
			return err
		})
	}
	if err != nil {
		r.t.Errorf("%s: use after Open again: %v", r.what, err)
	}
}

// A page that cannot be read now may be readable later: Open must fail, or
// find the acknowledged transaction, but not take it for one that was never
// completely written.
func TestFaults_ReadErrorAtOpenIsNoRollback(t *testing.T) {
	f := newRuleFile(t, Options{})
	f.put("a", text('1', 5000))
	acked := f.put("a", text('2', 5000), "b", text('2', 5000))
	if err := f.db.Close(); err != nil {
		t.Fatal(err)
	}
	for nth := 1; ; nth++ {
		db, _, faults, err := openFaulty(t, f.path, f.now(), Options{}, func(faults *fsync.Faults) { faults.Fail(fsync.OpPageRead, nth, nil) })
		met := faults.Calls(fsync.OpPageRead) >= nth
		if err == nil {
			if got := db.published.Load().meta.TxID; got != acked {
				t.Errorf("page read %d fails: Open yields transaction %d, acknowledged was %d", nth, got, acked)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		} else if !errors.Is(err, syscall.EIO) {
			t.Errorf("page read %d fails: Open: %v", nth, err)
		}
		if !met {
			return
		}
	}
}

// A full disk is met before anything is written; the database stays usable.
func TestFaults_FullDisk(t *testing.T) {
	watch(t, "full disk")
	f := &ruleFile{t: t, path: filepath.Join(t.TempDir(), "full.db"), want: map[page.TxID]map[string]string{1: {}}}
	db, disk, faults, err := openFaulty(t, f.path, &simdisk.Image{}, Options{}, func(*fsync.Faults) {})
	if err != nil {
		t.Fatal(err)
	}
	f.db, f.disk = db, disk
	f.put("a", "1")
	faults.FailAlways(fsync.OpGrow, syscall.ENOSPC)
	metas, end := faults.Calls(fsync.OpMetaWrite), db.published.Load().meta.End
	for range 20 {
		_, err := f.tryPut("big", text('b', 3<<20))
		if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrPoisoned) {
			t.Fatalf("commit on a full disk: %v", err)
		}
		if _, err := f.tryPut("a", text('a', 500)); err != nil {
			t.Fatalf("a small commit on a full disk: %v", err)
		}
	}
	if got := faults.Calls(fsync.OpMetaWrite) - metas; got != 20 {
		t.Errorf("%d metas were written, want 20", got)
	}
	if got := db.published.Load().meta.End; got > end+10 {
		t.Errorf("failed commits made the file's end move from %d to %d", end, got)
	}
	faults.Clear()
	f.put("big", text('b', 3<<20))
	if err := db.View(func(tx *Tx) error { f.compare("after", tx); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// Writes that stop half way are failures like others.
func TestFaults_ShortWrites(t *testing.T) {
	watch(t, "short writes")
	for _, op := range []fsync.Op{fsync.OpPageWrite, fsync.OpMetaWrite} {
		for _, bytes := range []int{1, 512, 4096, 5000} {
			f := &ruleFile{t: t, path: filepath.Join(t.TempDir(), "short.db"), want: map[page.TxID]map[string]string{1: {}}}
			db, disk, faults, err := openFaulty(t, f.path, &simdisk.Image{}, Options{}, func(*fsync.Faults) {})
			if err != nil {
				t.Fatal(err)
			}
			f.db, f.disk = db, disk
			f.put("a", text('1', 5000))
			good := f.put("b", text('1', 5000))
			faults.ShortWrite(op, 1, bytes)
			bad, err := f.tryPut("a", text('2', 5000))
			if err == nil || errors.Is(err, ErrPoisoned) != poisoning[op] {
				t.Errorf("%v cut to %d bytes: %v", op, bytes, err)
			}
			if err := db.View(func(tx *Tx) error { f.compare("short write", tx); return nil }); err != nil {
				t.Error(err)
			}
			f.judge("power cut", f.now().Choose(all), good, bad)
			if err := db.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	}
}

// The file is cut under the open map: each way of reading returns an error,
// and the process lives on.
func TestFaults_TruncatedUnderTheMap(t *testing.T) {
	watch(t, "truncated")
	reads := map[string]func(tx *Tx) error{
		"Get": func(tx *Tx) error {
			for i := range 200 {
				if v := tx.Bucket([]byte("bucket")).Get([]byte(fmt.Sprint("key", i))); v != nil {
					return errors.New("Get returns a value")
				}
			}
			return nil
		},
		"Cursor": func(tx *Tx) error {
			c := tx.Bucket([]byte("bucket")).Cursor()
			for k, _ := c.First(); k != nil; k, _ = c.Next() {
			}
			return nil
		},
		"ForEach": func(tx *Tx) error {
			err := tx.Bucket([]byte("bucket")).ForEach(func(k, v []byte) error { return nil })
			if err == nil {
				return errors.New("ForEach returns nil")
			}
			return err
		},
	}
	for name, read := range reads {
		t.Run(name, func(t *testing.T) {
			db := cutUnder(t, func(db *DB) {})
			tx, err := db.Begin(false)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			if tx.Bucket([]byte("bucket")) == nil { // the root's page may be gone, too
				mustBeMapFault(t, tx.Err())
				return
			}
			_ = read(tx)
			mustBeMapFault(t, tx.Err())
			mustBeMapFault(t, db.View(read))
		})
	}
	t.Run("Check", func(t *testing.T) {
		db := cutUnder(t, func(db *DB) {})
		tx, err := db.Begin(false)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		n := 0
		for err := range tx.Check() {
			mustBeMapFault(t, err)
			n++
		}
		if n == 0 {
			t.Error("Check finds nothing")
		}
	})
	t.Run("slices in View", func(t *testing.T) {
		err := error(nil)
		var sum byte
		cutUnder(t, func(db *DB) {
			err = db.View(func(tx *Tx) error {
				v := tx.Bucket([]byte("bucket")).Get([]byte("big"))
				if err := os.Truncate(db.Path(), 8192); err != nil {
					return err
				}
				for _, c := range v {
					sum += c
				}
				return nil
			})
		})
		if !errors.Is(err, ErrMapFault) {
			t.Errorf("View returns %v, want ErrMapFault", err)
		}
	})
	t.Run("Update", func(t *testing.T) {
		db := cutUnder(t, func(db *DB) {})
		err := db.Update(func(tx *Tx) error {
			b := tx.Bucket([]byte("bucket"))
			if b == nil {
				return tx.Err()
			}
			return b.Put([]byte("key7"), []byte("new"))
		})
		mustBeMapFault(t, err)
	})
}

func mustBeMapFault(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrChecksum) || !strings.Contains(err.Error(), "cut.db") {
		t.Errorf("got %v, want an error that wraps ErrChecksum and names the file", err)
	}
}

// cutUnder opens a database, runs fn and cuts the file behind the metas.
func cutUnder(t *testing.T, fn func(db *DB)) *DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cut.db")
	for range 2 { // the second time nothing is verified yet
		db, err := Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		if err := db.View(func(tx *Tx) error {
			if tx.Bucket([]byte("bucket")) == nil {
				return ErrBucketNotFound
			}
			return nil
		}); err == nil {
			fn(db)
			if err := os.Truncate(path, 8192); err != nil {
				t.Fatal(err)
			}
			return db
		}
		if err := db.Update(func(tx *Tx) error {
			b, err := tx.CreateBucket([]byte("bucket"))
			for i := range 200 {
				err = errors.Join(err, b.Put([]byte(fmt.Sprint("key", i)), []byte(text('v', 500))))
			}
			return errors.Join(err, b.Put([]byte("big"), []byte(text('b', 200000))))
		}); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("not reached")
	return nil
}
