//go:build mutants

package chaos_test

import (
	"cmp"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lightning-db/lightning/chaos"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/mutant"
)

var mutationBound = flag.Int("mutation.crashes", 100_000, "crash states within which TestMutation must find each defect")

// defect is one rule, check or sync that is off.
type defect struct {
	name   string
	mutant mutant.Mutant
	ignore fsync.Op
	report *chaos.Report
}

// TestMutation switches each rule and digest check of the engine off, and each
// of its syncs, and expects the crash explorer to find out. With nothing off it
// finds nothing within the same bound.
func TestMutation(t *testing.T) {
	defects := []*defect{{name: "nothing"}}
	for m := mutant.None + 1; m < mutant.Count; m++ {
		defects = append(defects, &defect{name: m.String(), mutant: m})
	}
	for _, op := range []fsync.Op{
		fsync.OpCreateSync, fsync.OpOpenSync, fsync.OpPageSync, fsync.OpSync, fsync.OpCloseSync, fsync.OpGrowSync, fsync.OpEraseSync,
	} {
		defects = append(defects, &defect{name: "no " + op.String(), ignore: op})
	}
	for _, d := range defects {
		t.Run(d.name, func(t *testing.T) {
			mutant.Set(d.mutant)
			defer mutant.Set(mutant.None)
			report, err := chaos.Explore(t.Context(), chaos.Config{Seed: *crashSeed, Crashes: *mutationBound, Ignore: d.ignore, NoShrink: true})
			if err != nil {
				t.Fatal(err)
			}
			d.report = report
			switch off := d.mutant != mutant.None || d.ignore != 0; {
			case off && report.Failure == nil:
				t.Errorf("not found within %d states from -seed=%d on", report.States, *crashSeed)
			case !off && report.Failure != nil:
				t.Errorf("found with nothing off: %v", report.Failure)
			}
		})
	}
	slices.SortStableFunc(defects, func(a, b *defect) int { return cmp.Compare(states(a), states(b)) })
	var table strings.Builder
	for _, d := range defects {
		what := "found nothing"
		if d.report == nil {
			continue
		}
		if d.report.Failure != nil {
			what, _, _ = strings.Cut(d.report.Failure.What, "\n")
		}
		fmt.Fprintf(&table, "%-30s %8d  %.110s\n", d.name, d.report.States, what)
	}
	t.Logf("off, states until found, by what (-seed=%d)\n%s", *crashSeed, table.String())
}

func states(d *defect) int {
	if d.report == nil {
		return 0
	}
	return d.report.States
}

// TestMutation_Shrunk expects that a failure is reduced to a few steps and
// crashes, and that what is left of it is due to the defect: it fails again, and
// not once the defect is gone.
func TestMutation_Shrunk(t *testing.T) {
	for _, c := range []struct {
		defect mutant.Mutant
		steps  int
	}{
		{mutant.ReuseAtOnce, 8},      // 17 before, 5 after
		{mutant.ReuseUnderReader, 6}, // 10 before, 3 after
		{mutant.KeepRejected, 8},     // 15 before, 5 after
		{mutant.NoValidation, 4},     // 17 before, 2 after
	} {
		t.Run(c.defect.String(), func(t *testing.T) {
			mutant.Set(c.defect)
			defer mutant.Set(mutant.None)
			report, err := chaos.Explore(t.Context(), chaos.Config{Seed: 1, Crashes: 20_000})
			if err != nil {
				t.Fatal(err)
			}
			f := report.Failure
			if f == nil {
				t.Fatalf("not found within %d states", report.States)
			}
			if f.Steps > c.steps {
				t.Errorf("%d steps are left, want at most %d:\n%v", f.Steps, c.steps, f)
			}
			if broken, err := f.Again(); err != nil || !broken {
				t.Errorf("the case does not fail again (%v):\n%v", err, f)
			}
			mutant.Set(mutant.None)
			if broken, err := f.Again(); err != nil || broken {
				t.Errorf("the case fails without the defect (%v):\n%v", err, f)
			}
		})
	}
}
