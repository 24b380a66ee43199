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
	live   []*world                   // processes that have not ended
	last   *world                     // the last that began
	files  [len(crashesAt) + 3][]byte // by depth: what the last process found
}

func newRun(c Config, seed uint64, dir string) *run {
	return &run{config: c, plan: newPlan(seed), dir: dir}
}

// explore runs the workload and judges its crashes, up to the first violation.
func explore(r *run) *result {
	r.res = &result{byFault: make(map[string]int)}
	r.res.failed = r.catch(func() {
		w := r.first()
		rng := rand.New(rand.NewPCG(r.plan.seed, 1))
		if rng.IntN(3) == 0 {
			r.twins(w, rng)
		}
		r.crashes(w, rng)
	})
	return r.res
}

// catch returns the violation that do ends with, nil if there is none.
func (r *run) catch(do func()) (failed *violation) {
	defer func() {
		if p := recover(); p != nil {
			v, ok := p.(*violation)
			if !ok {
				v = r.last.violation("panic: %v\n%s", p, debug.Stack())
			}
			failed = v
		}
		for _, w := range r.live {
			w.abandon()
		}
	}()
	do()
	return nil
}

// first runs the first process.
func (r *run) first() *world {
	w := r.newWorld(nil, nil)
	w.before = map[page.TxID]content{0: {}, 1: {}}
	w.history = maps.Clone(w.before)
	w.trace = append(w.trace, r.plan.String())
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		w.fail("%v", err)
	}
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
	return w
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
		if rng.IntN(3) == 0 && !w.disk.Stale() && w.disk.Position() > w.opened {
			r.damage(w, w.harm(rng))
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
	seed     uint64         // of what is random about it
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
	fault := faultPower
	switch stale := w.disk.At(n).Stale; {
	case stale && n == end && rng.IntN(3) > 0:
		fault = faultReopened
	case stale:
	case n == end && w.closed && rng.IntN(4) == 0:
		fault = faultClosed
	case rng.IntN(3) == 0:
		fault = faultKill
	}
	return w.crashAt(fault, n, rng.Uint64())
}

// crashAt lets the process end at position n.
func (w *world) crashAt(fault string, n int, seed uint64) crash {
	floor := max(newest(w.cut, n), w.disk.Proven(n))
	c := crash{fault: fault, position: n, seed: seed, floor: floor, cutFloor: floor}
	rng := rand.New(rand.NewPCG(seed, 8))
	switch fault {
	case faultKill:
		c.floor = max(floor, newest(w.killed, n))
		c.image = w.disk.Kill(n, rng)
	case faultClosed:
		c.floor = max(floor, newest(w.killed, n))
		c.image = w.disk.At(n)
	case faultReopened:
		c.image = w.disk.At(n)
	case faultPower:
		c.image = w.disk.At(n)
		c.torn = w.created || n >= w.opened
		c.cut = c.image.NewCut(rng, c.torn)
	}
	return c
}

// left returns what the process opens that comes after the crash, at the given
// depth.
func (r *run) left(c crash, depth int) *simdisk.Image {
	if c.fault == faultPower {
		return simdisk.Whole(r.apply(depth, c.image, c.cut))
	}
	return c.image
}

// apply returns the file that the power cut leaves to a process of the given
// depth. It is good as long as that process is the last of its depth.
func (r *run) apply(depth int, im *simdisk.Image, c simdisk.Cut) []byte {
	r.files[depth] = im.ApplyTo(r.files[depth], c)
	return r.files[depth]
}

// survive starts the next process after a fault that must be survived.
func (r *run) survive(w *world, c crash) *world {
	v := r.newWorld(w, c)
	v.before, v.history = w.candidates(c.position), w.past()
	maps.Copy(v.history, v.before)
	v.trace = append(v.trace, c.String())
	v.cut, v.killed = []promise{{0, c.cutFloor}}, []promise{{0, c.floor}}
	v.metas = w.allMetas()
	v.created = w.created || c.position >= w.opened
	if err := v.start(r.left(c, v.depth)); err != nil {
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
	dst := w.r.newWorld(w, nil)
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
		v := w.r.newWorld(dst, nil)
		v.trace = append(v.trace, c.String())
		if err := v.start(w.r.left(c, v.depth)); err != nil {
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
