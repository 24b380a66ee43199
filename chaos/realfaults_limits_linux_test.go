package chaos_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lightning-db/lightning"
)

// realLimit sets a soft limit of this process and returns how to take it back.
func realLimit(t *testing.T, which int, soft uint64) (restore func()) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(which, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(which, &syscall.Rlimit{Cur: soft, Max: old.Max}); err != nil {
		t.Fatalf("limit %d to %d: %v", which, soft, err)
	}
	return func() {
		if err := syscall.Setrlimit(which, &old); err != nil {
			t.Fatal(err)
		}
	}
}

// someValues are n values, of which many are in extents of their own.
func someValues(prefix string, n, size int) map[string]int {
	values := map[string]int{}
	for i := range n {
		values[fmt.Sprint(prefix, i)] = size
	}
	return values
}

func realFileSize(t *testing.T, path string) uint64 {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return uint64(fi.Size())
}

// The process may not make files longer: the kernel sends SIGXFSZ, which must
// not end the process, and refuses with EFBIG.
func TestRealFaults_FileSizeLimit(t *testing.T) {
	if !realChild(t, realNeeds{}) {
		return
	}
	for _, mode := range realModeNames() {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "limited.db")
			restore := realLimit(t, syscall.RLIMIT_FSIZE, 4096)
			defer func() { restore() }()
			_, err := lightning.Open(path, 0o600, nil)
			realOpenError(t, "create beyond the limit", err, syscall.EFBIG, path)
			restore()

			d := openReal(t, path, lightning.Options{Durability: realModes[mode]})
			d.mustPut("fill", "data", someValues("k", 100, 5000))
			// At the file's length: it cannot grow. Below: what it has cannot be
			// written. The meta pages are written last, so nothing is in doubt.
			for _, part := range []uint64{1, 2, 100} {
				what := fmt.Sprintf("limit of 1/%d of the file", part)
				restore = realLimit(t, syscall.RLIMIT_FSIZE, realFileSize(t, path)/part)
				for i := range 5 {
					err := d.put("data", someValues(fmt.Sprint("more", i), 10, 400_000))
					d.fails(what, err, syscall.EFBIG, "limit")
				}
				d.holds(what)
				restore()
				d.mustPut("after "+what, "data", someValues(fmt.Sprint("after", part), 10, 50_000))
			}
			d.reopened("opened again")
		})
	}
}

// starve uses up the descriptors of the process but for spare ones, until end
// is called.
func starve(t *testing.T, spare int) (end func()) {
	t.Helper()
	restore := realLimit(t, syscall.RLIMIT_NOFILE, 120)
	var taken []int
	for {
		fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err == syscall.EMFILE {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, fd)
	}
	release := func(fds []int) {
		for _, fd := range fds {
			if err := syscall.Close(fd); err != nil {
				t.Fatal(err)
			}
		}
	}
	release(taken[:spare])
	return func() {
		release(taken[spare:])
		restore()
	}
}

// Open with few descriptors left works or says so, and leaves nothing behind
// that is in the way of the next Open.
func TestRealFaults_Descriptors_Open(t *testing.T) {
	if !realChild(t, realNeeds{}) {
		return
	}
	existing := openReal(t, filepath.Join(realDir(), "existing.db"), lightning.Options{})
	existing.mustPut("fill", "data", someValues("k", 200, 3000))
	for _, readOnly := range []bool{false, true} {
		existing.close()
		existing.options.ReadOnly = readOnly
		opened := false
		for spare := range 5 {
			end := starve(t, spare)
			db, err := lightning.Open(existing.path, 0o600, &existing.options)
			if err != nil {
				end()
				realOpenError(t, fmt.Sprintf("Open with %d descriptors", spare), err, syscall.EMFILE, existing.path)
				continue
			}
			opened = true
			existing.db = db
			existing.sound(fmt.Sprintf("opened with %d descriptors", spare))
			if err := db.Close(); err != nil {
				t.Errorf("Close with %d descriptors: %v", spare, err)
			}
			end()
		}
		if !opened {
			t.Error("Open failed with 4 descriptors")
		}
		existing.options.ReadOnly = false
		existing.open()
		existing.sound("descriptors are back")
	}
	for spare := range 5 {
		path := filepath.Join(realDir(), fmt.Sprint("new", spare))
		end := starve(t, spare)
		db, err := lightning.Open(path, 0o600, nil)
		end()
		if err != nil {
			realOpenError(t, fmt.Sprintf("create with %d descriptors", spare), err, syscall.EMFILE, path)
		} else if err := db.Close(); err != nil {
			t.Error(err)
		}
		d := openReal(t, path, lightning.Options{})
		d.mustPut("descriptors are back", "data", someValues("k", 10, 3000))
		d.reopened("opened again")
	}
}

// A running database needs no descriptor: transactions, growth, checks and
// backups to a stream go on without; a backup to a file fails as typed.
func TestRealFaults_Descriptors_Running(t *testing.T) {
	if !realChild(t, realNeeds{}) {
		return
	}
	for _, mode := range realModeNames() {
		d := openReal(t, filepath.Join(realDir(), mode+".db"), lightning.Options{Durability: realModes[mode]})
		d.mustPut("fill", "data", someValues("k", 200, 3000))
		end := starve(t, 0)
		d.mustPut("without a descriptor", "data", someValues("more", 20, 400_000))
		d.sound("without a descriptor")
		if err := d.db.Sync(); err != nil {
			t.Errorf("%s: Sync without a descriptor: %v", mode, err)
		}
		copied := filepath.Join(realDir(), mode+".copy")
		var stream bytes.Buffer
		if err := d.db.View(func(tx *lightning.Tx) error {
			if err := tx.CopyFile(copied, 0o600); !errors.Is(err, syscall.EMFILE) || !strings.Contains(err.Error(), copied) {
				t.Errorf("%s: CopyFile without a descriptor: %v, want EMFILE and the path", mode, err)
			}
			_, err := tx.WriteTo(&stream)
			return err
		}); err != nil {
			t.Errorf("%s: WriteTo without a descriptor: %v", mode, err)
		}
		d.mustPut("still without a descriptor", "data", someValues("more", 20, 10))
		d.close()
		end()
		for _, left := range []string{copied, copied + ".partial"} {
			if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: CopyFile without a descriptor left %s: %v", mode, left, err)
			}
		}
		d.open()
		d.sound("opened again")
		if err := os.WriteFile(copied, stream.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		openReal(t, copied, lightning.Options{}).sound("the stream")
	}
}

// addressSpace is how much of it the process has.
func addressSpace(t *testing.T) uint64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var pages uint64
	if _, err := fmt.Sscan(string(b), &pages); err != nil {
		t.Fatal(err)
	}
	return pages * uint64(os.Getpagesize())
}

// With little address space less of it is reserved, no more than is left for
// the heap; with less than the file takes Open says so. When the reservation
// is used up commits fail as typed, until the database is opened anew.
func TestRealFaults_AddressSpace(t *testing.T) {
	if !realChild(t, realNeeds{}) {
		return
	}
	if runtime.GOARCH == "386" || runtime.GOARCH == "arm" {
		t.Skip("on 32 bits there is no reservation to use up: further chunks are mapped")
	}
	d := openReal(t, filepath.Join(realDir(), "space.db"), lightning.Options{})
	d.mustPut("fill", "data", someValues("k", 40, 500_000))
	d.close()
	runtime.GC()

	restore := realLimit(t, syscall.RLIMIT_AS, addressSpace(t)+8<<20)
	_, err := lightning.Open(d.path, 0o600, nil)
	restore()
	realOpenError(t, "Open of 20 MB with 8 MiB of address space", err, syscall.ENOMEM, d.path)
	if !errors.Is(err, lightning.ErrInvalidMapping) {
		t.Errorf("Open with 8 MiB: %v, want ErrInvalidMapping", err)
	}

	before := addressSpace(t)
	restore = realLimit(t, syscall.RLIMIT_AS, before+200<<20)
	d.open()
	if taken := addressSpace(t) - before; taken > 72<<20 {
		t.Errorf("Open took %d bytes of 200 MiB of address space, want 64 MiB: no more than it leaves", taken)
	}
	d.sound("200 MiB of address space")
	var refused error
	for i := range 200 {
		if refused = d.put("data", someValues(fmt.Sprint("more", i), 1, 300_000)); refused != nil {
			break
		}
	}
	d.fails("growth beyond the reservation", refused, syscall.ENOMEM, "open")
	d.sound("growth beyond the reservation")
	d.mustPut("delete in the space that there is", "data", map[string]int{"k0": -1, "k1": -1})
	d.mustPut("write in the space that there is", "data", map[string]int{"k0": 100_000})
	d.close()
	restore()
	d.open()
	d.sound("address space is back")
	d.mustPut("address space is back", "data", someValues("again", 40, 1<<20))
	d.reopened("opened again")
}

// Memory may not be locked: Open with Mlock says so; a file that outgrows the
// limit stops growing, as typed, until the limit is raised.
func TestRealFaults_LockedMemory(t *testing.T) {
	if !realChild(t, realNeeds{root: true}) {
		return
	}
	// Root may lock what it likes.
	realNobody(t)
	path := filepath.Join(realDir(), "locked.db")
	d := openReal(t, path, lightning.Options{})
	d.mustPut("fill", "data", someValues("k", 100, 5000))
	d.close()
	for _, limit := range []uint64{0, 64 << 10} {
		restore := realLimit(t, unix.RLIMIT_MEMLOCK, limit)
		_, err := lightning.Open(path, 0o600, &lightning.Options{Mlock: true})
		cause := syscall.ENOMEM
		if limit == 0 {
			cause = syscall.EPERM
		}
		realOpenError(t, fmt.Sprintf("Mlock with a limit of %d bytes", limit), err, cause, path)
		restore()
	}
	d.options.Mlock = true
	restore := realLimit(t, unix.RLIMIT_MEMLOCK, 2<<20)
	defer restore()
	d.open()
	d.sound("locked")
	var refused error
	for i := range 100 {
		if refused = d.put("data", someValues(fmt.Sprint("more", i), 1, 100_000)); refused != nil {
			break
		}
	}
	d.fails("growth beyond the limit", refused, syscall.ENOMEM, "limit", "Mlock")
	d.sound("growth beyond the limit")
	d.mustPut("delete beyond the limit", "data", map[string]int{"k0": -1})
	restore()
	d.mustPut("the limit is raised", "data", someValues("raised", 5, 100_000))
	d.reopened("opened again")
}
