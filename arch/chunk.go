package arch

// ChunkSize is the length in bytes of the chunks that BLAKE3 hashes on
// their own; the tree over their values gives the digest.
const ChunkSize = 1024

// Chaining is what BLAKE3 makes of a chunk, or of a subtree of chunks. It
// depends on the key and on the chunk's place in its page.
type Chaining [32]byte

// Chunk is one chunk of a page.
type Chunk struct {
	Data    *[ChunkSize]byte
	Counter uint64 // chunks before this one in its page
}

// SumChunks sets out[i] to the value of chunks[i]. The chunks may lie
// anywhere and belong to different pages; many in one call are several times
// as fast as one by one. Out must be as long as chunks or longer; SumChunks
// panics when it is not.
//
// Together with Combine it serves pages of which a part becomes known late:
// the values of the other chunks can be computed before, in one batch.
func (h *Hasher) SumChunks(chunks []Chunk, out []Chaining) {
	if len(out) < len(chunks) {
		panic("arch: SumChunks: out is shorter than chunks")
	}
	w := h.get()
	for len(chunks) >= maxLanes {
		h.kernel.chunks(&h.words, (*[maxLanes]Chunk)(chunks), maxLanes, &w.tmp, (*[maxLanes]Chaining)(out))
		chunks, out = chunks[maxLanes:], out[maxLanes:]
	}
	if len(chunks) > 0 {
		var in [maxLanes]Chunk
		copy(in[:], chunks)
		h.kernel.chunks(&h.words, &in, len(chunks), &w.tmp, (*[maxLanes]Chaining)(w.values[:]))
		copy(out, w.values[:len(chunks)])
	}
	h.pool.Put(w)
}

// Combine returns the digest of a page from the values of all its chunks, in
// their order: the same as Sum of the page. A page has two chunks or more;
// Combine panics when it is given fewer.
func (h *Hasher) Combine(values []Chaining) Digest {
	wantChunks(len(values))
	w := h.get()
	root := h.root(w, source{values: values}, len(values))
	h.pool.Put(w)
	return Digest(root[:len(Digest{})])
}

// CombineMany sets out[i] to the digest of the page whose chunks have the
// values from values[i*perPage] on: Combine for many pages of one size, and
// faster. A page has two chunks or more. CombineMany panics when values are
// not perPage for each element of out.
func (h *Hasher) CombineMany(values []Chaining, perPage int, out []Digest) {
	wantChunks(perPage)
	if len(values) != perPage*len(out) {
		panic("arch: CombineMany: values and out do not match")
	}
	w := h.get()
	for atOnce := waveChunks / perPage; len(out) > 0; {
		if atOnce == 0 {
			root := h.root(w, source{values: values}, perPage)
			out[0] = Digest(root[:len(Digest{})])
			values, out = values[perPage:], out[1:]
			continue
		}
		n := min(atOnce, len(out))
		copy(w.values[:], values[:n*perPage])
		h.roots(w, w.values[:], perPage, out[:n])
		values, out = values[n*perPage:], out[n:]
	}
	h.pool.Put(w)
}

func wantChunks(n int) {
	if n < 2 {
		panic("arch: a page to combine has fewer than two chunks")
	}
}
