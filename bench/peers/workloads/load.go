package workloads

import (
	"fmt"

	"github.com/lightning-db/lightning/bench/peers/engines"
)

var loadMetrics = []Metric{
	{Name: "time", Unit: Nanoseconds},
	{Name: "file / live", Unit: Ratio},
	{Name: "length / live", Unit: Ratio},
	perAllocs,
}

var loadWorkloads = []Workload{
	{
		Name: "load-sorted", Title: "Load in ascending order, batches of 1,000, no sync",
		Metrics: loadMetrics, Run: func(c *Cell) (Metrics, error) { return c.measureLoad(nil, put) },
	},
	{
		Name: "load-append", Title: "Load in ascending order with the engine's own way to append, batches of 1,000, no sync",
		Metrics: loadMetrics, Run: func(c *Cell) (Metrics, error) { return c.measureLoad(nil, appendAll) },
		Only: func(engine string) bool { return engine == "lightning" || engine == "lmdb" || engine == "mdbx" },
	},
	{
		Name: "load-random", Title: "Load in random order, batches of 1,000, no sync",
		Metrics: loadMetrics, Run: func(c *Cell) (Metrics, error) {
			p := newPermutation(c.Keys, insertion)
			return c.measureLoad(&p, put)
		},
	},
	{
		Name: "churn", Title: "Delete 90 %, reinsert, 5 rounds, batches of 1,000, no sync", Base: Random, Writes: true,
		Metrics: []Metric{
			{Name: "time", Unit: Nanoseconds},
			{Name: "file / live", Unit: Ratio},
			{Name: "length / live", Unit: Ratio},
		}, Run: runChurn,
	},
}

func appendAll(w engines.Writer, fill engines.Fill) error {
	a, ok := w.(engines.Appender)
	if !ok {
		return fmt.Errorf("%T cannot append", w)
	}
	return a.Append(fill)
}

// measureLoad loads an empty database.
func (c *Cell) measureLoad(p *permutation, put wayIn) (m Metrics, err error) {
	return m, c.withDB(engines.Options{}, func(db engines.DB) error {
		t, err := c.load(db, p, ValueSize, put)
		if err != nil {
			return err
		}
		m, err = c.sizes(db)
		if err == nil {
			m["time"], m[perAllocs.Name] = t.nanoseconds(), t.allocsEach()
		}
		return err
	})
}

// sizes returns what the files take for each byte of keys and values.
func (c *Cell) sizes(db engines.DB) (Metrics, error) {
	if err := db.Sync(); err != nil {
		return nil, err
	}
	length, allocated, err := fileSizes(c.Dir)
	live := float64(c.Keys * (KeySize + ValueSize))
	return Metrics{"file / live": allocated / live, "length / live": length / live}, err
}

// runChurn deletes nine tenths of the keys, other ones each time, and puts them
// back in another order.
func runChurn(c *Cell) (m Metrics, err error) {
	return m, c.withDB(engines.Options{}, func(db engines.DB) error {
		var watch stopwatch
		for round := range 5 {
			p := newPermutation(c.Keys, visiting+uint64(round))
			from := round * c.Keys / 5
			deleted := listKeys(c.space, &p, from, c.Keys*9/10)
			again := newPermutation(deleted.len(), uint64(round))
			inserted := make(keyList, 0, len(deleted))
			for i := range deleted.len() {
				inserted = append(inserted, deleted.at(again.at(i))...)
			}
			watch.start()
			if err := deleteBatches(db, deleted); err != nil {
				return err
			}
			if err := c.putBatches(db, inserted, ValueSize, put); err != nil {
				return err
			}
			watch.stop()
		}
		m, err = c.sizes(db)
		if err == nil {
			m["time"] = float64(watch.sum.Nanoseconds())
		}
		return err
	})
}
