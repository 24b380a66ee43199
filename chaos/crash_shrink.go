package chaos

import (
	"slices"

	"github.com/lightning-db/lightning/chaos/simdisk"
)

// shrink reduces a failure: it drops steps of the workload as long as some crash
// of what is left fails, and then lets of the last power cut as much get through
// as it can.
func shrink(r *result, dir string) *result {
	best := r
	attempt := func(p plan) bool {
		next := explore(&run{config: r.run.config, plan: p, dir: dir})
		if next.failed == nil {
			return false
		}
		best = next
		return true
	}
	for size := max(1, len(best.run.plan.steps)/2); size > 0; size /= 2 {
		for from := 0; from+size <= len(best.run.plan.steps); {
			p := best.run.plan
			p.steps = append(p.steps[:from:from], p.steps[from+size:]...)
			if !attempt(p) {
				from += size
			}
		}
	}
	best.mend()
	return best
}

// mend makes pieces that the last power cut lost or tore get through, as long as
// what is left fails.
func (res *result) mend() {
	for i := 0; res.failed.from != nil && i < len(res.failed.crash.cut.Fates); i++ {
		c := res.failed.crash
		if c.cut.Fates[i] == simdisk.Written {
			continue
		}
		c.cut.Fates = slices.Clone(c.cut.Fates)
		c.cut.Fates[i] = simdisk.Written
		if v := res.run.retry(res.failed.from, c); v != nil {
			res.failed = v
		}
	}
}

// retry judges a crash by itself.
func (r *run) retry(w *world, c crash) (failed *violation) {
	r.live = nil
	defer func() {
		if v, ok := recover().(*violation); ok {
			failed = v
		}
		for _, v := range r.live {
			v.abandon()
		}
	}()
	r.survive(w, c)
	return nil
}
