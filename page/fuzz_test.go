package page

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// FuzzValidate takes any bytes as a page: head at its start, tail at its end
// and zeros between.
func FuzzValidate(f *testing.F) {
	g := &generator{Rand: rand.New(rand.NewPCG(1, 1)), size: MinSize}
	for level := range 2 {
		n, _ := g.fill(level, 4)
		f.Add(uint8(0), []byte(n[:HeaderSize+n.Count()*slotSize]), []byte(n[n.heap():]))
	}
	f.Fuzz(func(t *testing.T, sizeLog uint8, head, tail []byte) {
		size := MinSize << (sizeLog % 5)
		b := make([]byte, size)
		copy(b[max(0, size-len(tail)):], tail)
		copy(b, head)
		g := &generator{Rand: rand.New(rand.NewPCG(uint64(len(head)), uint64(len(tail)))), size: size}
		exercise(t, g, b)
	})
}

// FuzzSpaceLog takes any bytes as the log of the space map.
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
