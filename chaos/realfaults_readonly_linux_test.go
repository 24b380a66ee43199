package chaos_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/fsync"
)

// realDisk is an ext4 file system of its own in a file.
type realDisk struct {
	t   *testing.T
	dir string
	img string
}

// newRealDisk makes and mounts one. The mount ends with this process.
func newRealDisk(t *testing.T) *realDisk {
	t.Helper()
	for _, program := range []string{"mkfs.ext4", "mount", "umount"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs a file system of its own: %v", err)
		}
	}
	d := &realDisk{t: t, dir: filepath.Join(t.TempDir(), "disk"), img: filepath.Join(t.TempDir(), "disk.img")}
	if err := errors.Join(os.Mkdir(d.dir, 0o755), os.WriteFile(d.img, nil, 0o600), os.Truncate(d.img, 48<<20)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", d.img).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		t.Skipf("no loop devices here: %v", err)
	}
	if err == nil {
		err = control.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "loop", d.img, d.dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	t.Cleanup(func() { d.run("umount", d.dir) })
	return d
}

func (d *realDisk) run(program string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
}

// abort makes ext4 do what it does when it meets an error of the disk: it lets
// nothing more be written, not even to files that are open.
func (d *realDisk) abort() {
	d.t.Helper()
	f, err := os.CreateTemp(d.dir, "probe")
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	d.run("mount", "-o", "remount,abort", d.dir)
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, syscall.EROFS) {
		d.t.Skipf("ext4 here does not become read-only under open files: %v", err)
	}
}

// again mounts the file system anew.
func (d *realDisk) again() {
	d.t.Helper()
	d.run("umount", d.dir)
	d.run("mount", "-o", "loop", d.img, d.dir)
}

// An ext4 file system that has become read-only under an open database: commits
// fail with EROFS, reads go on, Close works, and when the file system is well
// again the file has what was promised.
func TestRealFaults_ReadOnly_UnderOpenDatabase(t *testing.T) {
	if !realChild(t, realNeeds{mounts: true}) {
		return
	}
	for _, mode := range realModeNames() {
		for _, pending := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/pending=%v", mode, pending), func(t *testing.T) {
				realReadOnlyUnder(t, mode, pending)
			})
		}
	}
}

func realReadOnlyUnder(t *testing.T, mode string, pending bool) {
	disk := newRealDisk(t)
	o := lightning.Options{Durability: realModes[mode]}
	if mode == "periodic" {
		o.Durability = lightning.Periodic(time.Hour) // what is pending stays so
	}
	d := &realData{t: t, path: filepath.Join(disk.dir, "d.db"), options: o, want: map[string]map[string]int{}}
	d.open()
	d.mustPut("fill", "data", someValues("k", 300, 2000))
	if err := d.db.Sync(); err != nil {
		t.Fatal(err)
	}
	if pending {
		// In doubt where it is not synced: what the disk has is not known then.
		d.mustPut("more", "data", map[string]int{"pending": 100})
	}
	disk.abort()
	for i, values := range []map[string]int{{"k1": 3000}, someValues("long", 3, 600_000), {"k2": -1}} {
		what := fmt.Sprintf("commit %d on a read-only file system", i)
		err := d.put("data", values)
		if pending && errors.Is(err, lightning.ErrPoisoned) && mode != "sync" {
			realError(t, what, err, syscall.EROFS, d.path, "open it again")
			continue
		}
		d.fails(what, err, syscall.EROFS, "read-only", "writable")
		if strings.Contains(err.Error(), "free space") {
			t.Errorf("%s: %q advises to free space", what, err)
		}
	}
	if err := d.db.Sync(); pending && mode != "sync" {
		if !errors.Is(err, lightning.ErrPoisoned) || !errors.Is(err, syscall.EROFS) {
			t.Errorf("Sync of what is pending: %v, want ErrPoisoned for EROFS", err)
		}
		delete(d.want["data"], "pending") // readers see what is durable
	} else if err != nil {
		t.Errorf("Sync with nothing to do: %v", err)
	}
	d.holds("on a read-only file system")
	// Close has nothing that could be made durable, but may say so.
	if err := d.db.Close(); err != nil && !errors.Is(err, syscall.EROFS) {
		t.Errorf("Close: %v, want nil or EROFS", err)
	}
	if _, err := lightning.Open(d.path, 0o600, nil); err == nil {
		t.Error("Open for writing succeeds")
	} else {
		realOpenError(t, "Open for writing", err, syscall.EROFS, d.path)
	}
	disk.again()
	d.open()
	d.afterDisk(mode, pending)
	d.mustPut("the file system is well again", "data", someValues("again", 20, 50_000))
	d.reopened("opened again")
	d.close()
}

// afterDisk checks the database where a commit that was not synced may have
// been kept or not.
func (d *realData) afterDisk(mode string, pending bool) {
	d.t.Helper()
	kept := false
	if err := d.db.View(func(tx *lightning.Tx) error {
		kept = tx.Bucket([]byte("data")).Get([]byte("pending")) != nil
		return tx.Err()
	}); err != nil {
		d.t.Fatal(err)
	}
	if kept && pending {
		d.want["data"]["pending"] = 100
	}
	if mode == "sync" && pending && !kept {
		d.t.Error("an acknowledged commit is gone")
	}
	d.sound("the file system is well again")
}

// On a read-only mount a database can be opened for reading, by many; opening
// for writing and making a new file fail as typed.
func TestRealFaults_ReadOnly_Mount(t *testing.T) {
	if !realChild(t, realNeeds{mounts: true}) {
		return
	}
	dir := realTmpfs(t, 16<<20)
	path := filepath.Join(dir, "d.db")
	d := &realData{t: t, path: path, want: map[string]map[string]int{}}
	d.open()
	d.mustPut("fill", "data", someValues("k", 300, 2000))
	d.close()
	for _, flags := range []uintptr{syscall.MS_BIND, 0} { // of the mount, then of the file system
		if flags != 0 {
			if err := syscall.Mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
		}
		if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY|flags, ""); err != nil {
			t.Fatal(err)
		}
		_, err := lightning.Open(path, 0o600, nil)
		realOpenError(t, "Open for writing", err, syscall.EROFS, path)
		fresh := filepath.Join(dir, "new.db")
		_, err = lightning.Open(fresh, 0o600, nil)
		realOpenError(t, "create", err, syscall.EROFS, fresh)
		var readers []*realData
		for range 2 {
			r := openReal(t, path, lightning.Options{ReadOnly: true})
			r.want = d.want
			readers = append(readers, r)
		}
		for _, r := range readers {
			r.sound("on a read-only mount")
			err := r.put("data", map[string]int{"k": 1})
			if !errors.Is(err, lightning.ErrDatabaseReadOnly) {
				t.Errorf("Update: %v, want ErrDatabaseReadOnly", err)
			}
			if err := r.db.View(func(tx *lightning.Tx) error { return tx.CopyFile(fresh, 0o600) }); !errors.Is(err, syscall.EROFS) {
				t.Errorf("CopyFile: %v, want EROFS", err)
			}
			r.close()
		}
		if flags != 0 {
			if err := syscall.Unmount(dir, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Some read-only file systems refuse syncs: the medium decides then, and a
// reader gets in. One that refuses locks is not opened, as typed.
func TestRealFaults_ReadOnly_RefusedCalls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.db")
	d := &realData{t: t, path: path, want: map[string]map[string]int{}}
	d.open()
	d.mustPut("fill", "data", someValues("k", 300, 2000))
	d.close()
	for _, cause := range []syscall.Errno{syscall.EROFS, syscall.EINVAL, syscall.EIO} {
		defer fsync.Intercept(path, func(f fsync.File) fsync.File {
			faults := fsync.NewFaults(f)
			faults.FailAlways(fsync.OpOpenSync, cause)
			return faults
		})()
		r := openReal(t, path, lightning.Options{ReadOnly: true})
		r.want = d.want
		r.sound("where a sync is refused with " + cause.Error())
		r.close()
		if _, err := lightning.Open(path, 0o600, nil); !errors.Is(err, cause) {
			t.Errorf("Open for writing where a sync is refused: %v, want %v", err, cause)
		}
	}
	defer fsync.Intercept(path, func(f fsync.File) fsync.File {
		faults := fsync.NewFaults(f)
		faults.FailAlways(fsync.OpLock, syscall.ENOLCK)
		return faults
	})()
	for _, readOnly := range []bool{false, true} {
		if _, err := lightning.Open(path, 0o600, &lightning.Options{ReadOnly: readOnly}); !errors.Is(err, syscall.ENOLCK) {
			t.Errorf("Open where locks are refused: %v, want ENOLCK", err)
		}
	}
}

// A file that this user may only read, and a directory in which it may make
// none.
func TestRealFaults_ReadOnly_Permission(t *testing.T) {
	if !realChild(t, realNeeds{root: true}) {
		return
	}
	path := filepath.Join(realDir(), "d.db")
	d := &realData{t: t, path: path, want: map[string]map[string]int{}}
	d.open()
	d.mustPut("fill", "data", someValues("k", 300, 2000))
	d.close()
	writable := filepath.Join(realDir(), "writable.db")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(writable, b, 0o600), os.Chmod(writable, 0o666), os.Chmod(path, 0o444), os.Chmod(realDir(), 0o755)); err != nil {
		t.Fatal(err)
	}
	realNobody(t)
	_, err = lightning.Open(path, 0o600, nil)
	realOpenError(t, "Open for writing", err, os.ErrPermission, path)
	fresh := filepath.Join(realDir(), "new.db")
	_, err = lightning.Open(fresh, 0o600, nil)
	realOpenError(t, "create", err, os.ErrPermission, fresh)
	r := openReal(t, path, lightning.Options{ReadOnly: true})
	r.want = d.want
	r.sound("read by one who may not write")
	w := openReal(t, writable, lightning.Options{})
	w.want = d.want
	w.mustPut("in a directory that is not writable", "data", someValues("more", 5, 100_000))
	if err := w.db.View(func(tx *lightning.Tx) error { return tx.CopyFile(fresh, 0o600) }); !errors.Is(err, os.ErrPermission) {
		t.Errorf("CopyFile: %v, want ErrPermission", err)
	}
	w.reopened("opened again")
}
