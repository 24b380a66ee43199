package bench

import (
	"errors"
	"flag"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/lightning-db/lightning"
)

// usualBudget is what the 99th percentile of everything that does not wait for
// the device should stay under.
const usualBudget = 100 * time.Microsecond

var (
	budget = flag.Duration("bench.budget", 0,
		"make TestBudget fail where a 99th percentile is above this; 0 only reports")
	budgetTime = flag.Duration("bench.budgettime", time.Second, "time that TestBudget takes for each of its parts")
)

// part is a line of the table that TestBudget logs.
type part struct {
	name   string
	times  *hdrhistogram.Histogram
	device bool // waits for the device: reported, but not held against the budget
}

// TestBudget measures percentiles and reports them beside the budget. Machines
// are noisy: it asserts them with -bench.budget only.
func TestBudget(t *testing.T) {
	s := loaded(t, lightning.DefaultPageSize)
	parts := []part{
		{name: "get, a View each", times: repeat(t, viewGet(s, newPicker(1)))},
		{name: "seek, a View each", times: repeat(t, viewSeek(s, newPicker(1)))},
		{name: "put in a transaction", times: budgetPuts(t, s)},
		{name: "commit without sync", times: budgetCommits(t, s)},
	}
	parts = append(parts, budgetMixed(t, s)...)
	durable, bare := budgetDurable(t, s)
	parts = append(parts,
		part{"durable commit", durable, true},
		part{"device: pwritev + fdatasync", bare, true})
	limit := max(*budget, 0)
	if limit == 0 {
		limit = usualBudget
	}
	t.Logf("%d keys, %d processors\n%s", *keyCount, runtime.GOMAXPROCS(0), table(parts, limit))
	t.Logf("durable commit / device: %.2f at P50, %.2f at P99",
		ratio(durable, bare, 50), ratio(durable, bare, 99))
	if *budget <= 0 {
		return
	}
	for _, p := range parts {
		if p99 := quantile(p.times, 99); !p.device && p99 > *budget {
			t.Errorf("%s: P99 is %v, above the budget of %v", p.name, p99, *budget)
		}
	}
}

func quantile(h *hdrhistogram.Histogram, q float64) time.Duration {
	return time.Duration(h.ValueAtQuantile(q))
}

func ratio(a, b *hdrhistogram.Histogram, q float64) float64 {
	return float64(quantile(a, q)) / float64(quantile(b, q))
}

func table(parts []part, limit time.Duration) string {
	var w strings.Builder
	fmt.Fprintf(&w, "%-28s %9s %9s %9s %9s %9s   budget %v\n", "", "calls", "P50", "P99", "P99.9", "max", limit)
	for _, p := range parts {
		verdict := "met"
		switch {
		case p.device:
			verdict = "none"
		case quantile(p.times, 99) > limit:
			verdict = "MISSED"
		}
		fmt.Fprintf(&w, "%-28s %9d %9s %9s %9s %9s   %s\n", p.name, p.times.TotalCount(),
			micros(quantile(p.times, 50)), micros(quantile(p.times, 99)), micros(quantile(p.times, 99.9)),
			micros(time.Duration(p.times.Max())), verdict)
	}
	return w.String()
}

func micros(d time.Duration) string { return fmt.Sprintf("%.1fµs", float64(d)/1e3) }

// repeat calls op for as long as a part takes.
func repeat(t *testing.T, op func() error) *hdrhistogram.Histogram {
	t.Helper()
	h := newTimes()
	for began := time.Now(); time.Since(began) < *budgetTime; {
		if err := timed(h, op); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// viewSeek returns a function that in a View seeks a random key.
func viewSeek(s *store, p *picker) func() error {
	fn := func(tx *lightning.Tx) error {
		if k, _ := tx.Bucket(bucket).Cursor().Seek(p.key()); k == nil {
			return errMissing
		}
		return nil
	}
	return func() error { return s.View(fn) }
}

// budgetPuts times Put alone, in transactions of a batch.
func budgetPuts(t *testing.T, s *store) *hdrhistogram.Histogram {
	t.Helper()
	p := newPuts(s)
	repeat(t, p.one)
	if err := p.end(); err != nil {
		t.Fatal(err)
	}
	return p.times
}

func budgetCommits(t *testing.T, s *store) *hdrhistogram.Histogram {
	t.Helper()
	p := newPicker(1)
	return repeat(t, func() error { return putOne(s.DB, p.key()) })
}

// budgetMixed runs 12 readers and 4 writers at once. After each call they let
// others run, as programs do that wait for a network in between: without that
// the figures would be those of the time slices that the scheduler gives.
func budgetMixed(t *testing.T, s *store) []part {
	t.Helper()
	const readers, writers = 12, 4
	var times [readers + writers]*hdrhistogram.Histogram
	var errs [readers + writers]error
	var wg sync.WaitGroup
	began := time.Now()
	for w := range times {
		p := newPicker(w)
		op := viewGet(s, p)
		if w >= readers {
			op = func() error { return putOne(s.DB, p.key()) }
		}
		times[w] = newTimes()
		wg.Go(func() {
			for time.Since(began) < *budgetTime && errs[w] == nil {
				errs[w] = timed(times[w], op)
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return []part{
		{name: fmt.Sprintf("mixed: get, %d readers", readers), times: merge(times[:readers])},
		{name: fmt.Sprintf("mixed: commit, %d writers", writers), times: merge(times[readers:])},
	}
}

func merge(all []*hdrhistogram.Histogram) *hdrhistogram.Histogram {
	sum := newTimes()
	for _, h := range all {
		sum.Merge(h)
	}
	return sum
}

// budgetDurable commits durably and writes and syncs as many bytes to a bare
// file, in turns.
func budgetDurable(t *testing.T, s *store) (durable, bare *hdrhistogram.Histogram) {
	t.Helper()
	makeDurable(t, s)
	s.NoSync = false
	p, d := newPicker(1), newDevice(t)
	size, err := commitBytes(s, p)
	if err != nil {
		t.Fatal(err)
	}
	bare = newTimes()
	durable = newTimes()
	repeat(t, func() error {
		if err := timed(durable, func() error { return putOne(s.DB, p.key()) }); err != nil {
			return err
		}
		return timed(bare, func() error { return d.writeSynced(size) })
	})
	return durable, bare
}
