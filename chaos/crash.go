package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/memdir"
)

// Config says how far Explore looks. The zero value looks at DefaultCrashes
// states.
type Config struct {
	// Seed is the seed of the first workload; each further one takes the next
	// number. Equal seeds give equal workloads and crashes.
	Seed uint64
	// Crashes is how many states are judged, rounded up to whole workloads;
	// 0 = DefaultCrashes.
	Crashes int
	// Workers is how many workloads run at once; 0 = GOMAXPROCS. What is found
	// does not depend on it.
	Workers int
	// Dir is where the files live; "" = a new directory in memory where the
	// platform has such a place, else the usual one for temporary files. It is
	// empty again afterwards.
	Dir string
	// Progress, if set, is told from time to time how many states were judged.
	// Calls do not overlap.
	Progress func(done int)
	// Ignore, if it is not 0, is the label of syncs that the disk does not do:
	// a defect to be found.
	Ignore fsync.Op
	// NoShrink leaves a failure as it was found.
	NoShrink bool
}

// DefaultCrashes is the number of states that Explore judges by default.
const DefaultCrashes = 100_000

// Report is what Explore saw.
type Report struct {
	States  int            // crash states judged
	Runs    int            // workloads recorded
	ByFault map[string]int // states by the fault that made them
	Failure *Failure       // of the first workload that failed, nil if none did
}

// Failure is a state that broke a promise, reduced to a small case.
type Failure struct {
	Seed  uint64   // of the workload: Explore with this seed meets it again
	Case  string   // the options
	What  string   // the promise that was broken
	Trace []string // what the processes did, in order
	Steps int      // how many steps they took, crashes included

	config Config
	script script
}

// String shows the failure with the command that repeats it.
func (f *Failure) String() string {
	return fmt.Sprintf("%s\nrepeat with: go test ./chaos -run Crash -crashes=1 -seed=%d\n%s\n%s", f.What, f.Seed, f.Case, strings.Join(f.Trace, "\n"))
}

// Explore runs workloads and judges their crashes until Config.Crashes states
// were judged, one broke a promise, or ctx ended, whose error it then returns
// with the report. Its own errors are those of the temporary directory.
func Explore(ctx context.Context, c Config) (report *Report, err error) {
	if c.Crashes <= 0 {
		c.Crashes = DefaultCrashes
	}
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	dir, err := os.MkdirTemp(cmp.Or(c.Dir, memdir.Root()), "crash-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	e := &exploration{config: c, results: make(map[int]*result)}
	var workers sync.WaitGroup
	for i := range c.Workers {
		workers.Go(func() {
			for ctx.Err() == nil {
				n, ok := e.next()
				if !ok {
					return
				}
				e.done(n, explore(newRun(c, c.Seed+uint64(n), filepath.Join(dir, fmt.Sprint(i)))))
			}
		})
	}
	workers.Wait()
	return e.report(filepath.Join(dir, "shrink")), ctx.Err()
}

// result is what one workload showed.
type result struct {
	states  int
	byFault map[string]int
	failed  *violation
}

// exploration hands workloads out and collects their results.
type exploration struct {
	config Config

	mu      sync.Mutex
	started int
	states  int // of finished workloads
	failed  bool
	results map[int]*result
}

// next returns the number of the next workload, false if there are enough.
func (e *exploration) next() (int, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failed || e.states >= e.config.Crashes {
		return 0, false
	}
	e.started++
	return e.started - 1, true
}

func (e *exploration) done(n int, r *result) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.results[n] = r
	e.states += r.states
	e.failed = e.failed || r.failed != nil
	if e.config.Progress != nil {
		e.config.Progress(e.states)
	}
}

// report sums the results up to the first failure, which it reduces. What other
// workers did beyond the workload that makes the number full does not count:
// how much that is depends on them.
func (e *exploration) report(dir string) *Report {
	report := &Report{ByFault: make(map[string]int)}
	for n := range e.started {
		r := e.results[n]
		if r == nil || report.States >= e.config.Crashes {
			break
		}
		report.Runs++
		report.States += r.states
		for fault, states := range r.byFault {
			report.ByFault[fault] += states
		}
		if r.failed != nil {
			report.Failure = e.failure(r, dir)
			break
		}
	}
	maps.DeleteFunc(report.ByFault, func(_ string, n int) bool { return n == 0 })
	return report
}

func (e *exploration) failure(r *result, dir string) *Failure {
	v := r.failed
	if !e.config.NoShrink {
		v = shrink(e.config, v, dir)
	}
	script := scriptOf(v)
	return &Failure{
		Seed: script.plan.seed, Case: script.plan.String(), What: v.what, Trace: v.trace, Steps: script.size(),
		config: e.config, script: script,
	}
}

// Again runs the case that Explore has found once more, and if that does not show the failure, some
// like it: what the processes did, and crashes of the same kinds at other moments.
// It reports whether a promise was broken. Its error is that of the temporary
// directory.
func (f *Failure) Again() (broken bool, err error) {
	dir, err := os.MkdirTemp(cmp.Or(f.config.Dir, memdir.Root()), "crash-*")
	if err != nil {
		return false, err
	}
	v, _ := f.script.play(f.config, dir, shrinkTries)
	return v != nil, os.RemoveAll(dir)
}
