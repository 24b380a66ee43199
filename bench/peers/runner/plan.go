package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lightning-db/lightning/bench/peers/engines"
	"github.com/lightning-db/lightning/bench/peers/workloads"
)

// The families of measurements.
const (
	Speed  = "speed"  // all workloads at Config.Keys
	Cached = "cached" // reads of a database that the processor's caches hold
	Growth = "growth" // some at each number of keys in Config.Growth
	Memory = "memory" // some with a database three times Config.Memory
)

// CachedKeys is the number of keys of the family cached.
const CachedKeys = 20_000

var (
	cachedWorkloads = []string{"get-tx", "get-view", "get-view-cores"}
	growthWorkloads = []string{"load-random", "get-tx", "seek", "put", "open-clean", "open-killed", "handle"}
	memoryWorkloads = []string{"load-random", "get-tx", "seek", "put"}
)

// longLoad is the number of keys beyond which a load is measured once only.
const longLoad = 2_000_000

// cell is a workload to be measured with all engines in all rounds.
type cell struct {
	family   string
	workload workloads.Workload
	keys     int
	rounds   int
	memory   int64 // limit in bytes; 0 = none
}

// plan returns the cells in the order in which they are measured.
func (r *run) plan() (cells []cell) {
	add := func(family string, keys int, memory int64, names []string) {
		for _, w := range workloads.All() {
			if !slices.Contains(names, w.Name) || r.Match != nil && !r.Match.MatchString(family+"/"+w.Name) {
				continue
			}
			if family == Growth && w.Base == workloads.Random {
				w.Base = workloads.Sorted // a random load of the largest takes an hour
			}
			c := cell{family: family, workload: w, keys: keys, rounds: r.Rounds, memory: memory}
			if w.Name == "load-random" && keys > longLoad {
				c.rounds = 1
			}
			cells = append(cells, c)
		}
	}
	var names []string
	for _, w := range workloads.All() {
		names = append(names, w.Name)
	}
	add(Speed, r.Keys, 0, names)
	add(Cached, CachedKeys, 0, cachedWorkloads)
	for _, keys := range r.Growth {
		add(Growth, keys, 0, growthWorkloads)
	}
	if r.Memory > 0 {
		add(Memory, int(3*r.Memory/(workloads.KeySize+workloads.ValueSize)), r.Memory, memoryWorkloads)
	}
	return cells
}

// owner returns the name of the engine whose files e uses.
func owner(e engines.Engine) string {
	if e.Variant != "" {
		return e.Variant
	}
	return e.Name
}

func (r *run) baseDir(c cell, engine string) string {
	for _, e := range r.Engines {
		if e.Name == engine {
			engine = owner(e)
		}
	}
	return filepath.Join(r.Dir, fmt.Sprintf("%s-%s-%d", engine, c.workload.Base, c.keys))
}

// prepare builds the database that the cell starts from, unless it is there.
func (r *run) prepare(c cell, e engines.Engine) error {
	base := r.baseDir(c, e.Name)
	if c.workload.Base == workloads.Empty || r.failed[base] {
		return nil
	}
	if _, err := os.Stat(base); err == nil {
		return nil
	}
	began := time.Now()
	job := r.job(c, owner(e), 0, base)
	job.Workload, job.Build = "", c.workload.Base
	_, err := r.child(nil, job)
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	r.failed[base] = err != nil
	if err == nil {
		err = syncDir(base)
	}
	if err != nil {
		r.logf("%s: %v", filepath.Base(base), err)
		return nil
	}
	r.logf("built %s (%.1f s)", filepath.Base(base), time.Since(began).Seconds())
	return nil
}

// tidy removes the databases that c used and none of the cells to come needs.
func (r *run) tidy(c cell, rest []cell) (err error) {
	needed := func(o cell) bool { return o.workload.Base == c.workload.Base && o.keys == c.keys }
	if c.workload.Base == workloads.Empty || slices.ContainsFunc(rest, needed) {
		return nil
	}
	for _, e := range r.Engines {
		err = errors.Join(err, os.RemoveAll(r.baseDir(c, e.Name)))
	}
	return err
}
