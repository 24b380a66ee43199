package lightning

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/page"
)

// crashDisk is a fsync.File that writes through to a real file and remembers
// every change in order. From what it remembers it builds the file as it may
// be found after a kill of the process or after a power cut, at any moment.
// Syncs are only remembered: what is durable is decided here.
type crashDisk struct {
	fsync.File

	mu     sync.Mutex
	start  *crashImage
	log    []diskEvent
	onSync func(op fsync.Op) error // called before a sync is remembered; an error makes it fail
	onPage func()                  // called before pages are written
}

type diskEventKind uint8

const (
	diskWrite    diskEventKind = iota
	diskSize                   // the file was made longer or shorter
	diskSync                   // all before is durable
	diskSyncFail               // some of what was before is durable, and the kernel forgot the rest
)

type diskEvent struct {
	kind diskEventKind
	op   fsync.Op
	off  int64
	data []byte
	size int64
	seed uint64 // of diskSyncFail: what reached the medium
}

// crashImage is a file between two runs of a process.
type crashImage struct {
	medium  []byte      // what a power cut leaves for certain
	pending []diskEvent // writes and sizes that no sync has covered
	cache   []byte      // what a read through the page cache gives
	stale   bool        // the page cache holds what a failed sync lost
}

// newCrashDisk starts recording on f, whose content is that of the image.
func newCrashDisk(f fsync.File, start *crashImage) *crashDisk {
	return &crashDisk{File: f, start: start}
}

// position is the number of changes so far.
func (d *crashDisk) position() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.log)
}

func (d *crashDisk) record(e diskEvent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = append(d.log, e)
}

// stale reports whether the page cache holds what a failed sync lost.
func (d *crashDisk) stale() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.start.stale || slices.ContainsFunc(d.log, func(e diskEvent) bool { return e.kind == diskSyncFail })
}

func (d *crashDisk) WriteAt(op fsync.Op, p []byte, off int64) error {
	return d.WriteAtv(op, [][]byte{p}, off)
}

func (d *crashDisk) WriteAtv(op fsync.Op, bufs [][]byte, off int64) error {
	if d.onPage != nil && op == fsync.OpPageWrite {
		d.onPage()
	}
	data := slices.Concat(bufs...)
	if err := d.File.WriteAt(op, data, off); err != nil {
		return err
	}
	d.record(diskEvent{kind: diskWrite, op: op, off: off, data: data})
	return nil
}

func (d *crashDisk) Sync(op fsync.Op) error {
	if d.onSync != nil {
		if err := d.onSync(op); err != nil {
			d.record(diskEvent{kind: diskSyncFail, op: op, seed: uint64(d.position())})
			return &fsync.OpError{Op: op, Path: d.Name(), Off: -1, Err: err}
		}
	}
	d.record(diskEvent{kind: diskSync, op: op})
	return nil
}

func (d *crashDisk) SyncFull(op fsync.Op) error { return d.Sync(op) }

func (d *crashDisk) Grow(op fsync.Op, size int64) error {
	have, err := d.Size()
	if err != nil || have >= size {
		return err
	}
	return d.Truncate(op, size)
}

func (d *crashDisk) Truncate(op fsync.Op, size int64) error {
	if err := d.File.Truncate(op, size); err != nil {
		return err
	}
	d.record(diskEvent{kind: diskSize, op: op, size: size})
	return nil
}

// ReadMedium reads like the platform's: what is dirty in the page cache goes
// to the medium first, what a failed sync has marked clean is not there.
func (d *crashDisk) ReadMedium(op fsync.Op, p []byte, off int64) error {
	if !d.stale() {
		return d.readCached(op, p, off)
	}
	im := d.at(d.position())
	all := applyEvents(im.medium, im.pending)
	if off+int64(len(p)) > int64(len(all)) {
		return fmt.Errorf("read %d bytes at %d of %d: %w", len(p), off, len(all), io.ErrUnexpectedEOF)
	}
	copy(p, all[off:])
	return nil
}

func (d *crashDisk) readCached(op fsync.Op, p []byte, off int64) error {
	if _, err := d.File.ReadAt(op, p, off); err != nil {
		return fmt.Errorf("read %d bytes at %d: %w", len(p), off, io.ErrUnexpectedEOF)
	}
	return nil
}

// at returns the file after the first n changes.
func (d *crashDisk) at(n int) *crashImage {
	d.mu.Lock()
	log := d.log[:n:n]
	d.mu.Unlock()
	im := &crashImage{medium: d.start.medium, pending: d.start.pending, stale: d.start.stale}
	since := 0
	for i, e := range log {
		switch e.kind {
		case diskSync:
			im.medium = applyEvents(im.medium, im.pending, log[since:i])
		case diskSyncFail:
			im.pending = slices.Concat(im.pending, log[since:i])
			// Data is lost, but the kernel keeps the length and writes it later.
			length := len(applyEvents(im.medium, im.pending))
			im = im.powerCut(rand.New(rand.NewPCG(e.seed, 7)), true)
			im.medium, im.stale = resized(slices.Clip(im.medium), int64(length)), true
		default:
			continue
		}
		im.pending, since = nil, i+1
	}
	im.pending = slices.Concat(im.pending, log[since:])
	im.cache = applyEvents(d.start.cache, log)
	return im
}

// kill returns the file after a kill of the process during change n, of which
// a random number of pages got through.
func (d *crashDisk) kill(n int, rng *rand.Rand) *crashImage {
	im := d.at(n)
	d.mu.Lock()
	defer d.mu.Unlock()
	if n == len(d.log) || d.log[n].kind != diskWrite {
		return im
	}
	e := d.log[n]
	pages := (len(e.data) + 4095) / 4096
	e.data = e.data[:min(len(e.data), rng.IntN(pages+1)*4096)]
	im.pending = append(slices.Clip(im.pending), e)
	im.cache = applyEvents(im.cache, []diskEvent{e})
	return im
}

// applyEvents returns a copy of the file with the changes.
func applyEvents(file []byte, lists ...[]diskEvent) []byte {
	file = slices.Clone(file)
	for _, list := range lists {
		for _, e := range list {
			switch e.kind {
			case diskWrite:
				if end := e.off + int64(len(e.data)); end > int64(len(file)) {
					file = resized(file, end)
				}
				copy(file[e.off:], e.data)
			case diskSize:
				file = resized(file, e.size)
			}
		}
	}
	return file
}

func resized(file []byte, size int64) []byte {
	if size <= int64(len(file)) {
		return file[:size]
	}
	return append(file, make([]byte, size-int64(len(file)))...)
}

// powerCut returns what a power cut may leave: of the changes that no sync has
// covered any subset, in pieces of a sector or a page, each whole, lost or
// torn; of several writes to one place any may win. Changes of the size keep
// their order. Torn pieces hold garbage only if torn is set.
func (im *crashImage) powerCut(rng *rand.Rand, torn bool) *crashImage {
	file := slices.Clone(im.medium)
	unit := int64(512)
	if rng.IntN(2) == 0 {
		unit = 4096
	}
	sizes := 0
	for _, e := range im.pending {
		if e.kind == diskSize {
			sizes++
		}
	}
	sizes = rng.IntN(sizes + 1)
	odds := [...]int{0, 1, 50, 95, 100}[rng.IntN(5)] // percent that get through
	metas := rng.IntN(3)                             // 0: like the rest, 1: all get through, 2: none
	for _, e := range im.pending {
		if e.kind == diskSize {
			if sizes > 0 {
				sizes--
				file = resized(file, e.size)
			}
			continue
		}
		odds := odds
		if meta := e.op == fsync.OpMetaWrite; meta && metas > 0 {
			odds = 100 * (2 - metas)
		}
		writePieces(file, e, unit, func(new, old []byte) {
			switch {
			case torn && rng.IntN(200) == 0:
				tear(rng, new, old)
			case rng.IntN(100) < odds:
				copy(old, new)
			}
		})
	}
	return &crashImage{medium: file, cache: file}
}

// writePieces calls write for each piece of the event that lies in the file.
func writePieces(file []byte, e diskEvent, unit int64, write func(new, old []byte)) {
	data := e.data
	for off := e.off; len(data) > 0 && off < int64(len(file)); {
		n := min(unit-off%unit, int64(len(data)), int64(len(file))-off)
		write(data[:n], file[off:off+n])
		data, off = data[n:], off+n
	}
}

// tear leaves a mixture of new, old and garbage.
func tear(rng *rand.Rand, new, old []byte) {
	at := rng.IntN(len(new) + 1)
	copy(old[:at], new)
	if rng.IntN(2) == 0 {
		for i := at; i < len(old); i++ {
			old[i] = byte(rng.Uint32())
		}
	}
}

// choose returns what is left if of the changes that no sync has covered
// exactly those get through that keep says.
func (im *crashImage) choose(keep func(e diskEvent) bool) *crashImage {
	var kept []diskEvent
	for _, e := range im.pending {
		if keep(e) {
			kept = append(kept, e)
		}
	}
	file := applyEvents(im.medium, kept)
	return &crashImage{medium: file, cache: file}
}

// provenAt returns the newest transaction whose meta a sync has covered within
// the first n changes, 0 if none.
func (d *crashDisk) provenAt(n int) (proven page.TxID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var written page.TxID
	for _, e := range d.log[:n] {
		switch {
		case e.kind == diskWrite && e.op == fsync.OpMetaWrite:
			written = max(written, metaTx(e.data))
		case e.kind == diskSync:
			proven = max(proven, written)
		}
	}
	return proven
}

// metaTx returns the txid in the bytes of a meta slot; docs/FORMAT.md says
// where it is.
func metaTx(slot []byte) page.TxID { return page.TxID(binary.LittleEndian.Uint64(slot[64:])) }

// writeTo makes the file at path what a process finds there. Runs of zeros
// become holes.
func (im *crashImage) writeTo(t testing.TB, path string) {
	t.Helper()
	// A new file: some file systems write one out that is cut and written again.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(len(im.cache))); err != nil {
		t.Fatal(err)
	}
	const block = 64 << 10
	for off := 0; off < len(im.cache); off += block {
		b := im.cache[off:min(off+block, len(im.cache))]
		if allZero(b) {
			continue
		}
		if _, err := f.WriteAt(b, int64(off)); err != nil {
			t.Fatal(err)
		}
	}
}

// openImage opens the image in a new file at path, recorded.
func openImage(t testing.TB, path string, im *crashImage, o Options) (*DB, *crashDisk, error) {
	t.Helper()
	im.writeTo(t, path)
	var disk *crashDisk
	db, err := openThrough(path, &o, func(f fsync.File) fsync.File {
		disk = newCrashDisk(f, im)
		return disk
	})
	return db, disk, err
}
