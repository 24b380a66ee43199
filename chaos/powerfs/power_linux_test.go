//go:build amd64 || arm64

package powerfs_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lightning-db/lightning/chaos/powerfs"
)

var (
	rounds = flag.Int("power.rounds", 24, "kills and power cuts of TestPower; with -short a third")
	seed   = flag.Uint64("power.seed", 0, "seed of the power tests (0: by the clock); the kernel's and the processes' scheduling is not replayed")
)

// newRand returns the random numbers of a test, which tells their seed.
func newRand(t *testing.T) *rand.Rand {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("-power.seed=%d", s)
	return rand.New(rand.NewPCG(s, 0))
}

// lifetime is how many rounds one database goes through.
const lifetime = 12

// randomRound chooses mode, faults and end of a round.
func randomRound(rng *rand.Rand, j *job) round {
	j.Mode = []string{"sync", "sync", "nosync", "periodic"}[rng.IntN(4)]
	j.LargeTx = []int{0, 8}[rng.IntN(2)]
	j.Commits = 1 << 30
	if rng.IntN(3) == 0 {
		j.Commits = 20 + rng.IntN(60)
	}
	r := round{claims: j.Mode, acks: 1 + rng.IntN(250), power: rng.IntN(5) > 0}
	after := rng.IntN(2) == 0
	switch rng.IntN(5) {
	case 0: // in Open
		r.cut = &powerfs.Cut{Op: powerfs.OpAny, N: 1 + rng.IntN(15), After: after}
	case 1:
		r.cut = &powerfs.Cut{Op: powerfs.OpSync, N: 1 + rng.IntN(60), After: after}
	case 2:
		r.cut = &powerfs.Cut{Op: powerfs.OpWrite, N: 1 + rng.IntN(200), After: after}
	case 3:
		r.cut = &powerfs.Cut{Op: powerfs.OpResize, N: 1 + rng.IntN(3), After: after}
	}
	if rng.IntN(2) == 0 {
		// What a failed sync lost is lost also when nothing but the process dies.
		r.power = true
		r.faults = append(r.faults, []powerfs.Fault{
			{Op: powerfs.OpSync, N: 1 + rng.IntN(40), Err: syscall.EIO},
			{Op: powerfs.OpSync, N: 1 + rng.IntN(3), Err: syscall.EIO},
			{Op: powerfs.OpWrite, N: 1 + rng.IntN(100), Err: syscall.EIO},
			{Op: powerfs.OpWrite, N: 1 + rng.IntN(100), Err: syscall.ENOSPC},
			{Op: powerfs.OpResize, N: 1 + rng.IntN(3), Err: syscall.ENOSPC},
			{Op: powerfs.OpRead, N: 1 + rng.IntN(20), Err: syscall.EIO},
		}[rng.IntN(6)])
		if rng.IntN(2) == 0 {
			r.opens = 2 // the power goes when the child has recovered from the fault
		}
	}
	return r
}

// String describes the round for a failure's message.
func (r round) String() string {
	s := fmt.Sprintf("mode %s, at most %d commits, %d opens, power cut %t, faults %+v", r.claims, r.acks, r.opens, r.power, r.faults)
	if r.cut != nil {
		s += fmt.Sprintf(", ends at %+v", *r.cut)
	}
	return s
}

// TestPower kills processes that write, and cuts the power under them: in
// commits, in syncs that fail, and in the Open after. The next process finds
// exactly one state that was committed, and in it what was durable.
func TestPower(t *testing.T) {
	rng := newRand(t)
	count := *rounds
	if testing.Short() {
		count = (count + 2) / 3
	}
	var b *bench
	var history []string // of the database
	var opens, acks, fails, requests int
	for i := range count {
		if i%lifetime == 0 {
			if b != nil {
				b.close()
			}
			b, history = newBench(t, rng.Uint64(), powerfs.Lies{}), nil
			b.job.PageSize = []int{4096, 16384}[rng.IntN(2)]
		}
		before := *b.oracle
		served := b.fs.Served()
		r := randomRound(rng, &b.job)
		history = append(history, r.String())
		if err := b.run(r, rng); err != nil {
			t.Fatalf("round %d: %v\nthe database's rounds:\n%s\nthe last lines:\n%s", i, err,
				strings.Join(history, "\n"), strings.Join(b.oracle.recent, "\n"))
		}
		opens += b.oracle.opens - before.opens
		acks += b.oracle.acks - before.acks
		fails += b.oracle.fails - before.fails
		requests += b.fs.Served() - served
	}
	t.Logf("%d rounds: %d states verified, %d commits acknowledged, %d errors seen, %d requests", count, opens, acks, fails, requests)
	if opens == 0 || acks == 0 {
		t.Error("nothing was tested")
	}
}

// TestPower_Create cuts the power at each request of the first Open in turn.
func TestPower_Create(t *testing.T) {
	rng := newRand(t)
	for n := 1; ; n++ {
		b := newBench(t, rng.Uint64(), powerfs.Lies{})
		b.job.Mode = "sync"
		first := round{claims: "sync", cut: &powerfs.Cut{N: n, After: n%2 == 0}, acks: 1, power: true}
		if err := b.run(first, rng); err != nil {
			t.Fatalf("creation, cut at request %d: %v", n, err)
		}
		done := b.oracle.opened
		if err := b.run(round{claims: "sync", acks: 5}, rng); err != nil {
			t.Fatalf("after a cut at request %d of the creation: %v", n, err)
		}
		b.close()
		if done {
			if n < 5 {
				t.Errorf("the database was created by %d requests", n)
			}
			return
		}
	}
}

// created lets a child create the database and cuts the power when Open has
// returned. It returns the verdict on the next child.
func created(t *testing.T, lies powerfs.Lies) error {
	t.Helper()
	b := newBench(t, 0, lies)
	defer b.close()
	b.job.Mode = "sync"
	if err := b.run(round{claims: "sync", opens: 1, power: true}, nil); err != nil {
		t.Fatal(err)
	}
	return b.run(round{claims: "sync", acks: 1}, nil)
}

// TestPower_Name: the name of a new file is durable when Open returns.
func TestPower_Name(t *testing.T) {
	if err := created(t, powerfs.Lies{}); err != nil {
		t.Error(err)
	}
	// The control: a directory that was not synced is found out.
	if err := created(t, powerfs.Lies{SyncDir: true}); !errors.Is(err, errAbsent) {
		t.Errorf("a name that was not durable: got %v, want %v", err, errAbsent)
	}
}

// TestPower_Name_AfterKill: the name of the file is durable when Open returns,
// also if an Open before it was killed, at any of its requests, before it
// could sync the directory.
func TestPower_Name_AfterKill(t *testing.T) {
	for n := 1; ; n++ {
		b := newBench(t, 0, powerfs.Lies{})
		b.job.Mode = "sync"
		if err := b.run(round{claims: "sync", cut: &powerfs.Cut{N: n}, acks: 1}, nil); err != nil {
			t.Fatal(err)
		}
		created := b.oracle.opened
		if err := b.run(round{claims: "sync", acks: 1, power: true}, nil); err != nil {
			t.Fatal(err)
		}
		if err := b.run(round{claims: "sync", acks: 1}, nil); err != nil {
			t.Errorf("after a kill at request %d of the first Open, a commit and a power cut: %v", n, err)
		}
		b.close()
		if created {
			return
		}
	}
}

// controls is how often a control may miss the fault that it has to find.
const controls = 20

// TestPower_Sync_Control lets acknowledged data be lost, by a medium that lies
// and by an engine that does not sync. TestPower's judgement must see it.
func TestPower_Sync_Control(t *testing.T) {
	rng := newRand(t)
	for name, c := range map[string]struct {
		mode string
		lies powerfs.Lies
	}{
		"medium": {"sync", powerfs.Lies{Sync: true}},
		"engine": {"nosync", powerfs.Lies{}},
	} {
		t.Run(name, func(t *testing.T) {
			for range controls {
				b := newBench(t, rng.Uint64(), c.lies)
				b.job.Mode = c.mode
				r := round{claims: "sync", acks: 5, power: true}
				err := b.run(r, rng)
				if err == nil {
					err = b.run(r, rng)
				}
				b.close()
				if errors.Is(err, errLost) {
					return
				}
			}
			t.Error("lost data is not missed")
		})
	}
}
