//go:build amd64 || arm64

package powerfs

import (
	"math/rand/v2"
	"slices"
)

// file is a regular file.
type file struct {
	ino     uint64
	mode    uint32
	links   uint32   // 1, or 0 once unlinked
	durable []byte   // what no power cut takes away
	medium  []byte   // durable with all pending changes: what reads return
	pending []change // not durable, in the order of the requests
}

// change is a request that no sync has made durable.
type change struct {
	resize bool   // the file becomes end bytes long; otherwise data is written before end
	grows  bool   // the file became longer by what was written
	end    int64  // length of the file, or end of what is written
	data   []byte // never changed
}

func (c change) start() int64 { return c.end - int64(len(c.data)) }

// apply returns b after the change.
func (c change) apply(b []byte) []byte {
	if c.resize {
		return resized(b, c.end)
	}
	b = resized(b, max(c.end, int64(len(b))))
	copy(b[c.start():], c.data)
	return b
}

// resized returns b with n bytes; new ones are zero.
func resized(b []byte, n int64) []byte {
	have := int64(len(b))
	if n <= have {
		return b[:n]
	}
	b = slices.Grow(b, int(n-have))[:n]
	clear(b[have:])
	return b
}

// do is a change that is not durable yet.
func (f *file) do(c change) {
	f.medium = c.apply(f.medium)
	f.pending = append(f.pending, c)
}

func (f *file) write(p []byte, off int64) {
	end := off + int64(len(p))
	f.do(change{grows: end > int64(len(f.medium)), end: end, data: slices.Clone(p)})
}

func (f *file) resize(n int64) {
	if n != int64(len(f.medium)) {
		f.do(change{resize: true, end: n})
	}
}

// sync makes all changes durable.
func (f *file) sync() {
	for _, c := range f.pending {
		f.durable = c.apply(f.durable)
	}
	f.pending = nil
}

// failSync is a sync that fails and loses some of what was written: as on
// Linux, the page cache calls it clean from now on, but no later sync writes it.
// Changes of the length are not lost.
func (f *file) failSync(rng *rand.Rand) {
	var kept []change
	for _, c := range f.pending {
		if c.resize {
			kept = append(kept, c)
			continue
		}
		kept = append(kept, change{grows: c.grows, end: c.end})
		for _, piece := range c.pieces(4096) {
			if rng.IntN(2) == 0 {
				kept = append(kept, piece)
			}
		}
	}
	f.pending = kept
	f.medium = slices.Clone(f.durable)
	for _, c := range kept {
		f.medium = c.apply(f.medium)
	}
}

// pieces cuts what is written at multiples of unit.
func (c change) pieces(unit int64) (all []change) {
	data, at := c.data, c.start()
	for len(data) > 0 {
		n := min(unit-at%unit, int64(len(data)))
		at += n
		all = append(all, change{end: at, data: data[:n]})
		data = data[n:]
	}
	return all
}

// chances are what a power cut does to pending changes.
type chances struct {
	unit    int64   // bytes that are written or lost together, but for torn ones
	whole   bool    // a write is made or lost as a whole
	first   float64 // of the first pending change, or a unit of it, to have been made
	last    float64 // the same of the last; between them in between
	torn    float64 // of a unit kept to be torn
	garbage float64 // of the rest of a torn unit to be neither old nor new
}

func newChances(rng *rand.Rand) chances {
	levels := []float64{0, 0.1, 0.5, 0.9, 1}
	return chances{
		unit:    []int64{512, 4096}[rng.IntN(2)],
		whole:   rng.IntN(2) == 0,
		first:   levels[rng.IntN(len(levels))],
		last:    levels[rng.IntN(len(levels))],
		torn:    []float64{0, 0.1, 0.5}[rng.IntN(3)],
		garbage: []float64{0, 0.5}[rng.IntN(2)],
	}
}

// keep is the chance of change i of n, or a unit of it, to have been made.
func (ch chances) keep(i, n int) float64 {
	return ch.first + (ch.last-ch.first)*float64(i)/float64(max(n-1, 1))
}

// afterCut returns what a power cut leaves of the file. A change that is lost
// leaves what the one before it made, so that losing the later of two
// changes of a unit is the same as making them in reverse order.
func (f *file) afterCut(ch chances, rng *rand.Rand) []byte {
	b := slices.Clone(f.durable)
	for i, c := range f.pending {
		keep := ch.keep(i, len(f.pending))
		if c.resize {
			if rng.Float64() < keep {
				b = c.apply(b)
			}
			continue
		}
		// The length is written apart from the bytes: bytes past a length
		// that was lost are lost, a length whose bytes were lost ends in zeros.
		if c.grows && c.end > int64(len(b)) && rng.Float64() < keep {
			b = resized(b, c.end)
		}
		if ch.whole && rng.Float64() < keep {
			keep = 1
		} else if ch.whole {
			keep = 0
		}
		for _, piece := range c.pieces(ch.unit) {
			if rng.Float64() < keep {
				ch.settle(b, piece, rng)
			}
		}
	}
	return b
}

// settle writes the piece over b, whole or torn, as far as b reaches.
func (ch chances) settle(b []byte, piece change, rng *rand.Rand) {
	at := min(piece.start(), int64(len(b)))
	b = b[at:min(piece.end, int64(len(b)))]
	if rng.Float64() >= ch.torn {
		copy(b, piece.data)
		return
	}
	first, behind := b[:rng.IntN(len(b)+1)], piece.data
	rest := b[len(first):]
	if rng.IntN(2) == 0 { // the end came first
		first, rest = rest, first
		behind = piece.data[len(b)-len(first):]
	}
	copy(first, behind)
	if rng.Float64() < ch.garbage {
		for i := range rest {
			rest[i] = byte(rng.Uint32())
		}
	}
}
