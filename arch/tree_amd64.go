//go:build !purego

package arch

import "math/bits"

// waveChunks is how many chunks are hashed before the trees over them are: a
// power of two. More would not fit into the nearest cache any better than
// their data; fewer leave lanes of the upper levels empty.
const waveChunks = 128

// work is what one hashing goroutine needs. It must not point into pages:
// the pool would keep them alive, or point where no memory is mapped.
type work struct {
	// Kernels read and write whole vectors of lanes, so there is room
	// behind what is in use.
	values [waveChunks + 2*maxLanes]chaining
	stack  [maxStack + 2*maxLanes]chaining
	part   [maxLanes]chaining // results of a kernel whose lanes are not all in use
	tmp    kernelScratch
	other  other // for lengths that the kernels do not serve
}

// maxStack bounds the complete subtrees, no two of one size, that stand side
// by side in a tree, with one on top of them.
const maxStack = 64

// served returns how many chunks data has if the kernel hashes it, or 0.
func (h *Hasher) served(data []byte) int {
	if h.kernel == portable || len(data) < 2*chunkSize || len(data)%chunkSize != 0 {
		return 0
	}
	return len(data) / chunkSize
}

// sumPages sets out[i] to the digest of pages[i].
func (h *Hasher) sumPages(w *work, pages [][]byte, out []Digest) {
	for i := 0; i < len(pages); {
		end, chunks := i, 0
		for end < len(pages) {
			n := h.served(pages[end])
			if n == 0 || chunks+n > waveChunks {
				break
			}
			chunks += n
			end++
		}
		if end == i {
			sum := h.sum(w, pages[i])
			out[i] = Digest(sum[:len(Digest{})])
			i++
			continue
		}
		h.wave(w, pages[i:end], out[i:end])
		i = end
	}
}

// wave is sumPages for pages that the kernel serves and that have
// waveChunks chunks or fewer together. The lanes are filled across pages.
func (h *Hasher) wave(w *work, pages [][]byte, out []Digest) {
	l := lanes{h: h, w: w}
	for _, p := range pages {
		l.add(p, 0)
	}
	l.flush()
	values := w.values[:]
	for len(pages) > 0 {
		n := 1
		for n < len(pages) && len(pages[n]) == len(pages[0]) {
			n++
		}
		perPage := len(pages[0]) / chunkSize
		h.roots(w, values, perPage, out[:n])
		values, pages, out = values[n*perPage:], pages[n:], out[n:]
	}
}

// lanes collects chunks until all lanes have one. Values go to w.values, one
// after the other.
type lanes struct {
	h    *Hasher
	w    *work
	in   [maxLanes]chunk
	n    int // chunks in lanes
	done int // values in w
}

// add takes all chunks of data, the first of which has the given counter.
func (l *lanes) add(data []byte, counter uint64) {
	for ; len(data) >= chunkSize; data = data[chunkSize:] {
		l.in[l.n] = chunk{data: (*[chunkSize]byte)(data), counter: counter}
		counter++
		if l.n++; l.n == maxLanes {
			l.flush()
		}
	}
}

// flush hashes the chunks that are in lanes.
func (l *lanes) flush() {
	if l.n == 0 {
		return
	}
	l.h.kernel.chunks(&l.h.words, &l.in, l.n, &l.w.tmp, (*[maxLanes]chaining)(l.w.values[l.done:]))
	l.done += l.n
	l.n = 0
}

// roots sets out to the digests of pages that have perPage chunks each, two
// or more, with their values side by side. It uses the values up, and reads
// what is behind them.
func (h *Hasher) roots(w *work, values []chaining, perPage int, out []Digest) {
	pairs := len(out) * perPage / 2
	for ; perPage%2 == 0 && perPage > 2; perPage /= 2 {
		h.parents(w, values, pairs, 0)
		pairs /= 2
	}
	if perPage == 2 {
		h.parents(w, values, pairs, flagRoot)
	}
	for i := range out {
		if perPage != 2 {
			h.reduce(w, values[i*perPage:], perPage, flagRoot)
			out[i] = Digest(values[i*perPage][:len(Digest{})])
			continue
		}
		out[i] = Digest(values[i][:len(Digest{})])
	}
}

// sum returns the whole digest of data.
func (h *Hasher) sum(w *work, data []byte) [32]byte {
	if n := h.served(data); n > 0 {
		return h.root(w, data, n)
	}
	return w.other.sum(h, data)
}

// root returns the whole digest of a page of n chunks, two or more. A page
// of many is hashed piece by piece; the values of complete subtrees wait on
// a stack until it is known that they are not the root's children.
func (h *Hasher) root(w *work, data []byte, n int) chaining {
	if n <= waveChunks {
		h.fill(w, data, 0, n)
		h.reduce(w, w.values[:], n, flagRoot)
		return w.values[0]
	}
	depth := 0
	for first := 0; first < n; first += waveChunks {
		for pieces := first / waveChunks; depth > bits.OnesCount(uint(pieces)); depth-- {
			h.parents(w, w.stack[depth-2:], 1, 0)
		}
		count := min(n-first, waveChunks)
		h.fill(w, data, first, count)
		h.reduce(w, w.values[:], count, 0)
		w.stack[depth] = w.values[0]
		depth++
	}
	for ; depth > 2; depth-- {
		h.parents(w, w.stack[depth-2:], 1, 0)
	}
	h.parents(w, w.stack[:], 1, flagRoot)
	return w.stack[0]
}

// fill sets w.values to the values of count chunks from the first on.
func (h *Hasher) fill(w *work, data []byte, first, count int) {
	l := lanes{h: h, w: w}
	l.add(data[first*chunkSize:(first+count)*chunkSize], uint64(first))
	l.flush()
}

// reduce sets values[0] to the value of the subtree over the first n values,
// which are used up. Top is flagRoot if the subtree is the whole tree.
//
// Joining neighbours level by level, and taking one that is left over to the
// next level, gives the shape that BLAKE3 asks for: every left subtree is
// complete, and as large as possible.
func (h *Hasher) reduce(w *work, values []chaining, n int, top uint32) {
	for ; n > 2; n = n/2 + n%2 {
		h.parents(w, values, n/2, 0)
		if n%2 == 1 {
			values[n/2] = values[n-1]
		}
	}
	if n == 2 {
		h.parents(w, values, 1, top)
	}
}

// parents joins pairs of values: values[i] becomes the parent of values[2*i]
// and values[2*i+1], for each of the first n pairs. Flags are added to the
// parents'.
func (h *Hasher) parents(w *work, values []chaining, n int, flags uint32) {
	flags |= flagParent | flagKeyed
	for done := 0; done < n; done += maxLanes {
		count := min(n-done, maxLanes)
		in := (*[2 * maxLanes]chaining)(values[2*done:])
		if count == maxLanes {
			h.kernel.parents(&h.words, in, count, &w.tmp, (*[maxLanes]chaining)(values[done:]), flags)
			continue
		}
		// What is behind the results belongs to others.
		h.kernel.parents(&h.words, in, count, &w.tmp, &w.part, flags)
		copy(values[done:], w.part[:count])
	}
}
