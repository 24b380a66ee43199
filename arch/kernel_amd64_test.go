//go:build !purego

package arch

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
)

// The assembly counts on these numbers, see gen/main.go.
func TestKernel_Layouts(t *testing.T) {
	c := reflect.TypeFor[chunk]()
	counter, _ := c.FieldByName("counter")
	if c.Size() != 16 || counter.Offset != 8 || reflect.TypeFor[chaining]().Size() != 32 || chunkSize != 1024 {
		t.Errorf("a chunk has %d bytes, its counter is at %d", c.Size(), counter.Offset)
	}
}

// The kernels align their scratch memory themselves and stay in it.
func TestKernel_Scratch(t *testing.T) {
	const around = 64
	chunks := [maxLanes]chunk{}
	for i := range chunks {
		chunks[i].data = new([chunkSize]byte)
	}
	forKernels(t, func(t *testing.T, h *Hasher) {
		if h.kernel == portable {
			return
		}
		for _, n := range []int{4, 8, 16, maxLanes} {
			for shift := range 64 {
				memory := slices.Repeat([]byte{0xA5}, around+shift+len(kernelScratch{})+around)
				tmp := (*kernelScratch)(memory[around+shift:])
				var values [2 * maxLanes]chaining
				h.kernel.chunks(&h.words, &chunks, n, tmp, (*[maxLanes]chaining)(values[:]))
				h.kernel.parents(&h.words, &values, n, tmp, (*[maxLanes]chaining)(values[:]), flagParent)
				clear(tmp[:])
				if bytes.Count(memory, []byte{0xA5}) != 2*around+shift {
					t.Fatalf("%d lanes, shift %d: memory beside the scratch memory was written", n, shift)
				}
			}
		}
	})
}
