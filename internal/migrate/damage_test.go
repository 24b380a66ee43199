package migrate

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/lightning-db/lightning/internal/boltfile"
	"github.com/lightning-db/lightning/internal/memdir"
	"github.com/lightning-db/lightning/internal/seed"
)

// TestRun_DamagedBolt zeroes each page of the source, flips bits in it, and cuts
// the file: an error, and no destination, or a copy of what the bytes now say.
func TestRun_DamagedBolt(t *testing.T) {
	r := seed.Rand(t)
	dir := memdir.Temp(t)
	src, dst := filepath.Join(dir, "source"), filepath.Join(dir, "destination")
	writeFile(t, src, Bolt, func(b *bbolt.Bucket) error { return fillRandom(r, b, 2, 40) }, nil)
	sound := takeFingerprint(t, src).content
	const page = 4096
	outcomes := map[string]int{}
	try := func(image []byte) {
		if err := os.WriteFile(src, image, 0o600); err != nil {
			t.Fatal(err)
		}
		before := takeFingerprint(t, src)
		result, err := run(t, Options{Source: src, Destination: dst, DryRun: len(image)%3 == 0})
		var damage *boltfile.DamageError
		switch {
		case err == nil:
			outcomes["copied"]++
			if !result.Verified && len(image)%3 != 0 {
				t.Error("not verified")
			}
		case errors.As(err, &damage):
			outcomes["damage"]++
		case errors.Is(err, ErrUnknownFormat), errors.Is(err, boltfile.ErrVersion), errors.Is(err, boltfile.ErrNotBolt):
			outcomes["no bolt file"]++
		default:
			t.Errorf("%v", err)
		}
		_, statErr := os.Lstat(dst)
		if err != nil && !errors.Is(statErr, fs.ErrNotExist) {
			t.Errorf("a destination after %v", err)
		}
		wantUntouched(t, src, before)
		for _, name := range []string{dst, dst + Suffix} {
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	headless := append([]byte(nil), sound...)
	clear(headless[:2*page])
	try(headless)
	cases := 30
	if testing.Short() {
		cases = 8
	}
	every := max(1, len(sound)/page/cases)
	for id := 0; id < len(sound)/page; id += every {
		image := append([]byte(nil), sound...)
		clear(image[id*page:][:page])
		try(image)
		image = append([]byte(nil), sound...)
		image[id*page+r.IntN(page)] ^= 1 << r.IntN(8)
		try(image)
		try(sound[:id*page+r.IntN(page)])
	}
	t.Logf("%v", outcomes)
	for _, outcome := range []string{"copied", "damage", "no bolt file"} {
		if outcomes[outcome] == 0 {
			t.Errorf("no case ended with: %s", outcome)
		}
	}
}

// TestRun_DamagedCopy damages the unfinished copy: whatever comes of it, the
// source stays as it is and nothing wrong gets the name of the destination.
func TestRun_DamagedCopy(t *testing.T) {
	for _, from := range bothWays {
		t.Run(string(from), func(t *testing.T) {
			r := seed.Rand(t)
			src, dst := setup(t, from, 2, 600)
			interrupt(t, Options{Source: src, Destination: dst, BatchEntries: 20}, 2)
			unfinished := takeFingerprint(t, dst+Suffix).content
			before := takeFingerprint(t, src)
			want := dump(t, src, from)
			outcomes := map[string]int{}
			cases := 25
			if testing.Short() {
				cases = 8
			}
			for range cases {
				image := append([]byte(nil), unfinished...)
				id := r.IntN(len(image) / 4096)
				if r.IntN(2) == 0 {
					clear(image[id*4096:][:4096])
				} else {
					image[id*4096+r.IntN(4096)] ^= 1 << r.IntN(8)
				}
				if err := os.WriteFile(dst+Suffix, image, 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := run(t, Options{Source: src, Destination: dst}); err != nil {
					outcomes["error"]++
					if _, err := os.Lstat(dst); err == nil {
						t.Fatal("a destination after an error")
					}
					continue
				}
				outcomes["copied"]++
				wantSame(t, dump(t, dst, from.Other())[1:], want[1:])
				if err := os.Remove(dst); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("%v", outcomes)
			wantUntouched(t, src, before)
		})
	}
}
