package page

// Room reports whether a cell of the given length fits into n, after
// compaction if need be.
func (n Node) Room(cellLen int) bool { return n.Free() >= cellLen+slotSize }

// SpaceOf returns the bytes that cell i takes with its slot.
func (n Node) SpaceOf(i int) int { return n.Cell(i).end - n.offset(i) + slotSize }

// CellSpace returns the bytes that a cell of the given length takes with its slot.
func CellSpace(cellLen int) int { return cellLen + slotSize }

// Insert puts the cell at index i, moving later ones up. The caller made sure
// of Room; scratch, as long as the page, is used when the heap must be packed.
// cell must not point into n.
func (n Node) Insert(i int, cell, scratch []byte) {
	count := n.Count()
	if n.heap()-(slotsAt+count*slotSize) < len(cell)+slotSize {
		n.pack(scratch)
	}
	off := n.heap() - len(cell)
	copy(n[off:], cell)
	le.PutUint32(n[offHeap:], uint32(off))
	at := slotsAt + i*slotSize
	copy(n[at+slotSize:], n[at:slotsAt+count*slotSize])
	n.setSlot(i, 0, off)
	le.PutUint32(n[offCount:], uint32(count+1))
	n.fitPrefix(i)
}

// Replace puts the cell in place of the one at index i, which has the same
// key. The caller made sure that the page has room for what it is longer.
func (n Node) Replace(i int, cell, scratch []byte) {
	old := n.Cell(i)
	at := n.offset(i)
	if old.end-at >= len(cell) {
		copy(n[at:], cell)
		le.PutUint32(n[offGarbage:], uint32(n.garbage()+old.end-at-len(cell)))
		if i < n.first() {
			n.setHead(i, 0)
		}
		return
	}
	n.Delete(i)
	n.Insert(i, cell, scratch)
}

// ReplaceRoom reports whether cell i can be replaced by one of the given length.
func (n Node) ReplaceRoom(i, cellLen int) bool {
	return n.Free()+n.SpaceOf(i) >= cellLen+slotSize
}

// Delete removes cell i.
func (n Node) Delete(i int) { n.DeleteRange(i, i+1) }

// DeleteRange removes cells [from, to).
func (n Node) DeleteRange(from, to int) {
	count := n.Count()
	for i := from; i < to; i++ {
		off := n.offset(i)
		size := n.Cell(i).end - off
		if off == n.heap() {
			le.PutUint32(n[offHeap:], uint32(off+size))
		} else {
			le.PutUint32(n[offGarbage:], uint32(n.garbage()+size))
		}
	}
	copy(n[slotsAt+from*slotSize:], n[slotsAt+to*slotSize:slotsAt+count*slotSize])
	count -= to - from
	le.PutUint32(n[offCount:], uint32(count))
	if count == 0 {
		n.reset()
	}
}

// reset makes the node empty, keeping type, level, place and birth.
func (n Node) reset() {
	n[offFlags] = 0
	le.PutUint32(n[offCount:], 0)
	le.PutUint32(n[offHeap:], uint32(len(n)))
	le.PutUint32(n[offGarbage:], 0)
	le.PutUint16(n[offPrefix:], 0)
}

// pack rebuilds the node without garbage and with its longest prefix.
func (n Node) pack(scratch []byte) {
	src := Node(scratch[:len(n)])
	copy(src, n)
	n.reset()
	n.AppendFrom(src, 0, src.Count())
}

// CopyTo writes the node to dst, as long as n, with its cells in the order of
// their keys and without garbage: walks over the page then read its memory in order,
// and what was deleted is gone from it.
func (n Node) CopyTo(dst Node) {
	count := n.Count()
	at := len(n) - (n.Used() - slotsAt - count*slotSize)
	slotsEnd := slotsAt + count*slotSize
	copy(dst, n[:slotsEnd])
	clear(dst[slotsEnd:at])
	le.PutUint32(dst[offHeap:], uint32(at))
	le.PutUint32(dst[offGarbage:], 0)
	for i := range count {
		from := n.offset(i)
		size := copy(dst[at:], n[from:n.Cell(i).end])
		le.PutUint16(dst[slotsAt+i*slotSize+headBytes:], uint16(at))
		at += size
	}
}

// AppendFrom appends cells [from, to) of src, which fit and are greater than
// what n holds, and gives n its longest prefix. src must not overlap n.
func (n Node) AppendFrom(src Node, from, to int) {
	count, heap := n.Count(), n.heap()
	for i := from; i < to; i++ {
		raw := src.Raw(i)
		heap -= len(raw)
		copy(n[heap:], raw)
		n.setSlot(count, 0, heap)
		count++
	}
	le.PutUint32(n[offCount:], uint32(count))
	le.PutUint32(n[offHeap:], uint32(heap))
	n.refit()
}

// fitPrefix gives slot i, just filled, its head, and shortens the prefix of
// the page if the new key does not share all of it.
func (n Node) fitPrefix(i int) {
	c := n.Cell(i)
	if n.Count()-n.first() <= 1 || (n.IsBranch() && i == 0) {
		n.refit() // at index 0 of a branch the key that stood there joins the order
		return
	}
	known := c.Known()
	other := n.first()
	if other == i {
		other++
	}
	p := min(n.prefix(), commonPrefix(known, n.Cell(other).Known()))
	if c.IsLong() {
		n[offFlags] |= flagLong
		p = min(p, maxLongPrefix)
	}
	if p < n.prefix() {
		n.setPrefix(p)
		return
	}
	n.setHead(i, headOf(known[p:]))
}

// refit recomputes the longest prefix from the first and last key.
func (n Node) refit() {
	first, count := n.first(), n.Count()
	if count <= first {
		n.setPrefix(0)
		return
	}
	long := false
	for i := first; i < count && !long; i++ {
		long = n[n.offset(i)]&CellLongKey != 0
	}
	p := commonPrefix(n.Cell(first).Known(), n.Cell(count-1).Known())
	n[offFlags] &^= flagLong
	if long {
		n[offFlags] |= flagLong
		p = min(p, maxLongPrefix)
	}
	n.setPrefix(p)
}

func (n Node) setPrefix(p int) {
	le.PutUint16(n[offPrefix:], uint16(p))
	first := n.first()
	for i := range n.Count() {
		if i < first {
			n.setHead(i, 0)
			continue
		}
		// Where damaged neighbours were merged, keys are out of order and one may
		// be shorter than what first and last share: Validate will refuse the page.
		known := n.Cell(i).Known()
		n.setHead(i, headOf(known[min(p, len(known)):]))
	}
}

func commonPrefix(a, b []byte) int {
	m := min(len(a), len(b))
	for i := range m {
		if a[i] != b[i] {
			return i
		}
	}
	return m
}

// SplitPoint returns the index at which n, with a cell of the given length
// inserted at index at, is split so that the left part holds about fill of its
// bytes, and so that both parts fit into a page and neither is empty. Index
// counts the new cell.
func (n Node) SplitPoint(at, cellLen int, fill float64) int {
	total := CellSpace(cellLen)
	count := n.Count() + 1
	size := func(i int) int {
		switch {
		case i < at:
			return n.SpaceOf(i)
		case i == at:
			return CellSpace(cellLen)
		}
		return n.SpaceOf(i - 1)
	}
	for i := range count - 1 {
		total += n.SpaceOf(i)
	}
	room := len(n) - HeaderSize
	want := int(float64(room) * fill)
	left := size(0)
	i := 1
	for ; i < count-1; i++ {
		next := left + size(i)
		if next > room || (next > want && total-left <= room) {
			break
		}
		left = next
	}
	return i
}

// AppendInline appends to dst a packed leaf image of n's cells for a bucket
// cell.
func (n Node) AppendInline(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, n.Used())...)
	image := Node(dst[start:])
	initHeader(image, TypeInline, 0, 0)
	le.PutUint32(image[offHeap:], uint32(len(image)))
	image.AppendFrom(n, 0, n.Count())
	return dst
}

// Reserve packs the node if its free bytes are not contiguous enough for
// AppendFrom with n bytes of cells and slots.
func (n Node) Reserve(need int, scratch []byte) {
	if n.heap()-(slotsAt+n.Count()*slotSize) < need {
		n.pack(scratch)
	}
}
