package stress

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lightning-db/lightning"
)

var (
	stressOps  = flag.Int("stress.ops", 0, "operations of TestStress in each mode (0: 100,000, or 20,000 with -short)")
	stressSeed = flag.Uint64("stress.seed", 0, "seed of TestStress (0: by the clock)")
)

var modes = []lightning.Durability{lightning.Sync, lightning.Periodic(10 * time.Millisecond), lightning.NoSync}

// TestStress is the claim: many goroutines, many operations, no failure.
func TestStress(t *testing.T) {
	c := Config{Ops: *stressOps, Seed: *stressSeed}
	if c.Ops == 0 {
		c.Ops = 100_000
		if testing.Short() {
			c.Ops = 20_000
		}
	}
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano())
	}
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Logf("-stress.seed=%d -stress.ops=%d", c.Seed, c.Ops)
			c.Dir, c.Durability = t.TempDir(), mode
			r, err := Run(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d operations, %d commits, %.0f operations/s", r.Ops, r.Commits, r.OpsPerSecond())
			for _, l := range r.Latency {
				t.Logf("%7s %8d calls: mean %v, P50 %v, P99 %v, P99.9 %v, max %v", l.Kind, l.Calls, l.Mean, l.P50, l.P99, l.P999, l.Max)
				if l.Calls == 0 {
					t.Errorf("no call of %s was made", l.Kind)
				}
			}
			if r.Ops < c.Ops || r.Commits == 0 || r.Failed != 0 {
				t.Errorf("%d operations of %d, %d commits, %d failures:\n%s", r.Ops, c.Ops, r.Commits, r.Failed, strings.Join(r.Failures, "\n"))
			}
			if left, err := os.ReadDir(c.Dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// TestStress_NoticesWrongResults changes the database behind the workers'
// backs: each change must be noticed.
func TestStress_NoticesWrongResults(t *testing.T) {
	keys := [][]byte{keyOf(0), keyOf(1), keyOf(keysPerWorker - 1)}
	changes := map[string]func(tx *lightning.Tx) error{
		"a value": func(tx *lightning.Tx) error {
			return tx.Bucket([]byte("worker0001")).Put(keys[0], []byte("not what was put"))
		},
		"a key more": func(tx *lightning.Tx) error {
			return tx.Bucket([]byte("worker0000")).Put(append(keys[1], 'x'), nil)
		},
		"a value of another key": func(tx *lightning.Tx) error {
			b := tx.Bucket([]byte("worker0002"))
			return errors.Join(b.Put(keys[1], b.Get(keys[2])), b.Put(keys[2], []byte("x")))
		},
		"an update lost": func(tx *lightning.Tx) error {
			return tx.Bucket([]byte("shared")).Put(counterKey(3), make([]byte, 8))
		},
		"a nested bucket": func(tx *lightning.Tx) error {
			_, err := tx.Bucket([]byte("worker0001")).CreateBucketIfNotExists(nestedName)
			if err == nil {
				err = tx.Bucket([]byte("worker0001")).Bucket(nestedName).Put([]byte("x"), nil)
			}
			return err
		},
		"a bucket missing": func(tx *lightning.Tx) error { return tx.DeleteBucket([]byte("worker0001")) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			var changed error
			c := Config{Seed: 7, Ops: 3000, Workers: 3, Durability: lightning.NoSync, Dir: t.TempDir()}
			c.ended = func(db *lightning.DB) { changed = db.Update(change) }
			r, err := Run(t.Context(), c)
			if err != nil || changed != nil {
				t.Fatal(err, changed)
			}
			if r.Failed == 0 {
				t.Error("it was not noticed")
			}
		})
	}
}

// TestStress_NoticesADeadlock holds the writer lock for ever.
func TestStress_NoticesADeadlock(t *testing.T) {
	var db *lightning.DB
	var holder *lightning.Tx
	dir := t.TempDir()
	_, err := Run(t.Context(), Config{Workers: 2, Stall: 200 * time.Millisecond, Durability: lightning.NoSync, Dir: dir, started: func(d *lightning.DB) {
		db = d
		var err error
		if holder, err = db.Begin(true); err != nil {
			t.Error(err)
		}
	}})
	if !errors.Is(err, ErrStalled) || !strings.Contains(err.Error(), "goroutine ") {
		t.Fatalf("Run: got %v, want %v with stacks", err, ErrStalled)
	}
	if kept, err := filepath.Glob(filepath.Join(dir, "*", "stress.db")); err != nil || len(kept) != 1 {
		t.Errorf("files kept: %v, %v", kept, err)
	}
	closed := make(chan error, 1)
	go func() { closed <- db.Close() }()
	if err := holder.Rollback(); err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// A value tells whose it is.
func TestValuesDiffer(t *testing.T) {
	r := &runner{blob: newBlob(1)}
	seen := map[string]string{}
	for worker := range 3 {
		for key := range 20 {
			for version := range uint32(20) {
				v := string(r.appendValue(nil, worker, key, version+1))
				id := fmt.Sprint(worker, key, version)
				if other, ok := seen[v]; ok {
					t.Fatalf("%s and %s have one value", id, other)
				}
				seen[v] = id
			}
		}
	}
}
