package chaos

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lightning-db/lightning"
)

// plan is a workload: all that a seed decides. Steps carry their own seeds, so
// that one can be left out without changing what the others do.
type plan struct {
	seed    uint64
	options lightning.Options
	weak    bool // see simdisk.Disk
	compact bool // copy the database at the end
	steps   []step
}

// step is something that a process does.
type step struct {
	kind stepKind
	seed uint64
}

type stepKind uint8

const (
	stepCommit     stepKind = iota // one transaction
	stepGroup                      // one, and others while it is being written
	stepLoad                       // a large one
	stepBalloon                    // a value that makes the file grow
	stepClear                      // delete everything
	stepFail                       // a transaction whose function fails or panics
	stepTwin                       // a transaction whose number decides half of its content
	stepSync                       // DB.Sync
	stepBegin                      // a reader begins
	stepEnd                        // the oldest reader ends
	stepNoSync                     // switch DB.NoSync
	stepFailOnce                   // the next sync fails
	stepFailAlways                 // all syncs fail from here on
	stepForget                     // the page cache forgets what a failed sync lost
	stepRot                        // a bit turns under the map
)

var stepNames = [...]string{
	"commit", "group", "load", "balloon", "clear", "failing transaction", "twin", "DB.Sync", "reader begins",
	"reader ends", "switch NoSync", "the next sync fails", "syncs fail", "the page cache forgets", "a bit turns under the map",
}

func (s step) String() string { return stepNames[s.kind] }

// The steps of a first process, each as often as its weight.
var stepWeights = [...]int{
	stepCommit: 16, stepGroup: 8, stepLoad: 3, stepBalloon: 1, stepClear: 1, stepFail: 2, stepTwin: 2, stepSync: 4,
	stepBegin: 4, stepEnd: 3, stepNoSync: 1, stepFailOnce: 1, stepFailAlways: 1, stepForget: 1, stepRot: 3,
}

func randomStep(rng *rand.Rand) step {
	total := 0
	for _, weight := range stepWeights {
		total += weight
	}
	n := rng.IntN(total)
	for kind, weight := range stepWeights {
		if n -= weight; n < 0 {
			return step{stepKind(kind), rng.Uint64()}
		}
	}
	panic("unreachable")
}

func newPlan(seed uint64) plan {
	rng := rand.New(rand.NewPCG(seed, 0))
	p := plan{seed: seed}
	o := &p.options
	o.Durability = [...]lightning.Durability{lightning.Sync, lightning.Sync, lightning.NoSync, lightning.Periodic(time.Hour)}[rng.IntN(4)]
	o.PageSize = [...]int{4096, 4096, 4096, 4096, 4096, 4096, 8192, 16384}[rng.IntN(8)]
	o.Verify = [...]lightning.Verify{lightning.VerifyFirst, lightning.VerifyFirst, lightning.VerifyFirst, lightning.VerifyAlways, lightning.VerifyNever}[rng.IntN(5)]
	o.LargeTxPages = [...]int{8, 8, 0}[rng.IntN(3)]
	if rng.IntN(6) == 0 {
		o.IntegrityKey = []byte("a key of the user")
	}
	// Only commits that sync make a longer file durable before they use it. The
	// other modes, and NoGrowSync, rely on a sync that covers the length.
	p.weak = o.Durability == lightning.Sync && rng.IntN(5) == 0
	o.NoGrowSync = !p.weak && rng.IntN(8) == 0
	p.compact = rng.IntN(10) == 0
	for range 4 + rng.IntN(10) {
		p.steps = append(p.steps, randomStep(rng))
	}
	return p
}

func (p plan) String() string {
	o := p.options
	s := fmt.Sprintf("%v, pages of %d bytes, Verify %d, LargeTxPages %d", o.Durability, o.PageSize, o.Verify, o.LargeTxPages)
	for _, x := range []struct {
		set  bool
		name string
	}{{len(o.IntegrityKey) > 0, "IntegrityKey"}, {p.weak, "lengths durable by a full sync only"}, {o.NoGrowSync, "NoGrowSync"}} {
		if x.set {
			s += ", " + x.name
		}
	}
	return s
}
