package page

import (
	"encoding/binary"
	"fmt"
)

// The map of free pages on disk is a tree of bitmaps (one bit a page, 1 =
// free, bit i in byte i/8, lowest bit first), as of some transaction, and a
// log of what was allocated and freed since. The newest part of the log is in
// the meta page, older parts in a chain of log pages.

// SpaceChunk returns how many pages one bitmap describes.
func SpaceChunk(pageSize int) int { return (pageSize - HeaderSize) * 8 }

// InitSpaceLeaf makes b a bitmap page and returns where the bits go.
func InitSpaceLeaf(b []byte) []byte {
	initHeader(b, TypeSpaceLeaf, 0, 1)
	return b[HeaderSize:]
}

// SpaceBits returns the bits of the bitmap page b.
func SpaceBits(b []byte) []byte { return b[HeaderSize:] }

// SpaceIndex is a page of references to bitmaps (level 1) or to lower indexes.
type SpaceIndex []byte

// SpaceEntry describes one child of a SpaceIndex. A zero Ref stands for a
// range without free pages.
type SpaceEntry struct {
	Ref    Ref
	Free   uint32 // free pages below a level 1 entry; 0 above
	MaxRun uint32 // longest free run below a level 1 entry; 0 above
}

const spaceEntrySize = RefSize + 8

// SpaceFanout returns how many entries a space index has at the most.
func SpaceFanout(pageSize int) int { return (pageSize - HeaderSize) / spaceEntrySize }

// InitSpaceIndex makes b a space index of the given level, 1 or more, with
// the entries.
func InitSpaceIndex(b []byte, level int, entries []SpaceEntry) {
	clear(b)
	initHeader(b, TypeSpaceIndex, level, 1)
	le.PutUint32(b[offCount:], uint32(len(entries)))
	for i, e := range entries {
		at := HeaderSize + i*spaceEntrySize
		PutRef(b[at:], e.Ref)
		le.PutUint32(b[at+RefSize:], e.Free)
		le.PutUint32(b[at+RefSize+4:], e.MaxRun)
	}
}

// Count returns the number of entries.
func (s SpaceIndex) Count() int { return int(le.Uint32(s[offCount:])) }

// Entry returns entry i.
func (s SpaceIndex) Entry(i int) SpaceEntry {
	at := HeaderSize + i*spaceEntrySize
	return SpaceEntry{GetRef(s[at:]), le.Uint32(s[at+RefSize:]), le.Uint32(s[at+RefSize+4:])}
}

func (s SpaceIndex) validate() error {
	if LevelOf(s) < 1 {
		return fmt.Errorf("space index at level 0")
	}
	if s.Count() < 1 || s.Count() > SpaceFanout(len(s)) {
		return fmt.Errorf("space index of %d entries", s.Count())
	}
	for i := range s.Count() {
		e := s.Entry(i)
		if _, pending := e.Ref.Pending(); pending || e.Ref.ID == 1 || e.Ref.Birth > BirthOf(s) {
			return fmt.Errorf("entry %d: reference to page %d born in %d", i, e.Ref.ID, e.Ref.Birth)
		}
	}
	return nil
}

// SpaceRecord says that a run of pages was freed or allocated.
type SpaceRecord struct {
	Start ID
	Pages uint64
	Freed bool
}

// AppendSpaceRecord appends the encoded record to a log: {start uvarint,
// pages<<1|freed uvarint}.
func AppendSpaceRecord(log []byte, r SpaceRecord) []byte {
	log = binary.AppendUvarint(log, uint64(r.Start))
	n := r.Pages << 1
	if r.Freed {
		n |= 1
	}
	return binary.AppendUvarint(log, n)
}

// ReadSpaceLog calls fn for each record of the log, oldest first, until fn
// fails. The log may be any bytes.
func ReadSpaceLog(log []byte, fn func(SpaceRecord) error) error {
	for len(log) > 0 {
		start, k := binary.Uvarint(log)
		if k <= 0 {
			return fmt.Errorf("space log ends within a record")
		}
		n, m := binary.Uvarint(log[k:])
		if m <= 0 {
			return fmt.Errorf("space log ends within a record")
		}
		log = log[k+m:]
		r := SpaceRecord{ID(start), n >> 1, n&1 != 0}
		if r.Start < 2 || r.Pages == 0 || r.Start+ID(r.Pages) < r.Start {
			return fmt.Errorf("space log names pages %d+%d", r.Start, r.Pages)
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

// SpaceLogCapacity returns how many bytes of records one log page holds.
func SpaceLogCapacity(pageSize int) int { return pageSize - HeaderSize - RefSize }

// InitSpaceLog makes b a log page with the records, whose older part is prev.
func InitSpaceLog(b []byte, prev Ref, records []byte) {
	p := InitExtent(b, TypeSpaceLog, RefSize+len(records), len(b))
	PutRef(p, prev)
	copy(p[RefSize:], records)
}

// SpaceLog returns the reference to the older part and the records of the log
// page b.
func SpaceLog(b []byte) (prev Ref, records []byte, err error) {
	p, err := Payload(b, le.Uint64(b[offLength:]))
	if err != nil {
		return Ref{}, nil, err
	}
	if len(p) < RefSize {
		return Ref{}, nil, fmt.Errorf("space log of %d bytes", len(p))
	}
	return GetRef(p), p[RefSize:], nil
}

// SetSpaceLogPrev writes the reference to the older part of the log page b,
// known only when that part is placed.
func SetSpaceLogPrev(b []byte, prev Ref) { PutRef(b[HeaderSize:], prev) }
