package chaos_test

import (
	"flag"
	"maps"
	"slices"
	"testing"

	"github.com/lightning-db/lightning/chaos"
)

var (
	crashes   = flag.Int("crashes", 0, "crash states that TestCrash judges (0: 100,000, or 5,000 with -short)")
	crashSeed = flag.Uint64("seed", 1, "seed of the first workload of TestCrash")
)

// TestCrash cuts, tears, kills and damages random workloads at any moment. What
// must be survived is; what cannot be is noticed.
func TestCrash(t *testing.T) {
	n := *crashes
	if n == 0 {
		n = chaos.DefaultCrashes
		if testing.Short() {
			n = 5000
		}
	}
	report, err := chaos.Explore(t.Context(), chaos.Config{Seed: *crashSeed, Crashes: n})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d states of %d workloads from -seed=%d on", report.States, report.Runs, *crashSeed)
	for _, fault := range slices.Sorted(maps.Keys(report.ByFault)) {
		t.Logf("%8d %s", report.ByFault[fault], fault)
	}
	if report.Failure != nil {
		t.Fatal(report.Failure)
	}
}

// TestCrash_Workers expects the same report whatever the number of workers.
func TestCrash_Workers(t *testing.T) {
	explore := func(workers int) *chaos.Report {
		report, err := chaos.Explore(t.Context(), chaos.Config{Seed: *crashSeed, Crashes: 800, Workers: workers})
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	one, four := explore(1), explore(4)
	if one.States != four.States || one.Runs != four.Runs || !maps.Equal(one.ByFault, four.ByFault) || (one.Failure == nil) != (four.Failure == nil) {
		t.Errorf("one worker reports %v, four report %v, from -seed=%d on", one, four, *crashSeed)
	}
}
