// Package workloads holds what the engines have to do and how it is measured.
// Each measurement runs in a process of its own.
package workloads

import (
	"fmt"
	"os"

	"github.com/lightning-db/lightning/bench/peers/engines"
)

// Unit says how a number is to be read.
type Unit string

// The units of metrics.
const (
	Nanoseconds Unit = "ns"
	Count       Unit = ""
	Bytes       Unit = "bytes"
	PerSecond   Unit = "/s"
	BytesPerSec Unit = "bytes/s"
	Ratio       Unit = "×"
)

// Metric is one number that a workload measures.
type Metric struct {
	Name     string
	Unit     Unit
	MoreGood bool // more is better
}

// Metrics are measured values by the name of the metric.
type Metrics map[string]float64

// Base is the database that a workload starts from.
type Base string

// The databases that are built once for an engine.
const (
	Empty  Base = ""       // none
	Random Base = "random" // the keys, put in random order
	Sorted Base = "sorted" // the keys, put in ascending order
	Big    Base = "big"    // values of 1 MiB
	Holes  Base = "holes"  // values of 1,000 bytes, 90 % of them deleted again
)

// Workload is one thing to do.
type Workload struct {
	Name    string
	Title   string
	Base    Base
	Writes  bool     // the base is copied first
	Metrics []Metric // the first is the one that is compared
	Run     func(*Cell) (Metrics, error)
	Writers int // goroutines that commit, if more than one
	// Only, if set, says which engines take part.
	Only func(engine string) bool
	// Limit, if set, measures what the machine allows, under LimitTitle.
	Limit      func(*Cell) (Metrics, error)
	LimitTitle string
}

// Job is a measurement, sent from the runner to the process that does it.
type Job struct {
	Engine   string // LimitEngine = the workload's limit
	Workload string // or, if Build is set, nothing
	Build    Base   // build this database instead
	Keys     int
	Round    int
	Seconds  float64 // of measuring
	Commits  int     // number of commits of the workloads that count them
	Memory   int64   // bytes of memory for the page cache, kept by Dropper; 0 = no limit
	Cache    int64   // bytes of memory that caches of an engine's own must heed; 0 = no limit
	Dir      string  // holds the database
}

// LimitEngine is the name under which limits of the machine are reported.
const LimitEngine = "machine"

// Cell is a job in the process that does it.
type Cell struct {
	Job
	engine engines.Engine
	space  space
	values valuePool
	drop   *dropper
}

// insertion is the random order of loading; reads go in another.
const (
	insertion = 1
	visiting  = 2
)

// Run does a job and returns what it measured.
func Run(job Job) (Metrics, error) {
	c := &Cell{Job: job, space: newSpace(job.Keys), values: newValuePool(1 << 20)}
	if job.Memory > 0 {
		c.drop = &dropper{dir: job.Dir, limit: job.Memory}
	}
	if job.Engine != LimitEngine {
		found, err := engines.ByName([]string{job.Engine})
		if err != nil {
			return nil, err
		}
		c.engine = found[0]
	}
	if job.Build != Empty {
		return Metrics{}, c.build()
	}
	for _, w := range append(all, hidden...) {
		switch {
		case w.Name != job.Workload:
		case job.Engine == LimitEngine:
			return w.Limit(c)
		default:
			return w.Run(c)
		}
	}
	return nil, fmt.Errorf("no workload %q", job.Workload)
}

// All returns the workloads in the order of the report.
func All() []Workload {
	return all
}

// ByName returns the workload of that name.
func ByName(name string) (Workload, bool) {
	for _, w := range all {
		if w.Name == name {
			return w, true
		}
	}
	return Workload{}, false
}

// Takes reports whether the engine takes part.
func (w Workload) Takes(e engines.Engine) bool {
	switch {
	case w.Run == nil, e.Variant != "" && w.Writers == 0:
		return false
	case w.Only != nil:
		return w.Only(e.Name)
	}
	return true
}

// open opens the cell's database.
func (c *Cell) open(o engines.Options) (engines.DB, error) {
	o.Memory = c.Cache
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	return c.engine.Open(c.Dir, o)
}

// withDB runs fn with the cell's database open.
func (c *Cell) withDB(o engines.Options, fn func(engines.DB) error) error {
	db, err := c.open(o)
	if err != nil {
		return err
	}
	if err := fn(db); err != nil {
		return closeWith(err, db)
	}
	return db.Close()
}

// withSession runs fn with a reader of the cell's database.
func (c *Cell) withSession(fn func(engines.Session) error) error {
	return c.withDB(engines.Options{}, func(db engines.DB) error {
		s, err := db.NewSession()
		if err != nil {
			return err
		}
		if err := fn(s); err != nil {
			return closeWith(err, s)
		}
		return s.Close()
	})
}

// readOrder returns the keys that a reader visits, in an order that is neither
// theirs nor that of their insertion; it differs from round to round and from
// reader to reader.
func (c *Cell) readOrder(reader int) keyList {
	p := newPermutation(c.Keys, visiting+uint64(reader))
	return listKeys(c.space, &p, c.Round*c.Keys/7, min(c.Keys, 1<<20))
}
