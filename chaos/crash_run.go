package chaos

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/chaos/simdisk"
	"github.com/lightning-db/lightning/page"
)

// How many crashes of a process are judged, by how many crashes came before it,
// and how many of a hundred go on to the next process.
var (
	crashesAt = [...]int{24, 6, 5}
	cutsAt    = [...]int{4, 3, 3} // power cuts at one moment
	deeper    = [...]int{30, 40, 0}
)

// run is one workload with its crashes.
type run struct {
	config Config
	plan   plan
	dir    string
	res    *result
	live   []*world // processes that have not ended
}

func newRun(c Config, seed uint64, dir string) *run {
	return &run{config: c, plan: newPlan(seed), dir: dir}
}

// explore runs the workload and judges its crashes, up to the first violation.
func explore(r *run) (res *result) {
	res = &result{byFault: make(map[string]int), run: r}
	r.res = res
	defer func() {
		if p := recover(); p != nil {
			v, ok := p.(*violation)
			if !ok {
				v = &violation{what: fmt.Sprintf("panic: %v\n%s", p, debug.Stack())}
			}
			res.failed = v
		}
		for _, w := range r.live {
			w.abandon()
		}
	}()
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		panic(err)
	}
	w := r.newWorld(0, nil)
	w.before = map[page.TxID]content{0: {}, 1: {}}
	w.history = maps.Clone(w.before)
	w.trace = append(w.trace, r.plan.String())
	if err := w.start(&simdisk.Image{}); err != nil {
		w.fail("Open of a new file: %v", err)
	}
	w.recovered(0)
	for _, s := range r.plan.steps {
		w.do(s)
	}
	if r.plan.compact {
		w.compact(rand.New(rand.NewPCG(r.plan.seed, 4)))
	}
	w.end()
	rng := rand.New(rand.NewPCG(r.plan.seed, 1))
	if rng.IntN(3) == 0 {
		r.twins(w, rng)
	}
	r.crashes(w, rng)
	return res
}

// forget takes a process that has ended off the list.
func (r *run) forget(w *world) {
	r.live = slices.DeleteFunc(r.live, func(other *world) bool { return other == w })
}

func (r *run) judged(fault string) {
	r.res.states++
	r.res.byFault[fault]++
}

// crashes judges crashes of a process that has ended, and lets some of what
// recovers go on and crash again.
func (r *run) crashes(w *world, rng *rand.Rand) {
	for range crashesAt[w.depth] {
		rng := rand.New(rand.NewPCG(rng.Uint64(), 5))
		if !w.r.plan.weak && rng.IntN(3) == 0 && !w.disk.Stale() && w.disk.Position() > w.opened {
			r.damage(w, rng)
			continue
		}
		c := w.crash(rng)
		for range cutsAt[w.depth] - 1 {
			if c.fault == faultPower {
				r.recover(w, c, rng, false)
				c.cut = c.image.NewCut(rng, c.torn)
			}
		}
		r.recover(w, c, rng, rng.IntN(100) < deeper[w.depth] || c.fault == faultReopened && w.depth+1 < len(crashesAt) && rng.IntN(2) == 0)
	}
}

// recover starts the next process, judges what it finds, and lets it go on and
// crash again if further is set.
func (r *run) recover(w *world, c crash, rng *rand.Rand, further bool) {
	r.judged(c.fault)
	v := r.survive(w, c)
	if further {
		v.goOn(rng)
		v.end()
		r.crashes(v, rng)
		return
	}
	if rng.IntN(4) == 0 {
		v.do(step{stepCommit, rng.Uint64()})
	}
	v.end()
}

// goOn is the life of a process after a crash.
func (w *world) goOn(rng *rand.Rand) {
	if rng.IntN(2) == 0 {
		w.do(step{stepTwin, rng.Uint64()})
	}
	for range rng.IntN(4) {
		w.do(randomStep(rng))
	}
}

// The faults that a database survives.
const (
	faultKill     = "kill"
	faultPower    = "power cut"
	faultReopened = "reopened after a failed sync"
	faultClosed   = "reopened after Close"
)

// crash is the end of a process, and what is promised to the next one.
type crash struct {
	fault    string
	position int
	image    *simdisk.Image // what the next process opens; of a power cut, before it
	cut      simdisk.Cut    // of a power cut
	torn     bool           // of a power cut: pieces may be torn
	floor    page.TxID      // the oldest transaction that may be found
	cutFloor page.TxID      // if the power fails before the next process has opened
}

func (c crash) String() string {
	s := fmt.Sprintf("%s at %d, transaction %d is promised", c.fault, c.position, c.floor)
	if c.fault == faultPower {
		s += "; " + c.cut.String()
	}
	return s
}

// moment returns a position of the recording. Some moments show more than others:
// before a sync, when most is pending, and within Open and the first commit
// after a crash.
func (w *world) moment(rng *rand.Rand) int {
	end := w.disk.Position()
	switch k := rng.IntN(6); {
	case k < 2:
		from := w.opened
		if w.depth == 0 {
			from = 0
		}
		if syncs := w.syncsFrom(from); len(syncs) > 0 {
			if w.depth > 0 && rng.IntN(2) == 0 {
				syncs = syncs[:min(2, len(syncs))]
			}
			return syncs[rng.IntN(len(syncs))]
		}
	case k < 4 && w.depth > 0:
		return rng.IntN(min(end, w.opened+8) + 1)
	}
	return rng.IntN(end + 1)
}

// syncsFrom returns the positions of syncs from a position on.
func (w *world) syncsFrom(from int) (at []int) {
	for i, e := range w.disk.Events() {
		if i >= from && (e.Kind == simdisk.Sync || e.Kind == simdisk.SyncFull) {
			at = append(at, i)
		}
	}
	return at
}

// crash lets the process end at some moment.
func (w *world) crash(rng *rand.Rand) crash {
	end, n := w.disk.Position(), w.moment(rng)
	if w.disk.Stale() && rng.IntN(4) == 0 {
		n = end
	}
	im := w.disk.At(n)
	c := crash{position: n, image: im, cutFloor: max(newest(w.cut, n), w.disk.Proven(n))}
	c.floor = c.cutFloor
	switch {
	case w.r.plan.weak:
	case im.Stale && n == end && rng.IntN(3) > 0:
		c.fault = faultReopened
		return c
	case im.Stale:
	case n == end && w.closed && rng.IntN(4) == 0:
		c.fault, c.floor = faultClosed, max(c.floor, newest(w.killed, n))
		return c
	case rng.IntN(3) == 0:
		c.fault, c.floor = faultKill, max(c.floor, newest(w.killed, n))
		c.image = w.disk.Kill(n, rng)
		return c
	}
	c.fault = faultPower
	c.torn = w.created || n >= w.opened
	c.cut = im.NewCut(rng, c.torn)
	return c
}

// left returns what the next process opens.
func (c crash) left() *simdisk.Image {
	if c.fault == faultPower {
		return simdisk.Whole(c.image.Apply(c.cut))
	}
	return c.image
}

// survive starts the next process after a fault that must be survived.
func (r *run) survive(w *world, c crash) *world {
	defer func() {
		if p := recover(); p != nil {
			if v, ok := p.(*violation); ok && c.fault == faultPower {
				v.from, v.crash = w, c
			}
			panic(p)
		}
	}()
	v := r.newWorld(w.depth+1, w.trace)
	v.before, v.history = w.candidates(c.position), w.past()
	maps.Copy(v.history, v.before)
	v.trace = append(v.trace, c.String())
	v.cut, v.killed = []promise{{0, c.cutFloor}}, []promise{{0, c.floor}}
	v.metas = w.allMetas()
	v.created = w.created || c.position >= w.opened
	if err := v.start(c.left()); err != nil {
		v.fail("Open: %v", err)
	}
	v.switchd = v.db.NoSync
	v.recovered(c.floor)
	return v
}

// compact copies the database into another, whose power fails at many moments:
// what is left is whole and holds nothing but what was copied, and at the end
// all of it.
func (w *world) compact(rng *rand.Rand) {
	_, want, err := w.read()
	if err != nil {
		w.fail("before Compact: %v", err)
	}
	dst := w.r.newWorld(len(crashesAt)+1, w.trace)
	dst.trace = append(dst.trace, "Compact")
	dst.cut = []promise{{0, 1}}
	if err := dst.start(&simdisk.Image{}); err != nil {
		dst.fail("Open of a new file: %v", err)
	}
	if err := lightning.Compact(dst.db, w.db, int64(rng.IntN(3)*8000)); err != nil {
		dst.fail("Compact: %v", err)
	}
	last, _, err := dst.read()
	if err != nil {
		dst.fail("after Compact: %v", err)
	}
	dst.killed = []promise{{dst.disk.Position(), last}}
	dst.end()
	for range 8 {
		n := dst.opened + rng.IntN(dst.disk.Position()-dst.opened+1)
		im := dst.disk.At(n)
		c := crash{fault: faultPower, position: n, image: im, cut: im.NewCut(rng, true)}
		w.r.judged("power cut during Compact")
		v := w.r.newWorld(dst.depth+1, dst.trace)
		v.trace = append(v.trace, c.String())
		if err := v.start(c.left()); err != nil {
			v.fail("Open of a copy: %v", err)
		}
		_, got, err := v.read()
		if err != nil {
			v.fail("a copy: %v", err)
		}
		v.check()
		if d := partOf(got, want); d != "" {
			v.fail("a copy that was cut short: %s", d)
		}
		if d := want.diff(got); n == dst.disk.Position() && d != "" {
			v.fail("a copy that was finished: %s", d)
		}
		v.end()
	}
}

// partOf is content.within, but that the sequence of a bucket may be missing:
// it is set after the bucket is made.
func partOf(got, want content) string {
	part := make(content)
	for entry, hash := range got {
		if _, ok := want[entry]; ok && entry[len(entry)-1] == '/' {
			continue
		}
		part[entry] = hash
	}
	return want.within(part)
}
