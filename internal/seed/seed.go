// Package seed gives random tests their numbers. A test prints where they come
// from, and takes that back by the flag -seed.
package seed

import (
	"flag"
	"math/rand/v2"
	"time"
)

var first = flag.Uint64("seed", 0, "seed of the random tests; 0 takes the time")

// TB is what Rand needs of a testing.TB.
type TB interface {
	Helper()
	Logf(format string, args ...any)
}

// Rand returns random numbers and logs the flag that repeats them.
func Rand(t TB) *rand.Rand {
	t.Helper()
	seed := *first
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
