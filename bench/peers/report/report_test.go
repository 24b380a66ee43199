package report

import (
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lightning-db/lightning/bench/peers/runner"
	"github.com/lightning-db/lightning/bench/peers/workloads"
)

// sample makes three rounds of a few results.
func sample() (results []runner.Result) {
	add := func(family, workload, engine string, keys int, metrics ...workloads.Metrics) {
		for round, m := range metrics {
			results = append(results, runner.Result{Family: family, Workload: workload, Engine: engine, Keys: keys, Round: round, Metrics: m})
		}
	}
	time := func(v float64) workloads.Metrics { return workloads.Metrics{"time": v, "allocs": 0} }
	add(runner.Speed, "get-tx", "lightning", 1_000_000, time(500), time(700), time(600))
	add(runner.Speed, "get-tx", "bbolt", 1_000_000, time(1250), time(1200), time(1300))
	add(runner.Speed, "get-tx", workloads.LimitEngine, 1_000_000, time(80))
	add(runner.Speed, "scan", "lightning", 1_000_000, time(40))
	add(runner.Speed, "scan", "bbolt", 1_000_000, time(39))
	add(runner.Speed, "machine", workloads.LimitEngine, 1_000_000, workloads.Metrics{"BLAKE3 of 4 KiB": 2900})
	add(runner.Speed, "put-sync", "lightning", 1_000_000, workloads.Metrics{"P50": 300_000, "written": 20480}, workloads.Metrics{"flushes": 1})
	add(runner.Speed, "put-sync", workloads.LimitEngine, 1_000_000, workloads.Metrics{"P50": 260_000})
	add(runner.Speed, "writers-64", "lightning", 1_000_000, workloads.Metrics{"commits": 61_000})
	add(runner.Speed, "writers-64", "bbolt", 1_000_000, workloads.Metrics{"commits": 1000})
	for _, keys := range []int{10_000, 1_000_000} {
		add(runner.Growth, "get-tx", "lightning", keys, time(float64(keys)/1000))
		add(runner.Growth, "get-tx", "bbolt", keys, time(float64(keys)/500))
	}
	return append(results, runner.Result{Family: runner.Speed, Workload: "scan", Engine: "mdbx", Keys: 1_000_000, Error: "out of space"})
}

func TestWrite_Sample(t *testing.T) {
	dir := t.TempDir()
	info := Info{Machine: []string{"a machine"}, Command: "go run . -rounds 3", Rounds: 3, Seconds: 1}
	if err := Write(dir, info, sample()); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "PEERS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"go run . -rounds 3",
		"| lightning | 600 ns | 500 ns .. 700 ns | 0.48 | 0 |",
		"| a Go map | 80.0 ns |",
		"time ≤ 0.60 × bbolt: 0.48 × (600 ns) reached",
		"time ≤ 0.60 × bbolt: 1.03 × (40.0 ns) **not reached**",
		"P50 ≤ 1.20 × machine: 1.15 × (300 µs) reached",
		"P50 ≤ 0.60 × bbolt: 300 µs not measured",
		"written ≤ 24.0 KiB: 20.0 KiB reached",
		"commits ≥ 60.0 k/s: 61.0 k/s reached",
		"BLAKE3 of 4 KiB | 2.90 µs",
		"(growth, 10,000 keys)",
		"peers/growth.svg",
		"scan, mdbx, 1,000,000 keys, round 0: out of space",
	} {
		if !strings.Contains(string(content), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	for _, name := range []string{"reads.svg", "rates.svg", "growth.svg"} {
		checkXML(t, filepath.Join(dir, "peers", name))
	}
	if _, err := os.Stat(filepath.Join(dir, "peers", "writes.svg")); err == nil {
		t.Error("a plot without bars was written")
	}
}

// TestWrite_LinksLead holds each link of the report to a heading.
func TestWrite_LinksLead(t *testing.T) {
	page := markdown(Info{}, summarize(sample()), nil)
	headings := make(map[string]bool)
	for line := range strings.Lines(page) {
		if text, ok := strings.CutPrefix(line, "### "); ok {
			headings[anchor(strings.TrimSpace(text))] = true
		}
	}
	links := strings.Split(page, "](#")[1:]
	if len(links) == 0 {
		t.Fatal("there are no links")
	}
	for _, l := range links {
		if to, _, _ := strings.Cut(l, ")"); !headings[to] {
			t.Errorf("no heading for %q", to)
		}
	}
}

func checkXML(t *testing.T, name string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	for decoder := xml.NewDecoder(f); ; {
		if _, err := decoder.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
	}
}

// TestTargets_Exist holds that what the targets are about is measured.
func TestTargets_Exist(t *testing.T) {
	for _, target := range targets {
		w, ok := workloads.ByName(target.workload)
		found := false
		for _, m := range w.Metrics {
			found = found || m.Name == target.metric
		}
		if !ok || !found {
			t.Errorf("no metric %s of %s", target.metric, target.workload)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		v    float64
		unit workloads.Unit
		want string
	}{
		{39, workloads.Nanoseconds, "39.0 ns"},
		{1250, workloads.Nanoseconds, "1.25 µs"},
		{7.9e9, workloads.Nanoseconds, "7.90 s"},
		{24 << 10, workloads.Bytes, "24.0 KiB"},
		{0.63e6, workloads.PerSecond, "630 k/s"},
		{22e9, workloads.BytesPerSec, "22.0 GB/s"},
		{0.0001, workloads.Count, "0"},
		{2.39, workloads.Ratio, "2.39"},
	} {
		if got := format(c.v, c.unit); got != c.want {
			t.Errorf("%v %s: got %q, want %q", c.v, c.unit, got, c.want)
		}
	}
}

func TestMedian(t *testing.T) {
	if got := median([]float64{1, 2, 9}); got != 2 {
		t.Errorf("of three: %v", got)
	}
	if got := median([]float64{1, 2, 4, 9}); got != 3 {
		t.Errorf("of four: %v", got)
	}
}
