package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/lightning-db/lightning/chaos"
	"github.com/lightning-db/lightning/chaos/stress"
)

func TestChaosStress(t *testing.T) {
	dir := t.TempDir()
	out, _ := cli(t, exitOK, "chaos", "stress", "--ops=2000", "--goroutines=4", "--dir", dir, "-o", "json")
	var got struct {
		Seed  uint64
		Modes []stressReport
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if got.Seed == 0 || len(got.Modes) != len(stressModes) {
		t.Errorf("seed %d, %d modes", got.Seed, len(got.Modes))
	}
	for i, m := range got.Modes {
		if m.Mode != stressModes[i].name || m.Ops < 2000 || m.Goroutines != 4 || m.Commits == 0 || m.FileSize == 0 || m.Failed != 0 || len(m.Latency) == 0 {
			t.Errorf("mode %d: %+v", i, m)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	out, _ = cli(t, exitOK, "chaos", "stress", "--ops=500", "--mode=nosync", "--seed=5", "--dir", dir)
	if !strings.HasPrefix(out, "nosync: goroutines 16, operations 5") || !strings.Contains(out, "P99.9") || strings.Contains(out, "periodic") {
		t.Errorf("got %s", out)
	}
	out, _ = cli(t, exitOK, "chaos", "stress", "--ops=500", "--mode=sync", "--dir", dir, "--quiet")
	if strings.Count(out, "\n") != 1 {
		t.Errorf("quiet: got %s", out)
	}
}

func TestChaosCrash(t *testing.T) {
	dir := t.TempDir()
	out, _ := cli(t, exitOK, "chaos", "crash", "--crashes=1", "--seed=3", "--dir", dir, "-o", "json")
	var got struct {
		Seed, States, Workloads int
		ByFault                 map[string]int `json:"by_fault"`
		Failure                 string
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if got.Seed != 3 || got.States < 100 || got.Workloads < 1 || got.ByFault["power cut"] == 0 || got.Failure != "" {
		t.Errorf("got %+v", got)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestChaos_Usage(t *testing.T) {
	for _, args := range [][]string{
		{"chaos"}, {"chaos", "nonsense"}, {"chaos", "stress", "more"}, {"chaos", "stress", "--mode=fast"}, {"chaos", "stress", "--ops=0"},
		{"chaos", "stress", "--goroutines=-1"}, {"chaos", "crash", "--crashes=0"},
	} {
		cli(t, exitUsage, args...)
	}
	cli(t, exitGeneral, "chaos", "stress", "--ops=1", "--dir", t.TempDir()+"/missing")
	cli(t, exitGeneral, "chaos", "crash", "--crashes=1", "--dir", t.TempDir()+"/missing")
}

// A broken promise is printed, and is an error.
func TestChaos_BrokenPromises(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: bufio.NewWriter(&out), format: formatText}
	r := newStressReport("sync", 16, &stress.Report{Ops: 10, Failed: 2, Failures: []string{"worker 3, key 7: wrong"}})
	if err := a.printStress(&r); err != nil || !strings.Contains(out.String(), "sync: worker 3, key 7: wrong\n") || !strings.Contains(out.String(), "failures 2") {
		t.Errorf("printed %s, error %v", &out, err)
	}
	if err := stressVerdict(9, []stressReport{{}, r}); exitCode(err) != exitGeneral || !strings.Contains(err.Error(), "--seed 9") {
		t.Errorf("stress: error %v", err)
	}
	if err := stressVerdict(9, []stressReport{{}}); err != nil {
		t.Errorf("stress without failures: error %v", err)
	}
	err := a.reportCrash(1, &chaos.Report{States: 5, ByFault: map[string]int{"power cut": 5}, Failure: &chaos.Failure{Seed: 4, What: "lost", Trace: []string{"step"}}})
	if err := a.out.Flush(); err != nil {
		t.Fatal(err)
	}
	if exitCode(err) != exitGeneral || !strings.Contains(out.String(), "lost") || !strings.Contains(out.String(), "5  power cut") || !strings.Contains(out.String(), "-seed=4") {
		t.Errorf("printed %s, error %v", &out, err)
	}
}
