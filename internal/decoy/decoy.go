// Package decoy makes values that look like what they are not. It is for tests.
package decoy

import "github.com/lightning-db/lightning/page"

// TB is what Slots needs of a testing.TB.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Slots puts meta slots into a value whose first byte stands at start in a file without integrity
// key: one wherever a file with pages of some size has its slot 1. Each is valid, and speaks of a
// database without pages that is newer than any.
func Slots(t TB, value []byte, start int) {
	t.Helper()
	hasher, check := page.Keys(nil, [16]byte{})
	made := 0
	for size := page.MinSize; size <= page.MaxSize; size *= 2 {
		if at := size - start; at >= 0 && at+page.MetaSize <= len(value) {
			page.EncodeMeta(value[at:], &page.Meta{PageSize: size, KeyCheck: check, TxID: 1 << 40, DurableTx: 1 << 40, End: 2}, hasher)
			made++
		}
	}
	if start < 0 || made == 0 {
		t.Fatalf("the value begins at %d: no slot fits in", start)
	}
}
