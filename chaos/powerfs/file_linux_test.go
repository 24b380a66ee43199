//go:build amd64 || arm64

package powerfs

import (
	"bytes"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

// rng returns the random numbers of a test, which tells their seed; they
// need no replay, the failure's message has what was found.
func rng(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// scribble makes n random changes, each of a byte value of its own.
func scribble(f *file, n int, rng *rand.Rand) {
	for i := range n {
		if rng.IntN(5) == 0 {
			f.resize(int64(rng.IntN(40000)))
			continue
		}
		f.write(bytes.Repeat([]byte{byte(i + 1)}, 1+rng.IntN(10000)), int64(rng.IntN(30000)))
	}
}

func TestFile_AfterCut_KeepsWhatWasSynced(t *testing.T) {
	rng := rng(t)
	for range 200 {
		f := &file{}
		scribble(f, 10, rng)
		want := bytes.Clone(f.medium)
		f.sync()
		if got := f.afterCut(newChances(rng), rng); !bytes.Equal(got, want) || !bytes.Equal(f.medium, want) {
			t.Fatalf("a cut after a sync left %d bytes, want %d, or others", len(got), len(want))
		}
	}
}

func TestFile_AfterCut_Bounds(t *testing.T) {
	rng := rng(t)
	for range 200 {
		f := &file{}
		scribble(f, 10, rng)
		f.sync()
		durable := bytes.Clone(f.medium)
		scribble(f, 10, rng)
		if got := f.afterCut(chances{unit: 512}, rng); !bytes.Equal(got, durable) {
			t.Fatal("a cut that loses everything left something")
		}
		if got := f.afterCut(chances{unit: 512, first: 1, last: 1}, rng); !bytes.Equal(got, f.medium) {
			t.Fatal("a cut that loses nothing lost something")
		}
	}
}

// Between the bounds each unit is old or new as a whole, if none is torn, and
// both occur.
func TestFile_AfterCut_Units(t *testing.T) {
	rng := rng(t)
	const size, unit = 64 << 10, 4096
	f := &file{}
	f.write(bytes.Repeat([]byte{1}, size), 0)
	f.sync()
	f.write(bytes.Repeat([]byte{2}, size), 0)
	whole, torn := chances{unit: unit, first: 0.5, last: 0.5}, chances{unit: unit, first: 1, last: 1, torn: 1, garbage: 1}
	seen := map[byte]bool{}
	for range 50 {
		b := f.afterCut(whole, rng)
		for off := 0; off < size; off += unit {
			if got := b[off : off+unit]; !bytes.Equal(got, bytes.Repeat(got[:1], unit)) {
				t.Fatalf("the unit at %d is torn", off)
			}
			seen[b[off]] = true
		}
	}
	if !seen[1] || !seen[2] || len(seen) != 2 {
		t.Errorf("units after cuts: %v, want old and new ones", seen)
	}
	if b := f.afterCut(torn, rng); len(b) != size || bytes.Count(b, []byte{2}) == size || bytes.Count(b, []byte{2}) < unit {
		t.Error("units that are all torn are whole, or all lost")
	}
}

func TestFile_FailSync(t *testing.T) {
	rng := rng(t)
	const size = 256 << 10
	f := &file{}
	f.write(bytes.Repeat([]byte{1}, size), 0)
	f.failSync(rng)
	if f.durable != nil || len(f.medium) != size {
		t.Fatalf("%d bytes are durable, the file has %d; want 0 and %d", len(f.durable), len(f.medium), size)
	}
	kept := bytes.Count(f.medium, []byte{1})
	if kept == 0 || kept == size {
		t.Errorf("a failed sync kept %d of %d bytes", kept, size)
	}
	want := bytes.Clone(f.medium)
	f.sync()
	if !bytes.Equal(f.durable, want) {
		t.Error("a sync after a failed one brought back what was lost")
	}
}

func TestDirectory_AfterCut(t *testing.T) {
	rng := rng(t)
	d := newDirectory()
	a, b := &file{links: 1}, &file{links: 1}
	d.do(entryChange{add: "a", file: a})
	d.sync()
	d.do(entryChange{add: "b", file: b})
	d.do(entryChange{remove: "b", add: "a", file: b})
	if a.links != 0 || b.links != 1 || len(d.names) != 1 {
		t.Fatalf("after a rename: links %d and %d, names %v", a.links, b.links, d.names)
	}
	seen := map[string]bool{}
	for range 100 {
		names := d.afterCut(chances{first: 0.5, last: 0.5}, rng)
		switch {
		case names["a"] == a && names["b"] == nil:
			seen["nothing"] = true
		case names["a"] == a && names["b"] == b:
			seen["created"] = true
		case names["a"] == b && names["b"] == nil:
			seen["renamed"] = true
		default:
			t.Fatalf("a cut left %v", names)
		}
	}
	if len(seen) != 3 {
		t.Errorf("cuts left %v, want all three", seen)
	}
}

func TestFS_CountsToFaultsAndCuts(t *testing.T) {
	c := countdown{
		faults: []Fault{{OpSync, 2, syscall.EIO}, {OpAny, 4, syscall.ENOSPC}},
		cut:    &Cut{Op: OpWrite, N: 2},
	}
	for i, step := range []struct {
		op  Op
		err syscall.Errno
		cut bool
	}{
		{OpSync, 0, false}, {OpWrite, 0, false}, {OpSync, syscall.EIO, false}, {OpWrite, syscall.ENOSPC, true},
		{OpSync, 0, false}, {OpWrite, 0, false}, {OpSync, 0, false}, {OpWrite, 0, false},
	} {
		if err, cut := c.count(step.op); err != step.err || (cut != nil) != step.cut {
			t.Errorf("request %d, a %v: got error %v, cut %v; want %v, %t", i, step.op, err, cut, step.err, step.cut)
		}
	}
}
