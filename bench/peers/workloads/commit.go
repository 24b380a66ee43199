package workloads

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/lightning-db/lightning/bench/peers/engines"
)

var (
	p50  = Metric{Name: "P50", Unit: Nanoseconds}
	p99  = Metric{Name: "P99", Unit: Nanoseconds}
	p999 = Metric{Name: "P99.9", Unit: Nanoseconds}
	// writtenCalls is for one commit, see writtenEach.
	writtenCalls = Metric{Name: "written", Unit: Bytes}
	commits      = Metric{Name: "commits", Unit: PerSecond, MoreGood: true}
)

// Flushes is the metric that only the runner's count of system calls gives.
var Flushes = Metric{Name: "flushes", Unit: Count}

var commitWorkloads = []Workload{
	{
		Name: "put", Title: "One random put in a commit, no sync", Base: Random, Writes: true,
		Metrics: []Metric{{Name: "time", Unit: Nanoseconds}, p50, p99, perAllocs},
		Run: func(c *Cell) (Metrics, error) {
			return c.measurePuts(engines.Options{})
		},
	},
	{
		Name: "put-sync", Title: "One random put in a durable commit", Base: Random, Writes: true,
		Metrics: []Metric{p50, p99, writtenCalls, Flushes, perAllocs},
		Run: func(c *Cell) (Metrics, error) {
			return c.measurePuts(engines.Options{Durable: true, Writers: 1})
		},
		Limit: limitWrite, LimitTitle: "bare pwritev + fdatasync of 24 KiB",
	},
	writersWorkload("writers-16", "16 durable writers, one put each", 16),
	writersWorkload("writers-64", "64 durable writers, one put each", 64),
	{
		Name: "reads-beside", Title: "Random get, a transaction each, beside a durable writer", Base: Random, Writes: true,
		Metrics: []Metric{p99, p999, p50, commits}, Run: runReadsBeside,
	},
	{
		Name: "holes", Title: "One durable put in a commit, 90 % of the file free", Base: Holes, Writes: true,
		Metrics: []Metric{writtenCalls, p50}, Run: runHoles,
	},
}

func writersWorkload(name, title string, n int) Workload {
	return Workload{
		Name: name, Title: title, Base: Random, Writes: true, Writers: n,
		Metrics: []Metric{commits, p50, p99},
		Run:     func(c *Cell) (Metrics, error) { return c.measureWriters(n) },
	}
}

// putter puts single keys, a transaction each.
type putter struct {
	db     engines.DB
	cell   *Cell
	keys   keyList
	i      int
	update func(engines.Writer) error
}

func (c *Cell) newPutter(db engines.DB, writer int) *putter {
	p := &putter{db: db, cell: c, keys: c.readOrder(1 + writer)}
	p.update = func(w engines.Writer) error {
		return w.Put(p.keys.at(p.i%p.keys.len()), c.values.value(p.i+1, ValueSize))
	}
	return p
}

func (p *putter) put(i int) error {
	p.i = i
	return p.db.Update(p.update)
}

// warm commits a few times, off the clock.
func (p *putter) warm() error {
	for i := range 32 {
		if err := p.put(i); err != nil {
			return err
		}
	}
	return nil
}

// measurePuts measures a lone writer.
func (c *Cell) measurePuts(o engines.Options) (m Metrics, err error) {
	return m, c.withDB(o, func(db engines.DB) error {
		p := c.newPutter(db, 0)
		if err := p.warm(); err != nil {
			return err
		}
		m = Metrics{}
		return c.writtenEach(m, func() (int, error) {
			t, h, err := c.repeatTimed(p.put)
			if err == nil {
				m["time"], m[perAllocs.Name] = t.nanoseconds(), t.allocsEach()
				m[p50.Name], m[p99.Name] = percentile(h, 50), percentile(h, 99)
			}
			return t.n, err
		})
	})
}

// measureWriters measures n writers that commit at the same time.
func (c *Cell) measureWriters(n int) (m Metrics, err error) {
	return m, c.withDB(engines.Options{Durable: true, Writers: n}, func(db engines.DB) error {
		var (
			group sync.WaitGroup
			stop  atomic.Bool
			parts = make([]*hdrhistogram.Histogram, n)
			errs  = make([]error, n)
		)
		putters := make([]*putter, n)
		for i := range n {
			putters[i] = c.newPutter(db, i)
		}
		runtime.GC()
		began := time.Now()
		for i, p := range putters {
			group.Go(func() { parts[i], errs[i] = p.until(&stop) })
		}
		time.Sleep(c.duration())
		stop.Store(true)
		group.Wait()
		elapsed := time.Since(began)
		if err := errors.Join(errs...); err != nil {
			return err
		}
		h := newHistogram()
		for _, part := range parts {
			h.Merge(part)
		}
		m = Metrics{
			commits.Name: float64(h.TotalCount()) / elapsed.Seconds(),
			p50.Name:     percentile(h, 50), p99.Name: percentile(h, 99),
		}
		return nil
	})
}

// until puts until stop, and returns the time of each commit.
func (p *putter) until(stop *atomic.Bool) (*hdrhistogram.Histogram, error) {
	h := newHistogram()
	for i := 0; !stop.Load(); i++ {
		began := time.Now()
		if err := p.put(i); err != nil {
			return h, err
		}
		if err := h.RecordValue(max(1, time.Since(began).Nanoseconds())); err != nil {
			return h, err
		}
	}
	return h, nil
}

// runReadsBeside measures a reader while another goroutine commits durably.
func runReadsBeside(c *Cell) (m Metrics, err error) {
	return m, c.withDB(engines.Options{Durable: true, Writers: 1}, func(db engines.DB) error {
		var (
			group  sync.WaitGroup
			stop   atomic.Bool
			writes *hdrhistogram.Histogram
			failed error
		)
		keys := c.readOrder(0)
		s, err := db.NewSession()
		if err != nil {
			return err
		}
		if err := c.visit(keys, func(key []byte) error { return required(s.ViewGet(key, touch)) }); err != nil {
			return closeWith(err, s)
		}
		writer := c.newPutter(db, 0)
		group.Go(func() { writes, failed = writer.until(&stop) })
		t, h, err := c.repeatTimed(func(i int) error { return required(s.ViewGet(keys.at(i%keys.len()), touch)) })
		stop.Store(true)
		group.Wait()
		if err = errors.Join(err, failed, s.Close()); err != nil {
			return err
		}
		m = Metrics{
			p50.Name: percentile(h, 50), p99.Name: percentile(h, 99), p999.Name: percentile(h, 99.9),
			commits.Name: float64(writes.TotalCount()) / t.time.Seconds(),
		}
		return nil
	})
}

// runHoles overwrites one key that was kept with each commit.
func runHoles(c *Cell) (m Metrics, err error) {
	return m, c.withDB(engines.Options{Durable: true, Writers: 1}, func(db engines.DB) error {
		kept := listKeys(c.space, nil, c.Keys*9/10, min(c.Keys/10, 1000))
		overwrite := func(i int) error {
			return db.Update(func(w engines.Writer) error {
				return w.Put(kept.at(i%kept.len()), c.values.value(i, holeValueSize))
			})
		}
		const warm = 8
		for i := range warm {
			if err := overwrite(i); err != nil {
				return err
			}
		}
		m = Metrics{}
		return c.writtenEach(m, func() (int, error) {
			t, h, err := c.repeatTimed(func(i int) error { return overwrite(warm + i) })
			if err == nil {
				m[p50.Name] = percentile(h, 50)
			}
			return t.n, err
		})
	})
}
