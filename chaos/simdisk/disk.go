package simdisk

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/mutant"
	"github.com/lightning-db/lightning/page"
)

// Disk is a fsync.File that writes through to a real file, which its user may
// map, and remembers every change in order. Syncs are only remembered: what is
// durable is decided when an Image is built. The exported fields are set before
// the call that they are to take part in; the methods are safe for concurrent use.
type Disk struct {
	fsync.File

	// OnSync is called before a sync is remembered, under no lock of the Disk.
	// An error makes the sync fail.
	OnSync func(op fsync.Op) error
	// OnWrite is called before a write, under no lock of the Disk.
	OnWrite func(op fsync.Op)
	// Weak makes Sync leave the length of a grown file to SyncFull, and with it
	// what was written past the old end. Otherwise both syncs are the same, as
	// POSIX has it: what is needed to read the data back is durable with the data.
	Weak bool
	// Ignore, if it is not 0, is the label of syncs that do nothing.
	Ignore fsync.Op
	// Seed decides what failed syncs lose.
	Seed uint64

	mu    sync.Mutex
	start *Image
	log   []Event
	bases []base // see baseOf, by n
	view  []byte // once the page cache is stale: what a read from the medium gives
}

// Kind says what happened to the file.
type Kind uint8

// The kinds of events.
const (
	Write      Kind = iota
	Grow            // the file was made longer
	Truncate        // the file was made shorter
	Sync            // all before is durable
	SyncFull        // so is the length
	SyncFailed      // some of what was before is durable, and the kernel forgot the rest
	Evict           // the page cache took a page from the medium again
)

// Event is one change of the file. Data is never changed.
type Event struct {
	Kind Kind
	Op   fsync.Op
	Off  int64  // of Write and Evict
	Data []byte // of Write and Evict
	Size int64  // of Grow and Truncate: the new length
	seed uint64 // of SyncFailed: what reached the medium
}

// Resizes reports whether the event changes the file's length.
func (e Event) Resizes() bool { return e.Kind == Grow || e.Kind == Truncate }

// New starts recording on f, whose content is that of the image.
func New(f fsync.File, start *Image) *Disk {
	d := &Disk{File: f, start: start}
	if start.Stale {
		d.view = Apply(start.Medium, start.Pending)
	}
	return d
}

// Position is the number of events so far.
func (d *Disk) Position() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.log)
}

// Events returns the events so far.
func (d *Disk) Events() []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clip(d.log)
}

// Start returns the image that recording began with.
func (d *Disk) Start() *Image { return d.start }

// Stale reports whether the page cache holds what a failed sync lost.
func (d *Disk) Stale() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.view != nil
}

// record notes a change that the real file has seen.
func (d *Disk) record(e Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = append(d.log, e)
	switch {
	case e.Kind == SyncFailed:
		im := d.at(len(d.log))
		d.view = slices.Clone(im.Medium)
	case d.view != nil:
		d.view = apply(d.view, e)
	}
}

// WriteAt implements fsync.File.
func (d *Disk) WriteAt(op fsync.Op, p []byte, off int64) error {
	return d.WriteAtv(op, [][]byte{p}, off)
}

// WriteAtv implements fsync.File.
func (d *Disk) WriteAtv(op fsync.Op, bufs [][]byte, off int64) error {
	if d.OnWrite != nil {
		d.OnWrite(op)
	}
	data := slices.Concat(bufs...)
	if err := d.File.WriteAt(op, data, off); err != nil {
		return err
	}
	d.record(Event{Kind: Write, Op: op, Off: off, Data: data})
	return nil
}

// Sync implements fsync.File.
func (d *Disk) Sync(op fsync.Op) error { return d.sync(Sync, op) }

// SyncFull implements fsync.File.
func (d *Disk) SyncFull(op fsync.Op) error { return d.sync(SyncFull, op) }

func (d *Disk) sync(kind Kind, op fsync.Op) error {
	if d.OnSync != nil {
		if err := d.OnSync(op); err != nil {
			d.record(Event{Kind: SyncFailed, Op: op, seed: d.Seed + uint64(d.Position())})
			return &fsync.OpError{Op: op, Path: d.Name(), Off: -1, Err: err}
		}
	}
	if op != d.Ignore {
		d.record(Event{Kind: kind, Op: op})
	}
	return nil
}

// Grow implements fsync.File.
func (d *Disk) Grow(op fsync.Op, size int64) error {
	have, err := d.Size()
	if err != nil || have >= size {
		return err
	}
	if err := d.File.Truncate(op, size); err != nil {
		return err
	}
	d.record(Event{Kind: Grow, Op: op, Size: size})
	return nil
}

// Truncate implements fsync.File.
func (d *Disk) Truncate(op fsync.Op, size int64) error {
	if err := d.File.Truncate(op, size); err != nil {
		return err
	}
	d.record(Event{Kind: Truncate, Op: op, Size: size})
	return nil
}

// ReadMedium reads like the platform's: what is dirty in the page cache goes
// to the medium first, what a failed sync has marked clean is not there.
func (d *Disk) ReadMedium(op fsync.Op, p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.view == nil || mutant.Is(mutant.TrustCache) {
		if _, err := d.File.ReadAt(op, p, off); err != nil {
			return d.short(op, off)
		}
		return nil
	}
	if off+int64(len(p)) > int64(len(d.view)) {
		return d.short(op, off)
	}
	copy(p, d.view[off:])
	return nil
}

func (d *Disk) short(op fsync.Op, off int64) error {
	return &fsync.OpError{Op: op, Path: d.Name(), Off: off, Err: io.ErrUnexpectedEOF}
}

// Forget makes the page cache forget some of the pages that a failed sync
// marked clean: reads and the map then see what the medium has. It reports how
// many.
func (d *Disk) Forget(rng *rand.Rand) (pages int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.view == nil {
		return 0, nil
	}
	var b [pageBytes]byte
	for off := int64(0); off < int64(len(d.view)); off += pageBytes {
		if rng.IntN(2) == 0 {
			continue
		}
		want := d.view[off:min(off+pageBytes, int64(len(d.view)))]
		n, err := d.File.ReadAt(fsync.OpPageRead, b[:len(want)], off)
		if err != nil && err != io.EOF {
			return pages, err
		}
		if n < len(want) || slices.Equal(want, b[:n]) {
			continue
		}
		if err := d.File.WriteAt(fsync.OpPageWrite, want, off); err != nil {
			return pages, fmt.Errorf("evict the page at %d: %w", off, err)
		}
		d.log = append(d.log, Event{Kind: Evict, Off: off, Data: slices.Clone(want)})
		pages++
	}
	return pages, nil
}

// Proven returns the newest transaction whose meta slot a sync for commits has
// covered within the first n events, 0 if none. Other syncs come before the
// meta that they serve, and the slot of what they happen to cover may be
// written again.
func (d *Disk) Proven(n int) (proven page.TxID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var written page.TxID
	for _, e := range d.log[:n] {
		switch {
		case e.Kind == Write && e.Op == fsync.OpMetaWrite:
			written = max(written, page.PeekTxID(e.Data))
		case e.Kind == Sync && (e.Op == fsync.OpSync || e.Op == fsync.OpCloseSync):
			proven = max(proven, written)
		}
	}
	return proven
}
