package simdisk

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/lightning-db/lightning/fsync"
)

// Cut says what a power cut does to each piece of what is pending. Pieces are
// the parts of a write in units of a sector or a page; each is written, lost or
// torn by itself, so of several writes to one place any may win. Changes of the
// length keep their order.
type Cut struct {
	Unit  int64  // 512 or 4096
	Sizes int    // so many of the changes of the length got through, the oldest first
	Fates []Fate // of the pieces, in the order of the writes
	Seed  uint64 // of torn pieces
}

// Fate is what becomes of a piece.
type Fate uint8

// The fates.
const (
	Lost    Fate = iota // the medium holds what it held
	Written             // the medium holds the new bytes
	Torn                // it begins new and ends old
	Garbage             // it begins new and ends with neither
)

// String shows the cut shortly: a letter for each piece.
func (c Cut) String() string {
	letters := make([]byte, len(c.Fates))
	for i, f := range c.Fates {
		letters[i] = "-wtg"[f]
	}
	return fmt.Sprintf("units of %d, %d changes of the length, pieces %s", c.Unit, c.Sizes, letters)
}

// pieces returns how many pieces the event has.
func (c Cut) pieces(e Event) int {
	if e.Kind != Write || len(e.Data) == 0 {
		return 0
	}
	last := e.Off + int64(len(e.Data)) - 1
	return int(last/c.Unit - e.Off/c.Unit + 1)
}

// Fits reports whether the cut has a fate for each piece of what is pending.
func (im *Image) Fits(c Cut) bool {
	pieces, sizes := 0, 0
	for _, e := range im.Pending {
		pieces += c.pieces(e)
		if e.Resizes() {
			sizes++
		}
	}
	return pieces == len(c.Fates) && c.Sizes <= sizes
}

// Lacks returns how many pieces do not get through as they were written.
func (c Cut) Lacks() (n int) {
	for _, f := range c.Fates {
		if f != Written {
			n++
		}
	}
	return n
}

// Mend returns the cut with pieces [from, to) written.
func (c Cut) Mend(from, to int) Cut {
	c.Fates = slices.Clone(c.Fates)
	for i := from; i < min(to, len(c.Fates)); i++ {
		c.Fates[i] = Written
	}
	return c
}

// NewCut returns a random power cut. Torn pieces are among it only if torn is
// set. Besides the evenly random there are the cuts that find most: of all
// pieces one lost, or one alone written, metas against pages, and calls as a
// whole.
func (im *Image) NewCut(rng *rand.Rand, torn bool) Cut {
	c := Cut{Unit: 512, Seed: rng.Uint64()}
	if rng.IntN(2) == 0 {
		c.Unit = pageBytes
	}
	total, sizes := 0, 0
	for _, e := range im.Pending {
		total += c.pieces(e)
		if e.Resizes() {
			sizes++
		}
	}
	c.Sizes = rng.IntN(sizes + 1)
	odds := [...]int{0, 1, 20, 50, 80, 95, 100, 100, 0}[rng.IntN(9)] // percent that get through
	calls := rng.IntN(4) == 0                                        // a call gets through as a whole
	odd, oddFate := -1, Lost
	if total > 0 && (odds == 0 || odds == 100) {
		odd = rng.IntN(total)
		if odds == 0 {
			oddFate = Written
		}
		if torn && rng.IntN(4) == 0 {
			oddFate = Torn + Fate(rng.IntN(2))
		}
	}
	metas := rng.IntN(3) // 0: like the rest, 1: all get through, 2: none
	c.Fates = make([]Fate, 0, total)
	for _, e := range im.Pending {
		share := odds
		if e.Op == fsync.OpMetaWrite && metas > 0 {
			share = 100 * (2 - metas)
		}
		if calls && rng.IntN(100) < share {
			share = 100
		} else if calls {
			share = 0
		}
		for range c.pieces(e) {
			switch {
			case len(c.Fates) == odd:
				c.Fates = append(c.Fates, oddFate)
			case torn && rng.IntN(200) == 0:
				c.Fates = append(c.Fates, Torn+Fate(rng.IntN(2)))
			case rng.IntN(100) < share:
				c.Fates = append(c.Fates, Written)
			default:
				c.Fates = append(c.Fates, Lost)
			}
		}
	}
	return c
}

// OddCut returns a power cut in which one page has another fate than the rest,
// and changes of the length got through.
func (im *Image) OddCut(rng *rand.Rand, rest, odd Fate) Cut {
	c := Cut{Unit: pageBytes, Seed: rng.Uint64()}
	for _, e := range im.Pending {
		if e.Resizes() {
			c.Sizes++
		}
		for range c.pieces(e) {
			c.Fates = append(c.Fates, rest)
		}
	}
	if len(c.Fates) > 0 {
		c.Fates[rng.IntN(len(c.Fates))] = odd
	}
	return c
}

// Apply returns the file that the power cut leaves.
func (im *Image) Apply(c Cut) []byte { return im.ApplyTo(nil, c) }

// ApplyTo is Apply into a buffer, whose content is lost. The file lies in the
// buffer if there is room.
func (im *Image) ApplyTo(buf []byte, c Cut) []byte {
	room, sizes := len(im.Medium), c.Sizes
	for _, e := range im.Pending {
		if e.Resizes() && sizes > 0 {
			sizes--
			room = max(room, int(e.Size))
		}
	}
	file := append(slices.Grow(buf[:0], room), im.Medium...)
	piece := 0
	sizes = c.Sizes
	for _, e := range im.Pending {
		if e.Resizes() {
			if sizes > 0 {
				sizes--
				file = resize(file, e.Size)
			}
			continue
		}
		n := c.pieces(e)
		for i, off := 0, e.Off; i < n; i++ {
			end := min((off/c.Unit+1)*c.Unit, e.Off+int64(len(e.Data)))
			if fate := c.Fates[piece+i]; fate != Lost && off < int64(len(file)) {
				in := min(end, int64(len(file)))
				c.write(file[off:in], e.Data[off-e.Off:in-e.Off], fate, piece+i)
			}
			off = end
		}
		piece += n
	}
	return file
}

// write does to the old bytes of a piece what its fate says.
func (c Cut) write(old, data []byte, fate Fate, piece int) {
	if fate == Written {
		copy(old, data)
		return
	}
	rng := rand.New(rand.NewPCG(c.Seed, uint64(piece)))
	at := rng.IntN(len(data) + 1)
	copy(old[:at], data)
	if fate == Garbage {
		for i := at; i < len(old); i++ {
			old[i] = byte(rng.Uint32())
		}
	}
}

// PowerCut returns what a random power cut leaves, see NewCut.
func (im *Image) PowerCut(rng *rand.Rand, torn bool) *Image {
	return Whole(im.Apply(im.NewCut(rng, torn)))
}
