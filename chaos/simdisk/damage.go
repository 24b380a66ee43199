package simdisk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Damage that no order of writes and syncs protects from. A database can only
// notice it.

// Alter is what a device that lies does with one event.
type Alter struct {
	at    int
	event func(e Event) (Event, bool) // false: nothing
}

// LoseWrite returns a device that acknowledges the write of number n and the
// syncs after it, and never stores it.
func LoseWrite(n int) Alter {
	return Alter{n, func(e Event) (Event, bool) { return e, false }}
}

// Misdirect returns a device that stores the write of number n at another
// offset, and nothing where it belongs.
func Misdirect(n int, off int64) Alter {
	return Alter{n, func(e Event) (Event, bool) {
		e.Off = off
		return e, true
	}}
}

// Rot damages the file, and returns it and what was done to it: bits that
// turned, sectors or pages that hold zeros, noise or the bytes of another
// place, two places exchanged, or a tail that is gone. At least one page of the
// given size stays, and whole pages do.
func Rot(file []byte, pageSize int, rng *rand.Rand) ([]byte, string) {
	unit := [...]int{512, pageSize}[rng.IntN(2)]
	place := func() (int, []byte) {
		at := rng.IntN(len(file)/unit) * unit
		return at, file[at : at+unit]
	}
	switch rng.IntN(9) {
	case 0, 1, 2:
		n := 1 + rng.IntN(3)*rng.IntN(3)
		at, b := place()
		for range n {
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		}
		return file, fmt.Sprintf("%d bits turned in the %d bytes at %d", n, unit, at)
	case 3:
		at, b := place()
		clear(b)
		return file, fmt.Sprintf("zeros in the %d bytes at %d", unit, at)
	case 4:
		at, b := place()
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return file, fmt.Sprintf("noise in the %d bytes at %d", unit, at)
	case 5:
		at, b := place()
		from, other := place()
		copy(b, other)
		return file, fmt.Sprintf("the %d bytes at %d hold those of %d", unit, at, from)
	case 6:
		at, b := place()
		from, other := place()
		was := slices.Clone(b)
		copy(b, other)
		copy(other, was)
		return file, fmt.Sprintf("the %d bytes at %d and %d exchanged", unit, at, from)
	}
	used := len(bytes.TrimRight(file, "\x00"))
	size := pageSize + rng.IntN(len(file)-pageSize+1)
	if rng.IntN(2) == 0 {
		size = used - rng.IntN(16*pageSize)
	}
	size = max(size/pageSize, 1) * pageSize
	return file[:size], fmt.Sprintf("cut to %d bytes", size)
}
