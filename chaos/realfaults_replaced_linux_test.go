package chaos_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/fsync"
)

const realRemovedAdvice = "CopyFile"

// realLosses are ways in which an open database loses its name.
var realLosses = map[string]func(path string) error{
	"unlinked": os.Remove,
	"replaced": func(path string) error {
		other := path + ".other"
		return errors.Join(os.WriteFile(other, []byte("something else"), 0o600), os.Rename(other, path))
	},
	"replaced by a database": func(path string) error {
		db, err := lightning.Open(path+".other", 0o600, nil)
		if err != nil {
			return err
		}
		return errors.Join(db.Close(), os.Rename(path+".other", path))
	},
}

// A file that loses its name takes no more durable commits, because what is
// written to it ends with the process. Readers go on, and a backup saves the
// data. Linux gives no file without a name a new one.
func TestRealFaults_Replaced(t *testing.T) {
	if !realChild(t, realNeeds{}) {
		return
	}
	for loss, lose := range realLosses {
		for _, mode := range []string{"sync", "nosync", "periodic"} {
			t.Run(loss+"/"+mode, func(t *testing.T) {
				o := lightning.Options{Durability: realModes[mode]}
				if mode == "periodic" {
					o.Durability = lightning.Periodic(time.Hour)
				}
				d := &realData{t: t, path: filepath.Join(t.TempDir(), "named.db"), options: o, want: map[string]map[string]int{}}
				d.open()
				d.mustPut("fill", "data", someValues("k", 100, 2000))
				realReplaced(d, mode, lose)
			})
		}
	}
}

func realReplaced(d *realData, mode string, lose func(string) error) {
	t := d.t
	if err := d.db.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := lose(d.path); err != nil {
		t.Fatal(err)
	}
	if mode != "sync" { // makes no promise of durability, and so may be accepted
		d.mustPut("a commit that is not synced", "data", map[string]int{"unsynced": 500})
		err := d.db.Sync()
		d.fails("Sync", err, lightning.ErrFileRemoved, realRemovedAdvice)
	}
	if mode == "nosync" {
		d.db.NoSync = false // from here on commits promise it
	}
	if mode != "periodic" {
		for i := range 3 {
			err := d.put("data", map[string]int{fmt.Sprint("lost", i): 100_000})
			d.fails("commit", err, lightning.ErrFileRemoved, realRemovedAdvice)
		}
	}
	d.sound("without a name")
	saved := d.path + ".saved"
	if err := d.db.View(func(tx *lightning.Tx) error { return tx.CopyFile(saved, 0o600) }); err != nil {
		t.Fatalf("CopyFile without a name: %v", err)
	}
	s := openReal(t, saved, lightning.Options{})
	s.want = d.want
	s.sound("what was saved")

	there, errBefore := os.ReadFile(d.path)
	if err := d.db.Close(); mode != "sync" && !errors.Is(err, lightning.ErrFileRemoved) || err != nil && !errors.Is(err, lightning.ErrFileRemoved) {
		t.Errorf("Close without a name: %v", err)
	}
	after, errAfter := os.ReadFile(d.path)
	if !bytes.Equal(after, there) || (errAfter == nil) != (errBefore == nil) {
		t.Errorf("the file that has the name now was changed: %v, before %v", errAfter, errBefore)
	}
	s.mustPut("written on", "data", someValues("more", 10, 5000))
	s.reopened("what was saved")
}

// renameable is a file that can be made to look as if it had no name.
type renameable struct {
	fsync.File
	nameless atomic.Bool
}

func (f *renameable) Named() (bool, error) { return !f.nameless.Load(), nil }

// Where a file can get its name back, by the server of a network file system
// for one, writing works again, and nothing is in doubt.
func TestRealFaults_Replaced_NameComesBack(t *testing.T) {
	for _, mode := range []string{"sync", "nosync"} {
		path := filepath.Join(t.TempDir(), "named.db")
		var file *renameable
		remove := fsync.Intercept(path, func(f fsync.File) fsync.File {
			file = &renameable{File: f}
			return file
		})
		d := openReal(t, path, lightning.Options{Durability: realModes[mode]})
		remove()
		d.mustPut("fill", "data", someValues("k", 100, 2000))
		for i := range 3 {
			file.nameless.Store(true)
			if mode == "sync" {
				d.fails("commit", d.put("data", map[string]int{"lost": 100_000}), lightning.ErrFileRemoved, realRemovedAdvice)
			} else {
				d.mustPut("a commit that is not synced", "data", map[string]int{"unsynced": i})
				d.fails("Sync", d.db.Sync(), lightning.ErrFileRemoved, realRemovedAdvice)
			}
			d.sound("without a name")
			file.nameless.Store(false)
			d.mustPut("the name is back", "data", someValues(fmt.Sprint("back", i), 10, 50_000))
			if err := d.db.Sync(); err != nil {
				t.Errorf("Sync with the name back: %v", err)
			}
		}
		d.reopened("opened again")
	}
}

// Closed without a name: Close must not claim that unsynced commits are safe.
func TestRealFaults_Replaced_Close(t *testing.T) {
	if !realChild(t, realNeeds{}) {
		return
	}
	for mode, want := range map[string]error{"sync": nil, "nosync": lightning.ErrFileRemoved} {
		path := filepath.Join(realDir(), mode+".db")
		db, err := lightning.Open(path, 0o600, &lightning.Options{Durability: realModes[mode]})
		if err != nil {
			t.Fatal(err)
		}
		d := &realData{t: t, path: path, db: db, want: map[string]map[string]int{}}
		d.mustPut("fill", "data", someValues("k", 100, 2000))
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); want != nil && !errors.Is(err, want) || want == nil && err != nil && !errors.Is(err, lightning.ErrFileRemoved) {
			t.Errorf("%s: Close of a removed file: %v, want %v", mode, err, want)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: Close brought the file back: %v", mode, err)
		}
		d.want = map[string]map[string]int{}
		d.open()
		d.mustPut("a new file under the name", "data", someValues("n", 10, 100))
		d.reopened("a new file under the name")
		d.close()
	}
}

// A second name, or another name than at first, is a name.
func TestRealFaults_Replaced_OtherNames(t *testing.T) {
	d := openReal(t, filepath.Join(t.TempDir(), "first.db"), lightning.Options{})
	d.mustPut("fill", "data", someValues("k", 10, 2000))
	if err := os.Link(d.path, d.path+".link"); errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EOPNOTSUPP) {
		t.Skipf("the file system has no hard links: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d.path); err != nil {
		t.Fatal(err)
	}
	d.mustPut("under its second name", "data", someValues("second", 10, 2000))
	if err := os.Rename(d.path+".link", d.path+".renamed"); err != nil {
		t.Fatal(err)
	}
	d.mustPut("renamed", "data", someValues("renamed", 10, 2000))
	d.close()
	d.path += ".renamed"
	d.open()
	d.sound("opened by its new name")
}

// Whoever waited for the lock of a file that was replaced meanwhile holds the
// old one: it must not commit into the void.
func TestRealFaults_Replaced_WhileWaitingForTheLock(t *testing.T) {
	d := &realData{t: t, path: filepath.Join(t.TempDir(), "swapped.db"), want: map[string]map[string]int{}}
	d.open()
	d.mustPut("fill", "data", someValues("k", 10, 2000))
	waiting := make(chan struct{})
	swapped := make(chan error, 1)
	go func() {
		<-waiting
		err := d.db.View(func(tx *lightning.Tx) error { return tx.CopyFile(d.path, 0o600) })
		swapped <- errors.Join(err, d.db.Close())
	}()
	o := &lightning.Options{Timeout: time.Minute, OnRecovery: func(p lightning.RecoveryProgress) {
		if p.Stage == lightning.StageLockAcquisition { // the file is open, the lock not yet had
			close(waiting)
		}
	}}
	late, err := lightning.Open(d.path, 0o600, o)
	if err := <-swapped; err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatalf("Open of the file that was replaced: %v", err)
	}
	old := &realData{t: t, path: d.path, db: late, want: d.want}
	old.holds("the file that was replaced")
	old.fails("commit", old.put("data", map[string]int{"lost": 1}), lightning.ErrFileRemoved, realRemovedAdvice)
	if err := late.Close(); err != nil {
		t.Error(err)
	}
	d.open()
	d.mustPut("the new file", "data", map[string]int{"new": 1})
	d.reopened("the new file")
	d.close()
}

// The file is overwritten in place, as cp does: what was not read before is
// found damaged, never taken for data, and nothing kills the process.
func TestRealFaults_Overwritten(t *testing.T) {
	if !realChild(t, realNeeds{}) {
		return
	}
	for _, foreign := range []string{"noise", "other database", "older self", "zeros", "shorter"} {
		for _, verify := range []lightning.Verify{lightning.VerifyFirst, lightning.VerifyAlways} {
			t.Run(fmt.Sprintf("%s/%d", foreign, verify), func(t *testing.T) { realOverwritten(t, foreign, verify) })
		}
	}
}

func realOverwritten(t *testing.T, foreign string, verify lightning.Verify) {
	d := &realData{t: t, path: filepath.Join(t.TempDir(), "d.db"), want: map[string]map[string]int{}, options: lightning.Options{Verify: verify}}
	d.open()
	d.mustPut("first", "data", someValues("k", 400, 1500))
	d.close()
	older, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	d.open()
	// Every value changes its length, so that an old one is known for wrong.
	d.mustPut("second", "data", someValues("k", 400, 1501))
	d.close()
	d.open()
	if verify == lightning.VerifyAlways {
		d.holds("before") // all pages were read, and are read again
	}
	content := realForeign(t, foreign, older, int(realFileSize(t, d.path)))
	if err := os.WriteFile(d.path, content, 0o600); err != nil { // truncates and writes, as cp does
		t.Fatal(err)
	}
	found := 0
	for key := range d.want["data"] {
		err := d.db.View(func(tx *lightning.Tx) error {
			b := tx.Bucket([]byte("data"))
			if b == nil {
				if tx.Err() == nil {
					t.Error("a damaged page is taken for a missing bucket")
				}
				return tx.Err()
			}
			if v := b.Get([]byte(key)); v != nil && string(v) != string(realValue(key, 1501)) {
				t.Errorf("Get returns %d bytes that are not those of %q", len(v), key)
			} else if v == nil && tx.Err() == nil {
				t.Errorf("Get does not find %q and says nothing", key)
			}
			return tx.Err()
		})
		if err != nil {
			found++
			realError(t, "Get", err, lightning.ErrChecksum, d.path, "restore")
		}
	}
	if found == 0 {
		t.Error("no read met the foreign bytes")
	}
	if err := d.db.View(d.compare); err == nil {
		t.Error("a walk over all keys meets no foreign byte")
	}
	if err := d.put("data", map[string]int{"k7": 10}); err != nil && !errors.Is(err, lightning.ErrChecksum) {
		t.Errorf("Update: %v, want nil or ErrChecksum", err)
	}
	checked := 0
	if err := d.db.View(func(tx *lightning.Tx) error {
		for range tx.Check() {
			checked++
		}
		return nil
	}); err != nil || checked == 0 {
		t.Errorf("Check finds %d problems: %v", checked, err)
	}
	if err := d.db.Close(); err != nil && !errors.Is(err, lightning.ErrChecksum) {
		t.Errorf("Close: %v", err)
	}
}

// realForeign is what somebody copies over a file of size bytes.
func realForeign(t *testing.T, what string, older []byte, size int) []byte {
	t.Helper()
	switch what {
	case "noise":
		return realValue("noise", size)
	case "zeros":
		return make([]byte, size)
	case "shorter":
		return older[:len(older)/3/4096*4096]
	case "older self":
		return append(older, make([]byte, max(0, size-len(older)))...)
	}
	other := openReal(t, filepath.Join(t.TempDir(), "other.db"), lightning.Options{})
	other.mustPut("fill", "data", someValues("k", 400, 1501))
	other.close()
	b, err := os.ReadFile(other.path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A scratch database lives on without a name when its owner says so.
func TestRealFaults_Replaced_Allowed(t *testing.T) {
	if !realChild(t, realNeeds{}) {
		return
	}
	for mode := range realModes {
		path := filepath.Join(realDir(), mode+".db")
		db, err := lightning.Open(path, 0o600, &lightning.Options{Durability: realModes[mode], AllowRemoved: true})
		if err != nil {
			t.Fatal(err)
		}
		d := &realData{t: t, path: path, db: db, want: map[string]map[string]int{}}
		d.mustPut("fill", "data", someValues("k", 100, 2000))
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		d.mustPut("without a name", "data", someValues("l", 1000, 2000))
		if err := db.Sync(); err != nil {
			t.Errorf("%s: Sync of a removed file: %v", mode, err)
		}
		d.sound(mode + " without a name")
		if err := db.Close(); err != nil {
			t.Errorf("%s: Close of a removed file: %v", mode, err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the file came back: %v", mode, err)
		}
	}
}
