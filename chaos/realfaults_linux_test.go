package chaos_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lightning-db/lightning"
)

// The tests named TestRealFaults meet faults that the kernel makes: full,
// aborted and read-only file systems, limits of the process, files changed by
// others. Each runs in a child process of its own, because it changes what
// belongs to the whole process, and because the death of the process is one of
// the failures that it looks for.

const (
	realChildEnv = "LIGHTNING_REALFAULTS_CHILD" // name of the test that the child runs
	realDirEnv   = "LIGHTNING_REALFAULTS_DIR"   // directory for its files
)

// realNeeds is what a child is given.
type realNeeds struct {
	mounts bool     // root, and mounts that nobody else sees and that end with the child
	root   bool     // root
	launch []string // a program and its arguments that start the child
	env    []string // more of its environment
}

// realChild reports whether this process is the child in which the test may do
// what it likes. In the parent it runs the child and judges how that ended.
func realChild(t *testing.T, needs realNeeds) bool {
	t.Helper()
	if os.Getenv(realChildEnv) == t.Name() {
		return true
	}
	if (needs.mounts || needs.root) && os.Geteuid() != 0 {
		t.Skip("needs root: mounts and limits are made for real")
	}
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} { // the child may become another user
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	out, err := realRun(t, needs, dir)
	if needs.mounts && (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL)) {
		t.Skipf("mounts of its own are refused to a process here: %v", err)
	}
	// The output of the child is shown either way: it has the seeds and skips.
	t.Logf("child process:\n%s", out)
	if err != nil {
		t.Errorf("the child process ended with %v", err)
		return false
	}
	if bytes.Contains(out, []byte("--- SKIP: "+t.Name())) {
		t.Skip("skipped in the child process, which says why")
	}
	if !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Error("the child process did not run the test")
	}
	return false
}

// realRun runs the test of the same name in a child with its files in dir.
func realRun(t *testing.T, needs realNeeds, dir string) ([]byte, error) {
	args := append(slices.Clone(needs.launch), os.Args[0],
		"-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v", "-test.timeout=2m",
		fmt.Sprintf("-test.short=%v", testing.Short()), fmt.Sprintf("-realfaults.seed=%d", *realFaultsSeed))
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), realChildEnv+"="+t.Name(), realDirEnv+"="+dir)
	cmd.Env = append(cmd.Env, needs.env...)
	if needs.mounts {
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
	return cmd.CombinedOutput()
}

// realNobody makes the child, which is root, a user without privileges.
func realNobody(t *testing.T) {
	t.Helper()
	err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(65534), syscall.Setuid(65534))
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) {
		t.Skipf("root of this user namespace has no other users: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// realDir is the child's directory for files.
func realDir() string { return os.Getenv(realDirEnv) }

// realTmpfs mounts a tmpfs of the given size.
func realTmpfs(t *testing.T, bytes int) string {
	t.Helper()
	dir, err := os.MkdirTemp(realDir(), "tmpfs")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,huge=never", bytes)); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// realBallast is a file that takes the space that others must not find.
type realBallast struct {
	t    *testing.T
	f    *os.File
	size int64
}

func newRealBallast(t *testing.T, dir string) *realBallast {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return &realBallast{t: t, f: f}
}

// fill takes all that is free, to the last page.
func (b *realBallast) fill() {
	b.t.Helper()
	for step := int64(8 << 20); step >= 4096; {
		err := syscall.Fallocate(int(b.f.Fd()), 0, b.size, step)
		switch err {
		case nil:
			b.size += step
		case syscall.ENOSPC:
			step /= 2
		case syscall.EINTR:
		default:
			b.t.Fatal(err)
		}
	}
}

// release gives the given number of bytes back, or all that there are.
func (b *realBallast) release(bytes int64) {
	b.t.Helper()
	b.size = max(0, b.size-bytes)
	if err := b.f.Truncate(b.size); err != nil {
		b.t.Fatal(err)
	}
}

// realData is a database and what must be in it: of each bucket, the keys and
// the lengths of their values.
type realData struct {
	t       *testing.T
	path    string
	options lightning.Options
	db      *lightning.DB
	want    map[string]map[string]int
}

func openReal(t *testing.T, path string, o lightning.Options) *realData {
	t.Helper()
	d := &realData{t: t, path: path, options: o, want: map[string]map[string]int{}}
	d.open()
	t.Cleanup(func() {
		if err := d.db.Close(); err != nil && !t.Failed() {
			t.Errorf("Close at the end: %v", err)
		}
	})
	return d
}

func (d *realData) open() {
	d.t.Helper()
	var err error
	if d.db, err = lightning.Open(d.path, 0o600, &d.options); err != nil {
		d.t.Fatal(err)
	}
}

func (d *realData) close() {
	d.t.Helper()
	if err := d.db.Close(); err != nil {
		d.t.Fatalf("Close: %v", err)
	}
}

// realValue is the value of n bytes that belongs to a key.
func realValue(key string, n int) []byte {
	return bytes.Repeat([]byte(key+"|"), n/(len(key)+1)+1)[:n]
}

// put commits values of the given lengths, a negative one deletes the key, and
// takes them over into what must be there if that succeeds.
func (d *realData) put(bucket string, values map[string]int) error {
	err := d.db.Update(func(tx *lightning.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(bucket))
		if err != nil {
			return err
		}
		for k, n := range values {
			if n < 0 {
				err = b.Delete([]byte(k))
			} else {
				err = b.Put([]byte(k), realValue(k, n))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if d.want[bucket] == nil {
		d.want[bucket] = map[string]int{}
	}
	for k, n := range values {
		if d.want[bucket][k] = n; n < 0 {
			delete(d.want[bucket], k)
		}
	}
	return nil
}

// mustPut is put that has to succeed.
func (d *realData) mustPut(what, bucket string, values map[string]int) {
	d.t.Helper()
	if err := d.put(bucket, values); err != nil {
		d.t.Fatalf("%s: %v", what, err)
	}
}

// holds compares all that can be read with what must be there.
func (d *realData) holds(what string) {
	d.t.Helper()
	if err := d.db.View(d.compare); err != nil {
		d.t.Fatalf("%s: %v", what, err)
	}
}

func (d *realData) compare(tx *lightning.Tx) error {
	for name, want := range d.want {
		b := tx.Bucket([]byte(name))
		if b == nil {
			return errors.Join(fmt.Errorf("bucket %q is missing", name), tx.Err())
		}
		seen := 0
		for k, v := range b.All() {
			n, ok := want[string(k)]
			if !ok || !bytes.Equal(v, realValue(string(k), n)) {
				return fmt.Errorf("bucket %q holds %q with %d bytes, not as acknowledged (%v, %d bytes)", name, k, len(v), ok, n)
			}
			seen++
		}
		if seen != len(want) && tx.Err() == nil {
			return fmt.Errorf("bucket %q holds %d keys, acknowledged are %d", name, seen, len(want))
		}
	}
	return tx.Err()
}

// sound runs Check and compares.
func (d *realData) sound(what string) {
	d.t.Helper()
	err := d.db.View(func(tx *lightning.Tx) error {
		for err := range tx.Check() {
			d.t.Errorf("%s: Check: %v", what, err)
		}
		return nil
	})
	if err != nil {
		d.t.Fatalf("%s: %v", what, err)
	}
	d.holds(what)
}

// reopened closes the database, opens it again and checks it.
func (d *realData) reopened(what string) {
	d.t.Helper()
	d.close()
	d.open()
	d.sound(what)
}

// fails judges the error of a commit: typed, not poisoned, naming the file and
// saying what to do.
func (d *realData) fails(what string, err error, cause error, advice ...string) {
	d.t.Helper()
	if errors.Is(err, lightning.ErrPoisoned) {
		d.t.Errorf("%s: the handle is poisoned, though nothing is in doubt: %v", what, err)
	}
	realError(d.t, what, err, cause, d.path, advice...)
}

// realSilent holds which shortcomings of messages were reported: once is enough.
var realSilent sync.Map

func realSilentOn(t *testing.T, what, lacks string, err, cause error) {
	t.Helper()
	if _, known := realSilent.LoadOrStore(fmt.Sprint(t.Name(), lacks, cause), true); !known {
		t.Errorf("%s: %q does not %s", what, err, lacks)
	}
}

// realError judges an error: it wraps the cause, names the file and has one of
// the given pieces of advice.
func realError(t *testing.T, what string, err, cause error, path string, advice ...string) {
	t.Helper()
	if !errors.Is(err, cause) {
		t.Fatalf("%s: got %v, want an error that wraps %v", what, err, cause)
	}
	if !strings.Contains(err.Error(), path) {
		realSilentOn(t, what, "name the file", err, cause)
	}
	words := strings.ReplaceAll(err.Error(), path, "") // it may hold what looks like advice
	if !slices.ContainsFunc(advice, func(s string) bool { return strings.Contains(words, s) }) {
		realSilentOn(t, what, "say what to do", err, cause)
	}
}

// realOpenError is realError for Open, whose error has its advice in a field.
func realOpenError(t *testing.T, what string, err, cause error, path string) {
	t.Helper()
	var open *lightning.OpenError
	if !errors.Is(err, cause) || !errors.As(err, &open) || open.Path != path {
		t.Fatalf("%s: got %v, want an OpenError for %s that wraps %v", what, err, path, cause)
	}
	if open.SuggestedAction() == "" {
		realSilentOn(t, what, "say what to do", err, cause)
	}
}

// realModes are the durability modes by name.
var realModes = map[string]lightning.Durability{
	"sync": lightning.Sync, "nosync": lightning.NoSync, "periodic": lightning.Periodic(2 * time.Millisecond),
}

// realModeNames are the modes that a run tries, the default first.
func realModeNames() []string {
	if testing.Short() {
		return []string{"sync"}
	}
	names := slices.Sorted(maps.Keys(realModes))
	slices.Reverse(names)
	return names
}

var realFaultsSeed = flag.Uint64("realfaults.seed", 0, "seed of the random tests of real faults (0: by the clock)")

// realSeed returns the seed of a random test and prints it.
func realSeed(t *testing.T) uint64 {
	seed := *realFaultsSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-realfaults.seed=%d", seed)
	return seed
}
