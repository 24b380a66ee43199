//go:build amd64 || arm64

package powerfs_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"testing"
	"time"

	"github.com/lightning-db/lightning/chaos/powerfs"
)

// bench is a machine: a file system, and the database on it, which one
// child after the other uses.
type bench struct {
	t      *testing.T
	fs     *powerfs.FS
	dir    string
	oracle *oracle
	job    job
}

// newBench mounts a file system. The test is skipped where that cannot be.
func newBench(t *testing.T, seed uint64, lies powerfs.Lies) *bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a FUSE file system needs root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("no FUSE: %v", err)
	}
	b := &bench{t: t, fs: powerfs.New(seed), dir: t.TempDir(), oracle: newOracle()}
	b.fs.Lies = lies
	b.job = job{Path: filepath.Join(b.dir, "power.db"), PageSize: 4096, Commits: 1 << 30}
	err := b.fs.Mount(b.dir)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENODEV) {
		t.Skipf("this process may not mount a FUSE file system: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}

// close unmounts; it may be called again.
func (b *bench) close() {
	if err := b.fs.Unmount(); err != nil {
		b.t.Error(err)
	}
}

// watch ends the test process with all stacks if a round hangs.
func (b *bench) watch(cmd *exec.Cmd) (stop func()) {
	timer := time.AfterFunc(2*time.Minute, func() {
		debug.SetTraceback("all")
		err := errors.Join(syscall.Unmount(b.dir, syscall.MNT_DETACH), cmd.Process.Kill())
		panic(fmt.Sprint("a round hangs; cleaned up: ", err))
	})
	return func() { timer.Stop() }
}

// child is a process at work.
type child struct {
	cmd   *exec.Cmd
	lines <-chan string // closed when it has ended
}

func (b *bench) start(j job) *child {
	b.t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text), "GOTRACEBACK=all")
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // closed when this process ends
		b.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	return &child{cmd, lines}
}

// round is what happens to a child.
type round struct {
	claims string // mode that the child is believed to be in
	cut    *powerfs.Cut
	faults []powerfs.Fault
	acks   int  // the latest end: so many acknowledgements; 0 = no matter how many
	opens  int  // the latest end: so many times opened; 0 = no matter how often
	power  bool // the power is cut, not only the process killed
}

// run starts a child and ends it as the round says. It returns the oracle's
// verdict on what the child said.
func (b *bench) run(r round, rng *rand.Rand) (verdict error) {
	b.t.Helper()
	o := b.oracle
	o.begin(r.claims, len(r.faults) > 0)
	for _, f := range r.faults {
		b.fs.Fail(f)
	}
	if r.cut != nil {
		b.fs.FreezeAt(*r.cut)
	}
	frozen := b.fs.Frozen()
	j := b.job
	j.MustExist = o.opened
	c := b.start(j)
	defer b.watch(c.cmd)()

	hear := func(line string) {
		if verdict == nil {
			verdict = o.hear(line)
		}
	}
	acks, opens := o.acks, o.opens
	ended := func() bool {
		return r.acks > 0 && o.acks-acks >= r.acks || r.opens > 0 && o.opens-opens >= r.opens
	}
	for alive := true; alive && verdict == nil && !ended(); {
		select {
		case line, ok := <-c.lines:
			if alive = ok; !ok {
				verdict = errors.New("the child ended by itself")
				continue
			}
			hear(line)
		case <-frozen:
			alive = false
		}
	}
	b.fs.Freeze()
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		b.t.Fatal(err)
	}
	b.fs.Thaw()
	for line := range c.lines {
		hear(line)
	}
	var exit *exec.ExitError
	if err := c.cmd.Wait(); !errors.As(err, &exit) {
		b.t.Errorf("the child was not killed: %v", err)
	}
	o.killed(r.power)
	if r.power {
		b.cutPower(rng)
	}
	return verdict
}

func (b *bench) cutPower(rng *rand.Rand) {
	b.t.Helper()
	err := b.fs.Unmount()
	if err == nil {
		err = b.fs.PowerCut(rng)
	}
	if err == nil {
		err = b.fs.Mount(b.dir)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}
