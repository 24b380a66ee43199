//go:build !race

package arch

import "testing"

// Not with the race detector, which makes pools forget.
func TestHasher_NoAllocation(t *testing.T) {
	h := NewHasher(testKey())
	data := pattern(16384)
	pages, out := [][]byte{data, data[1:], data}, make([]Digest, 3)
	for name, fn := range map[string]func(){
		"Sum":     func() { h.Sum(data) },
		"Sum32":   func() { h.Sum32(data) },
		"SumMany": func() { h.SumMany(pages, out) },
	} {
		if n := testing.AllocsPerRun(200, fn); n != 0 {
			t.Errorf("%s: %v allocations per call, want 0", name, n)
		}
	}
}
