package lightning

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
)

// A power cut while Compact writes leaves a database that opens, is whole and
// holds nothing but what was copied; after Compact it holds all.
func TestCrash_Compact(t *testing.T) {
	seed := *crashSeed
	if seed == 0 {
		seed = crashDefaultSeed
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	w := newCrashWorld(t, seed, rng)
	w.open(&crashImage{})
	for range 15 {
		w.group(1)
	}
	want := newCrashModel()
	if err := w.db.View(want.load); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []Durability{Sync, NoSync} {
		dst, disk, err := openImage(t, filepath.Join(w.dir, "compact.db"), &crashImage{}, Options{Durability: mode})
		if err != nil {
			t.Fatal(err)
		}
		opened := disk.position()
		if err := Compact(dst, w.db, 20000); err != nil {
			t.Fatal(err)
		}
		if err := dst.Close(); err != nil {
			t.Fatal(err)
		}
		end := disk.position()
		for range 60 {
			n := opened + rng.IntN(end-opened+1)
			what := fmt.Sprintf("-crash.seed=%d, %v, power cut at %d of %d", seed, mode, n, end)
			db, _, err := openImage(t, filepath.Join(w.dir, "cut.db"), disk.at(n).powerCut(rng, true), Options{})
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			checkClean(t, db)
			got := newCrashModel()
			if err := db.View(got.load); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if n == end && got.sum != want.sum {
				t.Errorf("%s: the finished copy differs", what)
			}
			for entry, hash := range got.entries {
				_, known := want.entries[entry]
				// The sequence of a bucket is set after the bucket is made.
				if bucket := entry[len(entry)-1] == '/'; !known || !bucket && hash != want.entries[entry] {
					t.Errorf("%s: %q is not in the source", what, entry)
				}
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
}
