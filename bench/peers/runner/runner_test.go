package runner

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/lightning-db/lightning/bench/peers/engines"
	"github.com/lightning-db/lightning/bench/peers/workloads"
)

// TestMain makes the test binary the process that does a job, too.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == workloads.ChildArgument {
		if err := Child(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func someEngines(t *testing.T, names ...string) []engines.Engine {
	t.Helper()
	found, err := engines.ByName(names)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestRun_EachWorkload does every workload on a few keys, each in a process of
// its own, and looks for all metrics.
func TestRun_EachWorkload(t *testing.T) {
	config := Config{
		Engines: someEngines(t, "lightning", "bbolt", "bbolt-batch", "lmdb"),
		Keys:    2000, Rounds: 1, Seconds: 0.01, Dir: t.TempDir(), Log: io.Discard,
		Match: regexp.MustCompile("^speed/"),
	}
	got := make(map[string]workloads.Metrics)
	err := Run(t.Context(), config, func(r Result) error {
		if r.Error != "" {
			t.Errorf("%s %s: %s", r.Workload, r.Engine, r.Error)
		}
		name := r.Workload + " " + r.Engine
		if got[name] == nil {
			got[name] = make(workloads.Metrics)
		}
		for metric, v := range r.Metrics {
			got[name][metric] = v
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range workloads.All() {
		for _, e := range config.Engines {
			for _, m := range w.Metrics {
				if _, ok := got[w.Name+" "+e.Name][m.Name]; !ok && w.Takes(e) && m != workloads.Flushes {
					t.Errorf("%s %s: no %s", w.Name, e.Name, m.Name)
				}
			}
		}
		if w.Limit != nil && len(got[w.Name+" "+workloads.LimitEngine]) == 0 {
			t.Errorf("%s: no limit of the machine", w.Name)
		}
	}
	left, err := os.ReadDir(config.Dir)
	if err != nil || len(left) != 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}

// TestRun_Memory does a get with the page cache limited.
func TestRun_Memory(t *testing.T) {
	config := Config{
		Engines: someEngines(t, "lightning"), Keys: 1000, Rounds: 1, Seconds: 0.01,
		Memory: 1 << 20, Dir: t.TempDir(), Log: io.Discard, Match: regexp.MustCompile("^memory/get-tx$"),
	}
	n := 0
	err := Run(t.Context(), config, func(r Result) error {
		n++
		if r.Family != Memory || r.Keys != 3<<20/116 || r.Error != "" || r.Metrics["time"] <= 0 {
			t.Errorf("%+v", r)
		}
		return nil
	})
	if err != nil || n != 1 {
		t.Errorf("%d results, %v", n, err)
	}
}

func TestRun_FailuresAreResults(t *testing.T) {
	dir := t.TempDir()
	// A file where the engine wants a directory.
	if err := os.WriteFile(filepath.Join(dir, "lightning-random-2000"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := Config{
		Engines: someEngines(t, "lightning"), Keys: 2000, Rounds: 1, Seconds: 0.01,
		Dir: dir, Log: io.Discard, Match: regexp.MustCompile("^speed/get-view$"),
	}
	var got []Result
	err := Run(t.Context(), config, func(r Result) error { got = append(got, r); return nil })
	if err != nil || len(got) != 1 || got[0].Error == "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestPlan_Families(t *testing.T) {
	r := &run{Config: Config{Keys: 1000, Rounds: 3, Growth: []int{10_000, 3_000_000}, Memory: 1 << 30}}
	families := make(map[string]int)
	for _, c := range r.plan() {
		families[c.family]++
		if once := c.workload.Name == "load-random" && c.keys > longLoad; once != (c.rounds == 1) {
			t.Errorf("%s %d: %d rounds", c.workload.Name, c.keys, c.rounds)
		}
	}
	want := map[string]int{Speed: len(workloads.All()), Cached: len(cachedWorkloads), Growth: 2 * len(growthWorkloads), Memory: len(memoryWorkloads)}
	if fmt.Sprint(families) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", families, want)
	}
}

func TestCountFlushes(t *testing.T) {
	trace := strings.Join([]string{
		`10 openat(AT_FDCWD, "data.mdb", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 5`,
		`10 openat(AT_FDCWD, "data.mdb", O_WRONLY|O_DSYNC|O_CLOEXEC) = 6`,
		`10 pwrite64(5, "..."..., 4096, 8192) = 4096`,
		`11 fdatasync(5)                      = 0`,
		`11 pwrite64(6, "..."..., 104, 4112)  = 104`,
		`12 fsync(5 <unfinished ...>`,
		`10 write(1, "{}", 2)                 = 2`,
		`12 <... fsync resumed>)              = 0`,
		`10 close(6)                          = 0`,
		`10 openat(AT_FDCWD, "other", O_RDWR|O_CLOEXEC) = 6`,
		`10 pwrite64(6, "..."..., 104, 4112)  = 104`,
		`10 msync(0x7f0000, 4096, MS_SYNC)    = 0`,
	}, "\n")
	n, err := countFlushes([]byte(trace))
	if err != nil || n != 4 {
		t.Errorf("%d flushes, %v; want 4", n, err)
	}
}

func TestCopyDir_HolesAndAllocation(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	sparse := append(make([]byte, 8<<20), []byte("behind a hole")...)
	if err := os.WriteFile(filepath.Join(from, "dense"), bytes.Repeat([]byte("dense"), 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(from, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(from, "sub", "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(sparse[8<<20:], 8<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := copyDir(to, from); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"dense": bytes.Repeat([]byte("dense"), 5000), "sub/sparse": sparse} {
		got, err := os.ReadFile(filepath.Join(to, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; want %d", name, len(got), err, len(want))
		}
	}
	info, err := os.Stat(filepath.Join(to, "sub", "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if taken := info.Sys().(*syscall.Stat_t).Blocks * 512; taken > 1<<20 {
		t.Errorf("the copy of a file with a hole takes %d bytes", taken)
	}
}

// TestNewGroup makes a group in a directory that looks like the kernel's.
func TestNewGroup(t *testing.T) {
	root := t.TempDir()
	if _, err := newGroupBelow(root, []byte("0::/own\n"), 1<<30); err == nil {
		t.Error("a group whose memory nobody controls was taken")
	}
	own := filepath.Join(root, "own")
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(own, "memory.max"), []byte("max"), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := newGroupBelow(root, []byte("4:memory:/elsewhere\n0::/own\n"), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	limit, err := os.ReadFile(filepath.Join(g.dir.Name(), "memory.max"))
	if err != nil || string(limit) != "1073741824" || filepath.Dir(g.dir.Name()) != own {
		t.Errorf("limit %q in %s, %v", limit, g.dir.Name(), err)
	}
	if err := os.Remove(filepath.Join(g.dir.Name(), "memory.max")); err != nil { // the kernel's files go with the group
		t.Fatal(err)
	}
	g.remove(t.Errorf)
	if _, err := os.Stat(g.dir.Name()); !os.IsNotExist(err) {
		t.Errorf("the group is still there: %v", err)
	}
}
