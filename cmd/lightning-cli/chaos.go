package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"text/tabwriter"
	"time"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/chaos"
	"github.com/lightning-db/lightning/chaos/stress"
	"github.com/spf13/cobra"
)

func newChaos(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "chaos COMMAND",
		Short: "Put the engine under stress and faults on this machine",
		Long: `Put the engine itself to the test, on this machine and this file system, with databases of its own that
are removed afterwards. No existing database is touched. The exit code is 1 if a promise was broken.`,
		Example: `  lightning-cli chaos stress --dir /var/lib/app
  lightning-cli chaos crash --crashes 5000000`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q; see %s --help", args[0], cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usagef("a command is required; see %s --help", cmd.CommandPath())
		},
	}
	cmd.AddCommand(newChaosStress(a), newChaosCrash(a))
	return cmd
}

// stressMode is a durability mode and the name it has on the command line.
type stressMode struct {
	name string
	mode lightning.Durability
}

var stressModes = []stressMode{
	{"sync", lightning.Sync},
	{"periodic", lightning.Periodic(10 * time.Millisecond)},
	{"nosync", lightning.NoSync},
}

// stressReport is what one mode of the command chaos stress showed. Latencies are in microseconds.
type stressReport struct {
	Mode       string          `json:"mode"`
	Ops        int             `json:"ops"`
	Goroutines int             `json:"goroutines"`
	Commits    int             `json:"commits"`
	Seconds    float64         `json:"seconds"`
	OpsPerSec  float64         `json:"ops_per_second"`
	FileSize   int64           `json:"file_size"`
	Failed     int             `json:"failed"`
	Failures   []string        `json:"failures"`
	Latency    []stressLatency `json:"latency_us"`
}

type stressLatency struct {
	Kind  string  `json:"kind"`
	Calls int64   `json:"calls"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99_9"`
	Max   float64 `json:"max"`
}

func newChaosStress(a *app) *cobra.Command {
	c := stress.Config{Ops: stress.DefaultOps, Workers: stress.DefaultWorkers}
	mode := "all"
	cmd := &cobra.Command{
		Use:   "stress",
		Short: "Work a database from many goroutines and compare every result with a model",
		Long: `Work a new database from many goroutines at once, in one durability mode after the other: reads, scans,
writes, batches, transactions that are rolled back, long readers, copies and checks. Every value that is
read is compared with a model; the whole database is compared and checked at the end, before and after it
is closed and opened again. An operation that does not end within two minutes is taken for a deadlock.

An operation is a get, a scan, a put, a delete, a batch or a copy. "update" is a whole transaction as its
caller sees it: the wait for the writers before it, the change, and the commit; with --mode sync that
includes the disk.`,
		Example: `  lightning-cli chaos stress
  lightning-cli chaos stress --dir /var/lib/app --mode sync --ops 100000
  lightning-cli chaos stress -o json | jq '.modes[] | {mode, ops_per_second, failed}'`,
		Args: argCount(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.chaosStress(cmd.Context(), c, mode)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&c.Ops, "ops", c.Ops, "operations in each mode")
	flags.IntVar(&c.Workers, "goroutines", c.Workers, "goroutines at work")
	flags.StringVar(&mode, "mode", mode, "durability mode: sync, periodic, nosync or all")
	flags.Uint64Var(&c.Seed, "seed", 0, "seed of what the goroutines do; 0 takes one at random")
	flags.StringVar(&c.Dir, "dir", "", "directory for the database (default that for temporary files)")
	return cmd
}

func (a *app) chaosStress(ctx context.Context, c stress.Config, mode string) error {
	modes := stressModes
	if mode != "all" {
		i := slices.IndexFunc(modes, func(m stressMode) bool { return m.name == mode })
		if i < 0 {
			return usagef("--mode %q is not one of sync, periodic, nosync, all", mode)
		}
		modes = modes[i : i+1]
	}
	if c.Ops < 1 || c.Workers < 1 {
		return usagef("--ops and --goroutines must be at least 1")
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	reports := []stressReport{}
	for _, m := range modes {
		bar := a.newProgress(m.name, int64(c.Ops), countItems)
		c.Durability = m.mode
		c.Progress = func(done int) { bar.set(int64(done), int64(c.Ops)) }
		r, err := stress.Run(ctx, c)
		bar.finish()
		if err != nil {
			return fmt.Errorf("stress in mode %s with --seed %d: %w", m.name, c.Seed, err)
		}
		report := newStressReport(m.name, c.Workers, r)
		reports = append(reports, report)
		if !a.json() {
			if err := a.printStress(&report); err != nil {
				return err
			}
		}
	}
	if a.json() {
		if err := a.emit(map[string]any{"seed": c.Seed, "modes": reports}); err != nil {
			return err
		}
	}
	return stressVerdict(c.Seed, reports)
}

func stressVerdict(seed uint64, reports []stressReport) error {
	failed := 0
	for _, r := range reports {
		failed += r.Failed
	}
	if failed > 0 {
		return fmt.Errorf("stress with --seed %d: failures: %d", seed, failed)
	}
	return nil
}

func newStressReport(mode string, goroutines int, r *stress.Report) stressReport {
	report := stressReport{
		Mode: mode, Ops: r.Ops, Goroutines: goroutines, Commits: r.Commits, Seconds: r.Elapsed.Seconds(),
		OpsPerSec: r.OpsPerSecond(), FileSize: r.FileSize, Failed: r.Failed, Failures: append([]string{}, r.Failures...),
	}
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	for _, l := range r.Latency {
		report.Latency = append(report.Latency, stressLatency{l.Kind, l.Calls, us(l.Mean), us(l.P50), us(l.P99), us(l.P999), us(l.Max)})
	}
	return report
}

func (a *app) printStress(r *stressReport) error {
	for _, failure := range r.Failures {
		a.printf("%s: %s\n", r.Mode, failure)
	}
	a.printf("%s: goroutines %d, operations %d, commits %d, failures %d, seconds %.1f, operations/s %.0f, file bytes %d\n",
		r.Mode, r.Goroutines, r.Ops, r.Commits, r.Failed, r.Seconds, r.OpsPerSec, r.FileSize)
	if a.quiet {
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', tabwriter.AlignRight)
	err := writeRow(w, "MICROSECONDS", "CALLS", "MEAN", "P50", "P99", "P99.9", "MAX", "")
	for _, l := range r.Latency {
		cells := []any{l.Kind, l.Calls}
		for _, us := range []float64{l.Mean, l.P50, l.P99, l.P999, l.Max} {
			cells = append(cells, fmt.Sprintf("%.1f", us))
		}
		err = errors.Join(err, writeRow(w, append(cells, "")...))
	}
	return errors.Join(err, w.Flush(), a.out.Flush())
}

func newChaosCrash(a *app) *cobra.Command {
	c := chaos.Config{Seed: 1, Crashes: chaos.DefaultCrashes}
	cmd := &cobra.Command{
		Use:   "crash",
		Short: "Crash random workloads on a simulated disk at any moment and judge what is left",
		Long: `Run random workloads on a simulated disk, in every durability mode, and cut the power, kill the process,
tear, reorder and lose writes, fail syncs and rot bits at any moment, again while the database recovers,
and after that. What must be survived has to be: nothing acknowledged is lost, and nothing but a committed
state is seen. What cannot be survived has to be reported, never returned as data.

A failure is reduced to a small case and printed with its seed.`,
		Example: `  lightning-cli chaos crash
  lightning-cli chaos crash --crashes 5000000 --seed 7`,
		Args: argCount(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.chaosCrash(cmd.Context(), c)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&c.Crashes, "crashes", c.Crashes, "crash states to judge")
	flags.Uint64Var(&c.Seed, "seed", c.Seed, "seed of the first workload")
	flags.IntVar(&c.Workers, "workers", 0, "workloads at a time (default one for each processor)")
	flags.StringVar(&c.Dir, "dir", "", "directory for scratch files (default one in memory, where there is one)")
	return cmd
}

func (a *app) chaosCrash(ctx context.Context, c chaos.Config) error {
	if c.Crashes < 1 {
		return usagef("--crashes must be at least 1")
	}
	bar := a.newProgress("crashing", int64(c.Crashes), countItems)
	c.Progress = func(done int) { bar.set(int64(done), int64(c.Crashes)) }
	r, err := chaos.Explore(ctx, c)
	bar.finish()
	if err != nil {
		return err
	}
	return a.reportCrash(c.Seed, r)
}

func (a *app) reportCrash(seed uint64, r *chaos.Report) (err error) {
	failure := ""
	if r.Failure != nil {
		failure = r.Failure.String()
	}
	if a.json() {
		err = a.emit(map[string]any{"seed": seed, "states": r.States, "workloads": r.Runs, "by_fault": r.ByFault, "failure": failure})
	} else {
		err = a.printCrash(r, failure)
	}
	if err != nil {
		return err
	}
	if r.Failure != nil {
		return fmt.Errorf("crash --seed %d: %s", r.Failure.Seed, r.Failure.What)
	}
	return nil
}

func (a *app) printCrash(r *chaos.Report, failure string) error {
	if failure != "" {
		a.printf("%s\n", failure)
	}
	if a.quiet {
		return nil
	}
	a.printf("states %d, workloads %d\n", r.States, r.Runs)
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', tabwriter.AlignRight)
	for _, fault := range slices.Sorted(maps.Keys(r.ByFault)) {
		if err := writeRow(w, r.ByFault[fault], fault, ""); err != nil {
			return err
		}
	}
	return w.Flush()
}
