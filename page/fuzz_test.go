package page

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// FuzzValidate takes any bytes as an extent: head at its start, tail at its
// end and zeros between. It proves that Validate takes anything, and that what
// it accepts, of whatever type, can be read in every way, searched, and edited
// and split in copies that are valid again. Ten minutes of it:
//
//	go test ./page -run '^$' -fuzz '^FuzzValidate$' -fuzztime=10m
func FuzzValidate(f *testing.F) {
	g := &generator{Rand: rand.New(rand.NewPCG(1, 1)), size: MinSize}
	for level := range 2 {
		n, _ := g.fill(level, 4)
		f.Add(uint8(0), []byte(n[:HeaderSize+n.Count()*slotSize]), []byte(n[n.heap():]))
	}
	pages := samplePages(g)
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		b := pages[name]
		head := len(bytes.TrimRight(b[:len(b)/2], "\x00"))
		f.Add(uint8(len(b)/MinSize-1)*5, b[:head], bytes.TrimLeft(b[len(b)/2:], "\x00"))
	}
	f.Fuzz(func(t *testing.T, sizeLog uint8, head, tail []byte) {
		size := MinSize << (sizeLog % 5)
		b := make([]byte, size*(1+int(sizeLog/5%3))) // big values and long keys have several pages
		copy(b[max(0, len(b)-len(tail)):], tail)
		copy(b, head)
		g := &generator{Rand: rand.New(rand.NewPCG(uint64(len(head)), uint64(len(tail)))), size: size}
		exercise(t, g, b)
		exercise(t, g, b[:min(len(head), len(b))])
	})
}

// FuzzDamagedPage changes a valid extent of each type and page size in some
// bytes and numbers, and proves of it what FuzzValidate proves of any bytes.
// With repair, a node's count of garbage, prefix and heads follow the change,
// as those of a forger would, so that it is not refused for these alone. Ten
// minutes of it:
//
//	go test ./page -run '^$' -fuzz '^FuzzDamagedPage$' -fuzztime=10m
func FuzzDamagedPage(f *testing.F) {
	for kind := range uint8(9) {
		f.Add(kind, kind, uint16(kind), false, []byte{})
		f.Add(kind, uint8(0), uint16(kind)+9, true, []byte{0, 24, 1, 1, 4, 2, 2, 9, 7})
	}
	f.Fuzz(func(t *testing.T, kind, sizeLog uint8, seed uint16, repair bool, edits []byte) {
		edits = edits[:min(len(edits), 96)] // damage enough; more hides each other
		g := &generator{Rand: rand.New(rand.NewPCG(uint64(seed), 1)), size: MinSize << (sizeLog % 5)}
		pages := samplePages(g)
		b := pages[slices.Sorted(maps.Keys(pages))[int(kind)%len(pages)]]
		for ; len(edits) >= 3; edits = edits[3:] {
			damagePage(b, edits[0], edits[1], edits[2])
		}
		if repair {
			repairNode(Node(b), g.size)
		}
		exercise(t, g, b)
	})
}

// damagePage changes one place of the extent b, as three bytes say.
func damagePage(b []byte, what, at, v byte) {
	put := func(at int, wide bool) {
		if at < 0 || at >= len(b) {
			return
		}
		if b[at] = v; wide && at+8 <= len(b) {
			le.PutUint64(b[at:], extremes[int(v)%len(extremes)])
		}
	}
	n := Node(b)
	wide, nodes := what >= 128, TypeOf(b) == TypeBranch || TypeOf(b) == TypeLeaf
	switch what % 4 {
	case 0:
		put(int(at)%HeaderSize, wide)
	case 1: // a slot, or what stands behind the header of other types
		put(HeaderSize+int(at), wide)
	case 2: // a cell's flags, lengths and the start of its key
		if count := n.Count(); nodes && count > 0 && count <= (len(b)-slotsAt)/slotSize {
			put(n.offset(int(at)%count)+int(what/4%16), wide)
		}
	case 3:
		put(len(b)-1-int(at), false)
	}
}

var extremes = [...]uint64{0, 1, 2, 1 << 15, 1<<16 - 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1}

// repairNode makes garbage, prefix and heads of a node agree with its cells,
// if these can be read.
func repairNode(n Node, pageSize int) {
	count, heap := n.Count(), n.heap()
	if t := TypeOf(n); t != TypeBranch && t != TypeLeaf || count < 0 || heap < 0 || heap > len(n) || count > (len(n)-slotsAt)/slotSize {
		return
	}
	live := 0
	for i := range count {
		size, err := n.validateCell(i, pageSize)
		if err != nil {
			return
		}
		live += size
	}
	le.PutUint32(n[offGarbage:], uint32(len(n)-heap-live))
	n.refit()
}

// FuzzSpaceLog takes any bytes as the log of the space map. It proves that what
// is read are possible records, and that they survive being written again. Ten
// minutes of it:
//
//	go test ./page -run '^$' -fuzz '^FuzzSpaceLog$' -fuzztime=10m
func FuzzSpaceLog(f *testing.F) {
	f.Add([]byte{})
	f.Add(AppendSpaceRecord(AppendSpaceRecord(nil, SpaceRecord{2, 1, true}), SpaceRecord{1 << 40, 1 << 20, false}))
	f.Fuzz(func(t *testing.T, log []byte) {
		var again []byte
		stop := errors.New("stop")
		records := 0
		err := ReadSpaceLog(log, func(r SpaceRecord) error {
			if r.Start < 2 || r.Pages == 0 || r.Start+ID(r.Pages) < r.Start {
				t.Fatalf("impossible record %+v", r)
			}
			again = AppendSpaceRecord(again, r)
			records++
			return nil
		})
		if err != nil {
			return
		}
		if len(again) > len(log) {
			t.Fatalf("%d bytes of log read as %d", len(log), len(again))
		}
		var twice []byte
		if err := ReadSpaceLog(again, func(r SpaceRecord) error { twice = AppendSpaceRecord(twice, r); return nil }); err != nil || !bytes.Equal(again, twice) {
			t.Fatalf("log does not survive a round trip: %v", err)
		}
		if records > 0 {
			if err := ReadSpaceLog(log, func(SpaceRecord) error { return stop }); err != stop {
				t.Fatalf("error of the function is lost: %v", err)
			}
		}
	})
}
