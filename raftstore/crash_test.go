package raftstore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/seed"
)

// childEnv tells a copy of this test binary, started by a test, what to do.
const childEnv = "RAFTSTORE_TEST_CHILD"

func child(test string, job ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(job, "\n"))
	cmd.Stderr = os.Stderr
	return cmd
}

func childJob() []string {
	if job := os.Getenv(childEnv); job != "" {
		return strings.Split(job, "\n")
	}
	return nil
}

// TestStore_Kill kills a process that appends batches and truncates. The next
// one finds every batch that was acknowledged, whole, and at the most the one
// that was under way besides.
func TestStore_Kill(t *testing.T) {
	if job := childJob(); job != nil {
		appendForever(t, job[0])
		return
	}
	rng := seed.Rand(t)
	path := filepath.Join(t.TempDir(), "raft.ldb")
	for range 6 {
		cmd := child("TestStore_Kill", path)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		acked, stop := uint64(0), 1+rng.IntN(40)
		for n := 0; lines.Scan(); n++ {
			if v, err := strconv.ParseUint(lines.Text(), 10, 64); err == nil {
				acked = v
			}
			if n == stop {
				must(t, cmd.Process.Kill())
			}
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) {
			t.Fatalf("child: %v", err)
		}
		wantWholeBatches(t, path, acked)
	}
}

const (
	killBatch = 7
	killKeep  = 20 * killBatch
)

func appendForever(t *testing.T, path string) {
	s, err := Open(path, nil)
	must(t, err)
	for {
		last, err := s.LastIndex()
		must(t, err)
		must(t, s.StageCommitIndex(last))
		must(t, s.StoreLogs(entries(last+1, last+killBatch)))
		fmt.Println(last + killBatch)
		if last > killKeep {
			must(t, s.DeleteRange(0, last-killKeep))
		}
	}
}

func wantWholeBatches(t *testing.T, path string, acked uint64) {
	t.Helper()
	s, err := Open(path, nil)
	must(t, err)
	must(t, checkDB(s.db))
	first, err := s.FirstIndex()
	must(t, err)
	last, err := s.LastIndex()
	must(t, err)
	if last%killBatch != 0 || last < acked || last > acked+64*killBatch {
		t.Fatalf("log ends at %d, acknowledged %d", last, acked)
	}
	for i := first; i <= last && i > 0; i++ {
		var l raft.Log
		must(t, s.GetLog(i, &l))
		if !sameLog(&l, entries(i, i)[0]) {
			t.Fatalf("entry %d is %+v", i, l)
		}
	}
	if commit, err := s.GetCommitIndex(); err != nil || last > 0 && commit != last-killBatch {
		t.Fatalf("commit index %d, %v, of a log that ends at %d", commit, err, last)
	}
	must(t, s.Close())
}

// TestStore_FailedDisk fails each kind of write under an append: the append is
// not acknowledged, and after reopening the log is as before or has all of it.
func TestStore_FailedDisk(t *testing.T) {
	for _, op := range []fsync.Op{fsync.OpPageWrite, fsync.OpMetaWrite, fsync.OpSync} {
		t.Run(fmt.Sprint(op), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "raft.ldb")
			var faults *fsync.Faults
			remove := fsync.Intercept(path, func(f fsync.File) fsync.File {
				faults = fsync.NewFaults(f)
				return faults
			})
			s, err := Open(path, nil)
			remove()
			must(t, err)
			must(t, s.StoreLogs(entries(1, 10)))
			faults.FailAlways(op, syscall.EIO)
			if err := s.StoreLogs(entries(11, 20)); !errors.Is(err, syscall.EIO) {
				t.Fatalf("StoreLogs: %v", err)
			}
			if faults.Calls(op) == 0 {
				t.Fatal("nothing failed")
			}
			wantRange(t, s, 1, 10)
			faults.Clear()
			if err := s.Close(); err != nil {
				t.Logf("close: %v", err)
			}
			s = openStore(t, path, nil)
			if last, err := s.LastIndex(); err != nil || last != 10 && last != 20 {
				t.Fatalf("log ends at %d, %v", last, err)
			}
		})
	}
}

// TestStore_DamagedFile turns bits of the file of a closed Store: every entry
// that is then read is right or an error.
func TestStore_DamagedFile(t *testing.T) {
	rng := seed.Rand(t)
	path := filepath.Join(t.TempDir(), "raft.ldb")
	s, err := Open(path, nil)
	must(t, err)
	must(t, s.StoreLogs(entries(1, 500)))
	must(t, s.Close())
	whole, err := os.ReadFile(path)
	must(t, err)
	refused := 0
	for range 60 {
		damaged := bytes.Clone(whole)
		damaged[rng.IntN(len(damaged))] ^= 1 << rng.IntN(8)
		must(t, os.WriteFile(path, damaged, 0o600))
		s, err := Open(path, nil)
		if err != nil {
			refused++
			continue
		}
		for i := uint64(1); i <= 500; i++ {
			var l raft.Log
			if err := s.GetLog(i, &l); err != nil && !errors.Is(err, lightning.ErrChecksum) {
				t.Fatalf("entry %d: %v", i, err)
			} else if err != nil {
				refused++
			} else if !sameLog(&l, entries(i, i)[0]) {
				t.Fatalf("entry %d is %+v", i, l)
			}
		}
		must(t, s.Close())
	}
	if refused == 0 {
		t.Error("no damage was met")
	}
}

// TestStore_TruncationCostsWhatIsDeleted counts the pages that truncating by 100
// entries makes writable: as many in a log a hundred times as long, but for the
// further levels of its tree.
func TestStore_TruncationCostsWhatIsDeleted(t *testing.T) {
	cost := func(n uint64) (front, back int64) {
		s := tempStore(t, &Options{DB: &lightning.Options{Durability: lightning.NoSync}})
		for lo := uint64(1); lo <= n; lo += 1000 {
			must(t, s.StoreLogs(entries(lo, lo+999)))
		}
		nodes := func(lo, hi uint64) int64 {
			before := s.db.Stats()
			must(t, s.DeleteRange(lo, hi))
			after := s.db.Stats()
			return after.Sub(&before).TxStats.NodeCount
		}
		front, back = nodes(1, 100), nodes(n-99, math.MaxUint64)
		wantRange(t, s, 101, n-100)
		return front, back
	}
	front, back := cost(1000)
	longFront, longBack := cost(100_000)
	if front == 0 || longFront > front+4 || longBack > back+4 {
		t.Errorf("pages changed: front %d and %d, back %d and %d", front, longFront, back, longBack)
	}
}

// TestFSM_RestoreKilled kills the process at each step of a restore. What opens
// afterwards is the old database or the new one, and nothing is left beside it.
func TestFSM_RestoreKilled(t *testing.T) {
	if job := childJob(); job != nil {
		restoreAndDie(t, job[0], job[1], job[2])
		return
	}
	dir := t.TempDir()
	other := openFSM(t, filepath.Join(dir, "other.ldb"), nil)
	apply(t, other, 1, putCommand("new"))
	stream := filepath.Join(dir, "stream")
	must(t, os.WriteFile(stream, snapshotOf(t, other), 0o600))
	for _, c := range []struct{ stage, want string }{
		{"receiving", "old"}, {"received", "old"}, {"checked", "old"}, {"prepared", "old"}, {"renamed", "new"},
	} {
		t.Run(c.stage, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "data.ldb")
			f := openFSM(t, path, nil)
			apply(t, f, 1, putCommand("old"))
			must(t, f.Close())
			err := child("TestFSM_RestoreKilled", path, stream, c.stage).Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != -1 {
				t.Fatalf("child: %v", err)
			}
			f = openFSM(t, path, nil)
			if got := value(t, f); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			must(t, checkDB(f.db.Load()))
			if left, err := filepath.Glob(path + "?*"); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func restoreAndDie(t *testing.T, path, stream, stage string) {
	die := func() {
		self, err := os.FindProcess(os.Getpid())
		must(t, err)
		must(t, self.Kill())
		time.Sleep(time.Minute) // the signal ends this
	}
	f, err := OpenFSM(path, nil)
	must(t, err)
	f.stage = func(s string) {
		if s == stage {
			die()
		}
	}
	b, err := os.ReadFile(stream)
	must(t, err)
	var source io.Reader = bytes.NewReader(b)
	if stage == "receiving" {
		source = io.MultiReader(bytes.NewReader(b[:len(b)/2]), readerFunc(func([]byte) (int, error) {
			die()
			return 0, io.EOF
		}))
	}
	must(t, f.Restore(io.NopCloser(source)))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
