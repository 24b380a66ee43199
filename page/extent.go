package page

import (
	"fmt"
	"math"
)

// ExtentPages returns how many pages of the given size an extent needs for a
// payload of n bytes.
func ExtentPages(n uint64, pageSize int) int {
	pages := (n + HeaderSize + uint64(pageSize) - 1) / uint64(pageSize)
	if n > math.MaxInt32 || pages > math.MaxInt32 {
		return math.MaxInt32 // no file holds it; the bounds check of the caller refuses it
	}
	return int(pages)
}

// InitExtent makes b, a whole number of pages, an extent of type t for a
// payload of n bytes, and returns where the payload goes. Bytes after it are
// cleared, for they are part of the digest.
func InitExtent(b []byte, t Type, n, pageSize int) []byte {
	initHeader(b, t, 0, len(b)/pageSize)
	le.PutUint64(b[offLength:], uint64(n))
	clear(b[HeaderSize+n:])
	return b[HeaderSize : HeaderSize+n : HeaderSize+n]
}

// Payload returns the n bytes of payload of the extent b, or an error if the
// header says another length.
func Payload(b []byte, n uint64) ([]byte, error) {
	if got := le.Uint64(b[offLength:]); got != n {
		return nil, fmt.Errorf("payload of %d bytes, want %d", got, n)
	}
	return b[HeaderSize : HeaderSize+n : HeaderSize+n], nil
}
