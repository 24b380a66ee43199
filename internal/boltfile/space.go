package boltfile

import "math"

const (
	freelistFlag = 0x10
	noFreelist   = math.MaxUint64
	// longCount stands for a count that is in the first 8 bytes.
	longCount = 0xffff
)

// CheckSpace checks that each page of the file is used once or free: a page
// that is both would be overwritten by the next writer. It is for a walk from
// the start that has come to io.EOF, and fails with a *DamageError or an error
// of the file system. A file without a freelist has nothing to check.
func (w *Walker) CheckSpace() error {
	f := w.file
	if f.meta.freelist == noFreelist {
		return nil
	}
	header, err := w.loadFreelist()
	if err != nil {
		return err
	}
	list := header.held[pageHeaderBytes:]
	count := uint64(header.count)
	if count == longCount && len(list) >= 8 {
		count, list = le.Uint64(list), list[8:]
	}
	if count > uint64(len(list)/8) {
		return f.damage(header.page, "the freelist has %d pages, more than fit", count)
	}
	for i := range count {
		page := le.Uint64(list[8*i:])
		if page < 2 || page >= f.meta.end {
			return f.damage(header.page, "the freelist has the page %d, but pages in use are 2 to %d", page, f.meta.end-1)
		}
		if !w.seen.mark(page) {
			return f.damage(page, "it is in use and free, or free twice")
		}
	}
	for page := uint64(2); page < f.meta.end; page++ {
		if w.seen.mark(page) {
			return f.damage(page, "it is neither in use nor free")
		}
	}
	return nil
}

// loadFreelist reads the pages of the freelist whole.
func (w *Walker) loadFreelist() (*node, error) {
	f := w.file
	n, err := f.read(f.meta.freelist, w.seen)
	if err != nil {
		return nil, err
	}
	if flags := le.Uint16(n.held[8:]); flags != freelistFlag {
		return nil, f.damage(n.page, "the flags %#x are not those of a freelist", flags)
	}
	n.held = make([]byte, n.size)
	if err := f.fill(n.held, n.off, n.page); err != nil {
		return nil, err
	}
	n.count = int(le.Uint16(n.held[10:]))
	return n, nil
}
