package workloads

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/lightning-db/lightning/bench/peers/engines"
)

var (
	perGet    = Metric{Name: "time", Unit: Nanoseconds}
	perAllocs = Metric{Name: "allocs", Unit: Count}
)

var readWorkloads = []Workload{
	{
		Name: "get-tx", Title: "Random get in one long transaction", Base: Random,
		Metrics: []Metric{perGet, perAllocs}, Run: runGetTx,
		Limit: limitMap, LimitTitle: "a Go map",
	},
	{
		Name: "get-view", Title: "Random get, a transaction each", Base: Random,
		Metrics: []Metric{perGet, perAllocs}, Run: runGetView,
	},
	{
		Name: "get-view-cores", Title: "Random get, a transaction each, from all cores", Base: Random,
		Metrics: []Metric{
			{Name: "gets", Unit: PerSecond, MoreGood: true},
			{Name: "one core", Unit: PerSecond, MoreGood: true},
			{Name: "scaling", Unit: Ratio, MoreGood: true},
		}, Run: runGetViewCores,
	},
	{
		Name: "seek", Title: "Seek to a random key and 10 next", Base: Random,
		Metrics: []Metric{perGet, perAllocs}, Run: runSeek,
	},
	{
		Name: "scan", Title: "Ordered scan, per entry", Base: Random,
		Metrics: []Metric{perGet, perAllocs}, Run: runScan,
	},
}

// required makes an error of a key that must be there and is not.
func required(found bool, err error) error {
	if err == nil && !found {
		err = fmt.Errorf("a key is missing")
	}
	return err
}

// inTx runs fn in a transaction of s.
func inTx(s engines.Session, fn func() error) error {
	if err := s.Begin(); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	return s.End()
}

func (t tally) readMetrics() Metrics {
	return Metrics{perGet.Name: t.nanoseconds(), perAllocs.Name: t.allocsEach()}
}

// visit runs get over all keys of the list once, so that what is measured after
// it is not the first touch. Where memory is short it would not stay anyway.
func (c *Cell) visit(keys keyList, get func(key []byte) error) error {
	if c.Cache > 0 {
		return nil
	}
	for i := range keys.len() {
		if err := get(keys.at(i)); err != nil {
			return err
		}
	}
	return nil
}

// readAll visits the keys off the clock and then on it.
func (c *Cell) readAll(keys keyList, get func(key []byte) error) (tally, error) {
	if err := c.visit(keys, get); err != nil {
		return tally{}, err
	}
	at := 0
	return c.repeat(func(int) error {
		if at == keys.len() {
			at = 0
		}
		at++
		return get(keys.at(at - 1))
	})
}

func runGetTx(c *Cell) (m Metrics, err error) {
	keys := c.readOrder(0)
	return m, c.withSession(func(s engines.Session) error {
		return inTx(s, func() error {
			t, err := c.readAll(keys, func(key []byte) error { return required(s.Get(key, touch)) })
			m = t.readMetrics()
			return err
		})
	})
}

func runGetView(c *Cell) (m Metrics, err error) {
	keys := c.readOrder(0)
	return m, c.withSession(func(s engines.Session) error {
		t, err := c.readAll(keys, func(key []byte) error { return required(s.ViewGet(key, touch)) })
		m = t.readMetrics()
		return err
	})
}

func runSeek(c *Cell) (m Metrics, err error) {
	keys := c.readOrder(0)
	return m, c.withSession(func(s engines.Session) error {
		return inTx(s, func() error {
			t, err := c.readAll(keys, func(key []byte) error {
				_, err := s.Scan(key, 11, touchEntry)
				return err
			})
			m = t.readMetrics()
			return err
		})
	})
}

func runScan(c *Cell) (m Metrics, err error) {
	return m, c.withSession(func(s engines.Session) error {
		return inTx(s, func() error {
			first := listKeys(c.space, nil, 0, 1)
			var t tally
			for pass := 0; t.time < c.duration(); pass++ {
				began, mallocsBefore := time.Now(), mallocs()
				n, err := s.Scan(first, c.Keys+1, touchEntry)
				if err != nil {
					return err
				}
				if n != c.Keys {
					return fmt.Errorf("a scan visited %d of %d keys", n, c.Keys)
				}
				if pass > 0 { // the first one brought the pages in
					t.n, t.time, t.allocs = t.n+n, t.time+time.Since(began), t.allocs+mallocs()-mallocsBefore
				}
			}
			m = t.readMetrics()
			return nil
		})
	})
}

// runGetViewCores measures one goroutine and then one on each core.
func runGetViewCores(c *Cell) (m Metrics, err error) {
	return m, c.withDB(engines.Options{}, func(db engines.DB) error {
		one, err := c.getsFrom(db, 1)
		if err != nil {
			return err
		}
		all, err := c.getsFrom(db, runtime.GOMAXPROCS(0))
		m = Metrics{"gets": all, "one core": one, "scaling": all / one}
		return err
	})
}

// getsFrom returns the gets a second of the given number of goroutines.
func (c *Cell) getsFrom(db engines.DB, readers int) (float64, error) {
	var (
		group   sync.WaitGroup
		ready   sync.WaitGroup
		tallies = make([]tally, readers)
		errs    = make([]error, readers)
	)
	ready.Add(readers)
	for r := range readers {
		group.Go(func() {
			tallies[r], errs[r] = c.getsOf(db, r, func() { ready.Done(); ready.Wait() })
		})
	}
	group.Wait()
	sum := 0.0
	for r, t := range tallies {
		if errs[r] != nil {
			return 0, errs[r]
		}
		sum += t.perSecond()
	}
	return sum, nil
}

// getsOf is one goroutine of getsFrom. It visits its keys once, then calls
// ready, then measures.
func (c *Cell) getsOf(db engines.DB, reader int, ready func()) (tally, error) {
	keys := c.readOrder(reader)
	s, err := db.NewSession()
	if err != nil {
		ready()
		return tally{}, err
	}
	var found bool
	value := func([]byte) { found = true }
	failed := c.visit(keys, func(key []byte) error { return required(s.ViewGet(key, value)) })
	ready()
	if failed != nil {
		return tally{}, closeWith(failed, s)
	}
	t, err := c.repeat(func(i int) error { return required(s.ViewGet(keys.at(i%keys.len()), value)) })
	if err == nil && !found {
		err = fmt.Errorf("no value was seen")
	}
	if err != nil {
		return t, closeWith(err, s)
	}
	return t, s.Close()
}
