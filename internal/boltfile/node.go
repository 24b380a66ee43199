package boltfile

import (
	"bytes"
	"io"
	"math"
)

const (
	branchFlag = 0x01
	leafFlag   = 0x02
	bucketFlag = 0x01 // of a leaf's element

	elementBytes      = 16
	bucketHeaderBytes = 16

	// heldBytes is the longest run of pages that is kept in memory whole. Of a
	// longer one only the table is, and keys and values are read one by one.
	heldBytes = 256 << 10
)

// node is a branch or leaf, its geometry checked: the table lies inside, and so
// do all keys and values, behind the table, in order and without overlap.
type node struct {
	file   *File
	page   uint64 // that it begins at or, inline, that it lies in
	off    int64  // in the file; no meaning inline
	size   int64  // bytes, all pages taken together
	held   []byte // its beginning, at least header and table
	branch bool
	count  int
}

// element is one row of the table. Offsets count from the start of the node.
type element struct {
	key, value         int64 // offsets
	keyBytes, valBytes int64
	bucket             bool
	child              uint64 // of a branch
}

// visited marks the pages that a walk has come to.
type visited []uint64

// mark returns false if page is marked already.
func (v visited) mark(page uint64) bool {
	word, bit := page/64, uint64(1)<<(page%64)
	seen := v[word]&bit != 0
	v[word] |= bit
	return !seen
}

// load reads and checks the branch or leaf at page.
func (f *File) load(page uint64, seen visited) (*node, error) {
	n, err := f.read(page, seen)
	if err != nil {
		return nil, err
	}
	hold := n.size
	if hold > heldBytes {
		hold = min(n.size, pageHeaderBytes+elementBytes*int64(le.Uint16(n.held[10:])))
	}
	if header := n.held; hold > int64(len(header)) {
		n.held = make([]byte, hold)
		copy(n.held, header)
		if err := f.fill(n.held[len(header):], n.off+int64(len(header)), page); err != nil {
			return nil, err
		}
	}
	return n, n.check()
}

// read reads the first of the pages that begin at page, and marks all of them.
func (f *File) read(page uint64, seen visited) (*node, error) {
	if page < 2 || page >= f.meta.end {
		return nil, f.damage(page, "a branch or bucket refers to it, but pages in use are 2 to %d", f.meta.end-1)
	}
	n := &node{file: f, page: page, off: int64(page) * f.meta.pageSize}
	header := make([]byte, f.meta.pageSize)
	if err := f.fill(header, n.off, page); err != nil {
		return nil, err
	}
	if id := le.Uint64(header); id != page {
		return nil, f.damage(page, "its header has the number %d", id)
	}
	more := uint64(le.Uint32(header[12:]))
	if more >= f.meta.end-page {
		return nil, f.damage(page, "%d pages belong to it, but the last page is %d", more+1, f.meta.end-1)
	}
	for p := page; p <= page+more; p++ {
		if !seen.mark(p) {
			return nil, f.damage(p, "it is used twice")
		}
	}
	n.size = int64(more+1) * f.meta.pageSize
	n.held = header
	return n, nil
}

// inline returns the leaf that lies in the value of a bucket's element.
func (f *File) inline(page uint64, b []byte) (*node, error) {
	if len(b) < pageHeaderBytes {
		return nil, f.damage(page, "an inline bucket has %d bytes", len(b))
	}
	n := &node{file: f, page: page, size: int64(len(b)), held: b}
	if le.Uint16(b[8:]) != leafFlag {
		return nil, f.damage(page, "an inline bucket has the flags %#x", le.Uint16(b[8:]))
	}
	return n, n.check()
}

// check checks the flags and the table.
func (n *node) check() error {
	switch flags := le.Uint16(n.held[8:]); flags {
	case branchFlag:
		n.branch = true
	case leafFlag:
	default:
		return n.file.damage(n.page, "the flags %#x are not those of a branch or leaf", flags)
	}
	n.count = int(le.Uint16(n.held[10:]))
	end := pageHeaderBytes + elementBytes*int64(n.count)
	if end > int64(len(n.held)) {
		return n.file.damage(n.page, "%d elements do not fit", n.count)
	}
	if n.branch && n.count == 0 {
		return n.file.damage(n.page, "the branch has no children")
	}
	for i := range n.count {
		e := n.element(i)
		if e.key < end || e.key+e.keyBytes+e.valBytes > n.size {
			return n.file.damage(n.page, "element %d has bytes %d to %d, but its place is from %d to %d",
				i, e.key, e.key+e.keyBytes+e.valBytes, end, n.size)
		}
		if flags := le.Uint32(n.held[pageHeaderBytes+elementBytes*i:]); !n.branch && flags&^bucketFlag != 0 {
			return n.file.damage(n.page, "element %d has the flags %#x", i, flags)
		}
		end = e.key + e.keyBytes + e.valBytes
	}
	if n.branch {
		return n.checkBranchKeys()
	}
	return nil
}

func (n *node) checkBranchKeys() error {
	var last []byte
	for i := range n.count {
		key, err := n.key(n.element(i))
		if err != nil {
			return err
		}
		if i > 0 && bytes.Compare(key, last) <= 0 {
			return n.file.damage(n.page, "key %d of the branch is not greater than the one before", i)
		}
		last = key
	}
	return nil
}

// element returns row i of the table.
func (n *node) element(i int) element {
	start := int64(pageHeaderBytes + elementBytes*i)
	b := n.held[start:]
	if n.branch {
		return element{key: start + int64(le.Uint32(b)), keyBytes: int64(le.Uint32(b[4:])), child: le.Uint64(b[8:])}
	}
	e := element{
		key: start + int64(le.Uint32(b[4:])), keyBytes: int64(le.Uint32(b[8:])), valBytes: int64(le.Uint32(b[12:])),
		bucket: le.Uint32(b)&bucketFlag != 0,
	}
	e.value = e.key + e.keyBytes
	return e
}

func (n *node) key(e element) ([]byte, error)   { return n.bytes(e.key, e.keyBytes) }
func (n *node) value(e element) ([]byte, error) { return n.bytes(e.value, e.valBytes) }

// bytes returns size bytes from off on, which lie inside.
func (n *node) bytes(off, size int64) ([]byte, error) {
	if end := off + size; end <= int64(len(n.held)) {
		return n.held[off:end:end], nil
	}
	if size > math.MaxInt {
		return nil, n.file.damage(n.page, "%d bytes are too many for this machine", size)
	}
	b := make([]byte, size)
	return b, n.file.fill(b, n.off+off, n.page)
}

// fill reads p from byte off on. A file that ends before was cut short since.
func (f *File) fill(p []byte, off int64, page uint64) error {
	n, err := f.readAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		return f.damage(page, "the file was cut short while it was read")
	}
	return err
}
