//go:build !amd64 || purego

package arch

// work is what one hashing goroutine needs.
type work struct{ other other }

func (h *Hasher) sum(w *work, data []byte) [32]byte { return w.other.sum(h, data) }

// sumPages sets out[i] to the digest of pages[i].
func (h *Hasher) sumPages(w *work, pages [][]byte, out []Digest) {
	for i, p := range pages {
		sum := h.sum(w, p)
		out[i] = Digest(sum[:len(Digest{})])
	}
}
