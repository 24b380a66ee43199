package simdisk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
)

// pageBytes is the unit in which the kernel writes and forgets.
const pageBytes = 4096

// Image is a file between two runs of a process. The zero value is a file that
// does not exist yet. Its slices are not to be changed by who did not make them.
type Image struct {
	Medium  []byte  // what a power cut leaves for certain
	Pending []Event // writes and changes of the length that no sync has covered
	Stale   bool    // the page cache holds what a failed sync lost
	cache   []byte  // of a stale image: what a read through the page cache gives
}

// Cache returns what a read through the page cache gives.
func (im *Image) Cache() []byte {
	switch {
	case im.Stale:
		return im.cache
	case len(im.Pending) == 0:
		return im.Medium
	}
	return Apply(im.Medium, im.Pending)
}

// Size returns the length of Cache.
func (im *Image) Size() int64 {
	if im.Stale {
		return int64(len(im.cache))
	}
	return sizeAfter(im.Medium, im.Pending)
}

// sizeAfter returns the length of the file with the changes.
func sizeAfter(file []byte, events []Event) int64 {
	size := int64(len(file))
	for _, e := range events {
		if e.Resizes() {
			size = e.Size
		} else {
			size = max(size, e.Off+int64(len(e.Data)))
		}
	}
	return size
}

// copyOf returns a copy of the file with room to grow to size.
func copyOf(file []byte, size int64) []byte {
	return append(slices.Grow([]byte(nil), max(len(file), int(size))), file...)
}

// Whole returns the image of a file that is on the medium as it is.
func Whole(file []byte) *Image { return &Image{Medium: file} }

// base is the file after the first n events, the last of which changed the
// medium.
type base struct {
	n int
	Image
}

// At returns the file after the first n events. Images of one Disk share what
// they have in common.
func (d *Disk) At(n int) *Image {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at(n)
}

func (d *Disk) at(n int) *Image {
	im := d.baseOf(n)
	if im.Stale {
		im.cache = Apply(d.start.Cache(), d.log[:n])
	}
	return &im.Image
}

// Replay is At on a device that does something else than it says with one
// event. The process knows nothing of that, but what is asked for is the file
// after its machine has lost power.
func (d *Disk) Replay(n int, alter Alter) *Image {
	d.mu.Lock()
	defer d.mu.Unlock()
	if alter.at >= n {
		return d.at(n)
	}
	im := d.baseOf(alter.at)
	im.Medium = slices.Clone(im.Medium)
	if e, ok := alter.event(d.log[alter.at]); ok {
		im.take(e, d.Weak)
	}
	for _, e := range d.log[alter.at+1 : n] {
		im.take(e, d.Weak)
	}
	return &im.Image
}

// baseOf returns the file after the first n events, without the page cache. It
// goes on from the last event before that changed the medium, and keeps the
// file after each such event, for many moments of one record are asked for.
func (d *Disk) baseOf(n int) base {
	if len(d.bases) == 0 {
		d.bases = append(d.bases, base{0, Image{Medium: d.start.Medium, Pending: slices.Clip(d.start.Pending), Stale: d.start.Stale}})
	}
	i := len(d.bases) - 1
	for d.bases[i].n > n {
		i--
	}
	im := d.bases[i]
	for ; im.n < n; im.n++ {
		switch e := d.log[im.n]; e.Kind {
		case Write, Grow, Truncate, Evict:
			im.take(e, d.Weak)
		default:
			if len(im.Pending) > 0 {
				im.Medium = copyOf(im.Medium, im.Size())
			}
			im.take(e, d.Weak)
			im.Pending = slices.Clip(im.Pending)
			d.bases = append(d.bases, base{im.n + 1, im.Image})
		}
	}
	im.Pending = slices.Clip(im.Pending)
	return im
}

// take lets the event happen to pending and, if it is a sync, to the medium,
// which belongs to im.
func (im *Image) take(e Event, weak bool) {
	switch e.Kind {
	case Write, Grow, Truncate:
		im.Pending = append(im.Pending, e)
	case Sync, SyncFull:
		if weak && e.Kind == Sync {
			im.syncData()
			return
		}
		for _, p := range im.Pending {
			im.Medium = apply(im.Medium, p)
		}
		im.Pending = nil
	case SyncFailed:
		// Data is lost, but the kernel keeps the length and writes it later.
		length := int64(len(Apply(im.Medium, im.Pending)))
		rng := rand.New(rand.NewPCG(e.seed, 7))
		left := im.Apply(im.NewCut(rng, true))
		im.Medium, im.Pending, im.Stale = resize(left, length), nil, true
	}
}

// syncData makes durable what does not need a longer file.
func (im *Image) syncData() {
	var kept []Event
	for _, e := range im.Pending {
		end := int64(len(im.Medium))
		switch {
		case e.Kind == Grow && e.Size > end:
			kept = append(kept, e)
		case e.Kind == Truncate:
			kept = cutEvents(kept, e.Size)
			im.Medium = im.Medium[:min(e.Size, end)]
		case e.Kind == Write && e.Off+int64(len(e.Data)) > end:
			in := max(0, end-e.Off)
			if in > 0 {
				copy(im.Medium[e.Off:], e.Data[:in])
			}
			e.Off, e.Data = e.Off+in, e.Data[in:]
			kept = append(kept, e)
		case e.Kind == Write:
			copy(im.Medium[e.Off:], e.Data)
		}
	}
	im.Pending = kept
}

// cutEvents returns what is left of events when the file is cut to size.
func cutEvents(events []Event, size int64) (kept []Event) {
	for _, e := range events {
		switch {
		case e.Kind == Grow:
			e.Size = min(e.Size, size)
		case e.Off >= size:
			continue
		default:
			e.Data = e.Data[:min(int64(len(e.Data)), size-e.Off)]
		}
		kept = append(kept, e)
	}
	return kept
}

// Kill returns the file after a kill of the process during event n, of which
// a random number of pages got through.
func (d *Disk) Kill(n int, rng *rand.Rand) *Image {
	im := d.At(n)
	d.mu.Lock()
	defer d.mu.Unlock()
	if n == len(d.log) || d.log[n].Kind != Write {
		return im
	}
	e := d.log[n]
	pages := (len(e.Data) + pageBytes - 1) / pageBytes
	e.Data = e.Data[:min(len(e.Data), rng.IntN(pages+1)*pageBytes)]
	im.Pending = append(slices.Clip(im.Pending), e)
	if im.Stale {
		im.cache = apply(im.cache, e)
	}
	return im
}

// Choose returns what is left if of what is pending exactly those events get
// through that keep says.
func (im *Image) Choose(keep func(e Event) bool) *Image {
	var kept []Event
	for _, e := range im.Pending {
		if keep(e) {
			kept = append(kept, e)
		}
	}
	return Whole(Apply(im.Medium, kept))
}

// Apply returns a copy of the file with the changes.
func Apply(file []byte, events []Event) []byte {
	file = copyOf(file, sizeAfter(file, events))
	for _, e := range events {
		file = apply(file, e)
	}
	return file
}

// apply changes the file.
func apply(file []byte, e Event) []byte {
	switch e.Kind {
	case Write, Evict:
		if end := e.Off + int64(len(e.Data)); end > int64(len(file)) {
			file = resize(file, end)
		}
		copy(file[e.Off:], e.Data)
	case Grow, Truncate:
		file = resize(file, e.Size)
	}
	return file
}

// resize returns the file with the length, cut or filled with zeros.
func resize(file []byte, size int64) []byte {
	if size <= int64(len(file)) {
		return file[:size]
	}
	n := len(file)
	file = slices.Grow(file, int(size)-n)[:size]
	clear(file[n:])
	return file
}

var zeros [pageBytes]byte

// WriteTo makes the file at path what a process finds there: what is in the
// page cache. Zeros become holes.
func (im *Image) WriteTo(path string) (err error) {
	file := im.Cache()
	// A new file: some file systems write one out that is cut and written again.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(int64(len(file))); err != nil {
		return err
	}
	for off := 0; off < len(file); {
		end := off
		for end < len(file) && !bytes.Equal(file[end:min(end+pageBytes, len(file))], zeros[:min(pageBytes, len(file)-end)]) {
			end = min(end+pageBytes, len(file))
		}
		if end == off {
			off += pageBytes
			continue
		}
		if _, err := f.WriteAt(file[off:end], int64(off)); err != nil {
			return err
		}
		off = end
	}
	return nil
}
