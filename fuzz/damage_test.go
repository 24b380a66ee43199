package fuzz

import (
	"encoding/binary"
	"math"

	"github.com/lightning-db/lightning/page"
)

// damage changes a copy of the seed file as the program says, and returns it.
func damage(f *seedFile, p *program) []byte {
	b := append([]byte(nil), f.bytes...)
	pageSize := newSealer(f.bytes, f.key).pageSize
	for range 16 {
		if p.done() {
			break
		}
		b = damageOnce(b, f, p, pageSize)
	}
	return b
}

// hostile are numbers at the limits of what fields hold.
var hostile = [...]uint64{
	0, 1, 2, 3, 0xff, 1 << 15, math.MaxUint16, math.MaxInt32, 1 << 31, math.MaxUint32, 1 << 32,
	1 << 46, 1<<46 + 1, math.MaxInt64, 1 << 63, math.MaxUint64,
}

func damageOnce(b []byte, f *seedFile, p *program, pageSize int) []byte {
	if len(b) == 0 {
		return b
	}
	switch p.n(12) {
	case 0: // any byte
		b[p.n(len(b))] = p.byte()
	case 1: // a bit
		b[p.n(len(b))] ^= 1 << (p.byte() % 8)
	case 2:
		return b[:p.n(len(b)+1)]
	case 3:
		return append(b, make([]byte, p.n(4*pageSize))...)
	case 4: // a byte of a page in use, near its start or its end
		start := usedPage(f, p, pageSize)
		off := p.n(256)
		if p.byte()%2 == 1 {
			off = pageSize - 1 - off
		}
		set(b, start+int64(off), []byte{p.byte()})
	case 5: // a number in the header of a page in use or in a meta slot
		at := usedPage(f, p, pageSize) + int64(p.n(page.HeaderSize))
		if p.byte()%4 == 0 {
			at = int64(p.n(2)*pageSize + 16 + p.n(240))
		}
		set(b, at, number(p))
	case 6: // a number in a reference
		if at := anyRef(f, p); at > 0 {
			set(b, at+int64(p.n(page.RefSize)), number(p))
		}
	case 7: // a reference leads where another does
		from, to := anyRef(f, p), anyRef(f, p)
		if from > 0 && from+page.RefSize <= int64(len(b)) {
			set(b, to, append([]byte(nil), b[from:from+page.RefSize]...))
		}
	case 8: // a page stands in the place of another
		from, to := usedPage(f, p, pageSize), usedPage(f, p, pageSize)
		if end := from + int64(pageSize); end <= int64(len(b)) {
			set(b, to, append([]byte(nil), b[from:end]...))
		}
	case 9: // one meta slot in the place of the other
		if len(b) >= pageSize+page.MetaSize {
			from := p.n(2) * pageSize
			set(b, int64(pageSize-from), append([]byte(nil), b[from:from+page.MetaSize]...))
		}
	case 10, 11: // a node loses cells, or gets one, and stays a good page
		start := usedPage(f, p, pageSize)
		if start > 0 && start+int64(pageSize) <= int64(len(b)) {
			editNode(b[start:start+int64(pageSize)], f, p)
		}
	}
	return b
}

// editNode changes the page b within what a page can tell: what it says no
// longer agrees with the pages around it.
func editNode(b []byte, f *seedFile, p *program) {
	if t := page.TypeOf(b); t != page.TypeBranch && t != page.TypeLeaf || page.Validate(b) != nil {
		return
	}
	n, first := page.Node(b), 0
	if n.IsBranch() {
		first = 1
	}
	what := p.byte()
	if what%2 == 0 {
		if from := first + p.n(n.Count()); from < n.Count() {
			n.DeleteRange(from, from+1+p.n(n.Count()-from))
		}
		return
	}
	k := page.Key{Bytes: key(p.byte()%225, p.n(256), len(b))}
	var cell []byte
	switch at := anyRef(f, p); {
	case at == 0:
		return
	case n.IsBranch():
		cell = page.AppendBranchCell(nil, k, page.GetRef(f.bytes[at:]))
	case what%8 == 1:
		header := make([]byte, page.BucketSize)
		page.PutBucket(header, page.Bucket{Root: page.GetRef(f.bytes[at:]), Count: 1 + uint64(p.byte())})
		cell = page.AppendLeafCell(nil, page.CellBucket, k, header)
	case what%8 == 3:
		cell = page.AppendBigCell(nil, k, page.MaxInlineValue(len(b))+1+p.n(4*len(b)), page.GetRef(f.bytes[at:]))
	default:
		cell = page.AppendLeafCell(nil, 0, k, value(p.byte()%6, 1, len(b)))
	}
	if i, found := n.Search(k.Bytes); found == page.Absent && n.Room(len(cell)) {
		n.Insert(i, cell, make([]byte, len(b)))
	}
}

// anyRef returns the place of a reference of the seed file, 0 if it has none.
func anyRef(f *seedFile, p *program) int64 {
	if len(f.refs) == 0 {
		return 0
	}
	return f.refs[p.n(len(f.refs))]
}

// usedPage returns where a page begins that a reference leads to.
func usedPage(f *seedFile, p *program, pageSize int) int64 {
	at := anyRef(f, p)
	if at == 0 {
		return 0
	}
	return int64(page.GetRef(f.bytes[at:]).ID) * int64(pageSize)
}

// number returns a number in one of several widths.
func number(p *program) []byte {
	v := uint64(p.byte())
	if v >= 128 {
		v = hostile[v%uint64(len(hostile))]
	}
	b := binary.LittleEndian.AppendUint64(nil, v)
	return b[:1<<p.n(4)]
}

// set overwrites the part of b that exists from offset at.
func set(b []byte, at int64, with []byte) {
	if at >= 0 && at < int64(len(b)) {
		copy(b[at:], with)
	}
}
