package stress

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lightning-db/lightning"
)

// Defaults of Config.
const (
	DefaultOps     = 1_000_000
	DefaultWorkers = 16
	DefaultStall   = 2 * time.Minute
)

// maxFailures is how many failures a report tells in full.
const maxFailures = 20

// Config says how hard to work. The zero value is a million operations of 16
// goroutines in Sync mode.
type Config struct {
	// Seed decides what each worker does; how they meet is up to the scheduler.
	Seed uint64
	// Ops is how many operations all workers together make, at the least;
	// 0 = DefaultOps. A Get, a Put, a Delete, a scan, a Batch and a copy of the
	// database count as one each, the commits of writable transactions not at all.
	Ops int
	// Workers is the number of goroutines; 0 = DefaultWorkers.
	Workers int
	// Durability is the mode of the database.
	Durability lightning.Durability
	// Dir is where a directory for the files is made, which is removed at the
	// end; "" = the usual one for temporary files.
	Dir string
	// Stall is for how long no operation may end before that is taken for a
	// deadlock; 0 = DefaultStall.
	Stall time.Duration
	// Progress, if set, is told about once a second how many operations are done.
	Progress func(done int)

	// Tests get at the database before the workers start and after they ended.
	started, ended func(*lightning.DB)
}

// Report is what was done and seen.
type Report struct {
	Ops      int           // operations that ended
	Commits  int           // writable transactions committed
	Elapsed  time.Duration // from the first to the last operation
	Latency  []Latency     // by kind of call, in a fixed order
	FileSize int64         // in bytes, at the end
	Failed   int           // failures met
	Failures []string      // the first of them
}

// OpsPerSecond is the rate of operations.
func (r *Report) OpsPerSecond() float64 { return float64(r.Ops) / r.Elapsed.Seconds() }

// ErrStalled says that no operation ended for Config.Stall. The error that
// wraps it has the stacks of all goroutines.
var ErrStalled = errors.New("no operation ended: deadlock")

// Run works a new database and returns what it saw. Wrong results, errors and
// panics of the database are failures in the report; the error is that of ctx,
// of the directory, or wraps ErrStalled, after which goroutines are left behind
// and the directory is kept.
func Run(ctx context.Context, c Config) (report *Report, err error) {
	c = c.withDefaults()
	dir, err := os.MkdirTemp(c.Dir, "lightning-stress-*")
	if err != nil {
		return nil, err
	}
	r := &runner{config: c, dir: dir, path: filepath.Join(dir, "stress.db"), blob: newBlob(c.Seed)}
	err = r.run(ctx)
	if !errors.Is(err, ErrStalled) {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return r.report(), err
}

func (c Config) withDefaults() Config {
	if c.Ops <= 0 {
		c.Ops = DefaultOps
	}
	if c.Workers <= 0 {
		c.Workers = DefaultWorkers
	}
	if c.Stall <= 0 {
		c.Stall = DefaultStall
	}
	return c
}

// runner is one run.
type runner struct {
	config  Config
	dir     string
	path    string
	blob    []byte   // what values are cut from
	keys    [][]byte // of each worker
	db      *lightning.DB
	workers []*worker
	elapsed time.Duration
	size    int64

	done    atomic.Int64 // operations
	commits atomic.Int64
	totals  [counters]atomic.Int64 // what the shared counters must stand at

	mu       sync.Mutex // guards what follows
	failed   int
	failures []string
}

// fail notes a failure.
func (r *runner) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed++
	if len(r.failures) < maxFailures {
		r.failures = append(r.failures, fmt.Sprintf(format, args...))
	}
}

func (r *runner) run(ctx context.Context) error {
	var err error
	if r.db, err = r.open(); err != nil {
		return err
	}
	for i := range keysPerWorker {
		r.keys = append(r.keys, keyOf(i))
	}
	for i := range r.config.Workers {
		r.workers = append(r.workers, newWorker(r, i))
	}
	if err := r.create(); err != nil {
		return errors.Join(err, r.db.Close())
	}
	if r.config.started != nil {
		r.config.started(r.db)
	}
	if err := r.work(ctx); err != nil {
		if !errors.Is(err, ErrStalled) {
			err = errors.Join(err, r.db.Close())
		}
		return err
	}
	if r.config.ended != nil {
		r.config.ended(r.db)
	}
	r.judge("at the end")
	if err := r.db.Close(); err != nil {
		r.fail("Close: %v", err)
	}
	if r.db, err = r.open(); err != nil {
		r.fail("Open after Close: %v", err)
		return nil
	}
	r.judge("after it was opened again")
	if fi, err := os.Stat(r.path); err == nil {
		r.size = fi.Size()
	}
	if err := r.db.Close(); err != nil {
		r.fail("second Close: %v", err)
	}
	return nil
}

func (r *runner) open() (*lightning.DB, error) {
	return lightning.Open(r.path, 0o600, &lightning.Options{Durability: r.config.Durability})
}

// work runs the workers until enough is done, and watches them.
func (r *runner) work(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	began := time.Now()
	var running sync.WaitGroup
	for _, w := range r.workers {
		running.Go(func() { w.run(ctx) })
	}
	ended := make(chan struct{})
	go func() { running.Wait(); close(ended) }()

	look := time.NewTicker(min(time.Second, r.config.Stall/4))
	defer look.Stop()
	seen, moved := int64(-1), time.Now()
	for {
		select {
		case <-ended:
			r.elapsed = time.Since(began)
			return ctx.Err()
		case <-look.C:
		}
		now := r.done.Load()
		if r.config.Progress != nil {
			r.config.Progress(int(now))
		}
		if now != seen {
			seen, moved = now, time.Now()
		} else if time.Since(moved) > r.config.Stall {
			return fmt.Errorf("%w for %v after %d operations; the files are kept in %s\n%s", ErrStalled, r.config.Stall, now, r.dir, stacks())
		}
	}
}

func stacks() []byte {
	b := make([]byte, 1<<20)
	return b[:runtime.Stack(b, true)]
}

// judge compares the whole database with what the workers left.
func (r *runner) judge(when string) {
	err := r.db.View(func(tx *lightning.Tx) error {
		for err := range tx.Check() {
			r.fail("Check %s: %v", when, err)
		}
		for _, w := range r.workers {
			if err := w.compare(tx, &w.content); err != nil {
				r.fail("%s: %v", when, err)
			}
		}
		for i := range r.totals {
			have, err := counter(tx, i)
			if want := r.totals[i].Load(); err != nil || have != want {
				r.fail("%s: shared counter %d is %d, want %d (%v)", when, i, have, want, err)
			}
		}
		return nil
	})
	if err != nil {
		r.fail("View %s: %v", when, err)
	}
}

func (r *runner) report() *Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := newLatencies()
	for _, w := range r.workers {
		all.merge(w.latency)
	}
	return &Report{
		Ops: int(r.done.Load()), Commits: int(r.commits.Load()), Elapsed: r.elapsed, Latency: all.summary(),
		FileSize: r.size, Failed: r.failed, Failures: r.failures,
	}
}

// newBlob returns random bytes, the same for equal seeds.
func newBlob(seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 0xb10b))
	b := make([]byte, blobSize)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}
