package chaos

import (
	"math/rand/v2"

	"github.com/lightning-db/lightning/chaos/simdisk"
	"github.com/lightning-db/lightning/fsync"
)

// twins looks for dropped transactions that come back. A power cut loses one
// page of a transaction, the next process drops what is left of it and runs its
// twin, which writes half of the same pages, and of those one survives the next
// power cut: if it is the one that was missing, and the meta slot of the dropped
// transaction is still there, that is whole again.
func (r *run) twins(w *world, rng *rand.Rand) {
	c := w.crash(rng)
	for range 2 {
		v, ok := r.twin(w, c, rng)
		if !ok {
			return
		}
		for range 3 {
			u, ok := r.twin(v, v.cutTwin(rng, simdisk.Written, simdisk.Lost), rng)
			for i := 0; i < 4 && ok; i++ {
				r.recover(u, u.cutTwin(rng, simdisk.Lost, simdisk.Written), rng, false)
			}
		}
	}
}

// twin lets the next process run a twin and end; false if it cannot.
func (r *run) twin(w *world, c crash, rng *rand.Rand) (*world, bool) {
	r.judged(c.fault)
	v := r.survive(w, c)
	v.do(step{stepTwin, rng.Uint64()})
	v.end()
	return v, v.firstMeta() > 0
}

// firstMeta returns the position after the first meta that was written once
// the process had opened, 0 if there is none.
func (w *world) firstMeta() int {
	for i, e := range w.disk.Events() {
		if i >= w.opened && e.Kind == simdisk.Write && e.Op == fsync.OpMetaWrite {
			return i + 1
		}
	}
	return 0
}

// cutTwin lets the power fail before the first commit is synced.
func (w *world) cutTwin(rng *rand.Rand, rest, odd simdisk.Fate) crash {
	c := w.crashAt(faultPower, w.firstMeta(), rng.Uint64())
	c.cut = c.image.OddCut(rng, rest, odd)
	return c
}
