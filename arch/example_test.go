package arch_test

import (
	"fmt"

	"github.com/lightning-db/lightning/arch"
)

// The second chunk of a page holds another page's digest, so its value is
// computed last; the others do not wait for it.
func ExampleHasher_Combine() {
	h := arch.NewHasher(arch.Key{})
	leaf, branch := make([]byte, 4096), make([]byte, 4096)

	chunk := func(page []byte, i int) arch.Chunk {
		return arch.Chunk{Data: (*[arch.ChunkSize]byte)(page[i*arch.ChunkSize:]), Counter: uint64(i)}
	}
	var early []arch.Chunk
	for _, i := range []int{0, 1, 2, 3} {
		early = append(early, chunk(leaf, i))
	}
	for _, i := range []int{0, 2, 3} {
		early = append(early, chunk(branch, i))
	}
	values := make([]arch.Chaining, len(early))
	h.SumChunks(early, values)

	digest := h.Combine(values[:4])
	copy(branch[1024:], digest[:])
	late := make([]arch.Chaining, 1)
	h.SumChunks([]arch.Chunk{chunk(branch, 1)}, late)
	root := h.Combine([]arch.Chaining{values[4], late[0], values[5], values[6]})
	fmt.Println(digest == h.Sum(leaf), root == h.Sum(branch))
	// Output: true true
}
