package differential_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lightning-db/lightning/internal/memdir"
)

var (
	programs = flag.Int("programs", 1500, "programs of TestDifferential")
	seed     = flag.Uint64("seed", 0, "seed of the first program (0: by the clock)")
	length   = flag.Int("length", 150, "operations of a program")
)

// arena is where programs run.
type arena struct {
	dir      string
	count    int
	sabotage string
}

func newArena(t testing.TB) *arena { return &arena{dir: memdir.Temp(t)} }

// differ runs the program on both engines and tells where they part, "" if they
// do not.
func (a *arena) differ(t testing.TB, program []op) string {
	t.Helper()
	a.count++
	dir := filepath.Join(a.dir, fmt.Sprint(a.count))
	sides := []string{filepath.Join(dir, "bbolt"), filepath.Join(dir, "lightning")}
	for _, side := range sides {
		if err := os.MkdirAll(side, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}()
	ours := onLightning
	ours.defect = a.sabotage
	want := run[boltDB, boltTx, boltBucket, boltCursor](onBbolt, sides[0], program)
	got := run[ownDB, ownTx, ownBucket, ownCursor](ours, sides[1], program)
	for i := range max(len(want), len(got)) {
		a, b := line(want, i), line(got, i)
		if a != b {
			return fmt.Sprintf("line %d: bbolt %q, Lightning %q; before: %q", i, a, b, line(want, i-1))
		}
	}
	return ""
}

func line(seen []string, i int) string {
	if i < 0 || i >= len(seen) {
		return "nothing"
	}
	return seen[i]
}

// shrink leaves operations out as long as the engines differ.
func (a *arena) shrink(t testing.TB, program []op) ([]op, string) {
	t.Helper()
	why := a.differ(t, program)
	for n := len(program) / 2; n > 0; {
		smaller := false
		for at := 0; at+n <= len(program); {
			without := slices.Concat(program[:at], program[at+n:])
			if w := a.differ(t, without); w != "" {
				program, why, smaller = without, w, true
			} else {
				at += n
			}
		}
		if !smaller || n > len(program) {
			n /= 2
		}
	}
	return program, why
}

func listing(program []op) string {
	var b strings.Builder
	for i, o := range program {
		fmt.Fprintf(&b, "%3d %v\n", i, o)
	}
	return b.String()
}

func programOf(seed uint64) []op {
	return generate(&random{rand.New(rand.NewPCG(seed, 0)), *length})
}

// TestDifferential runs random programs on bbolt and on Lightning DB.
func TestDifferential(t *testing.T) {
	first := *seed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", first)
	a := newArena(t)
	operations := 0
	for i := range uint64(*programs) {
		program := programOf(first + i)
		operations += len(program)
		if a.differ(t, program) != "" {
			program, why := a.shrink(t, program)
			t.Fatalf("-seed=%d: %s\n%s", first+i, why, listing(program))
		}
	}
	t.Logf("%d programs of %d operations: no difference", *programs, operations)
}

// TestDifferential_Control: an engine that does wrong is found out.
func TestDifferential_Control(t *testing.T) {
	for _, defect := range []string{"delete does nothing", "a sequence is not set", "next is previous"} {
		t.Run(defect, func(t *testing.T) {
			a := newArena(t)
			a.sabotage = defect
			for i := range uint64(100) {
				if program := programOf(i); a.differ(t, program) != "" {
					program, why := a.shrink(t, program)
					t.Logf("program %d, %d operations left of it: %s", i, len(program), why)
					if len(program) > 12 {
						t.Errorf("not shrunk:\n%s", listing(program))
					}
					return
				}
			}
			t.Error("not found in 100 programs")
		})
	}
}

// FuzzPrograms lets the fuzzer choose the operations.
func FuzzPrograms(f *testing.F) {
	for i := range uint64(8) {
		b := make([]byte, 1000)
		rng := rand.New(rand.NewPCG(i, 1))
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := scripted(b[:min(len(b), 4000)])
		program := generate(&c)
		if why := newArena(t).differ(t, program); why != "" {
			t.Fatalf("%s\n%s", why, listing(program))
		}
	})
}
