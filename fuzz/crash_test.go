package fuzz

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"sync"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/fsync"
)

// disk knows what of a file would outlive a power cut: what a sync covered,
// and any part of what was written since.
type disk struct {
	mu      sync.Mutex
	durable []byte
	since   []change // in order
}

// change is a write, or a new length of the file.
type change struct {
	off  int64
	data []byte // nil for a length
	size int64
}

// under returns f, watched by the disk. A file that is opened again is the
// same one: closing it makes nothing durable.
func (d *disk) under(f fsync.File) fsync.File { return &diskFile{f, d} }

type diskFile struct {
	fsync.File
	disk *disk
}

func (f *diskFile) record(c change) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.disk.since = append(f.disk.since, c)
}

// WriteAt records the write before it takes place: one that fails may have
// written, too.
func (f *diskFile) WriteAt(op fsync.Op, p []byte, off int64) error {
	f.record(change{off: off, data: slices.Clone(p)})
	return f.File.WriteAt(op, p, off)
}

func (f *diskFile) WriteAtv(op fsync.Op, bufs [][]byte, off int64) error {
	f.record(change{off: off, data: slices.Concat(bufs...)})
	return f.File.WriteAtv(op, bufs, off)
}

func (f *diskFile) Grow(op fsync.Op, size int64) error {
	err := f.File.Grow(op, size)
	if err == nil {
		f.record(change{size: size})
	}
	return err
}

func (f *diskFile) Truncate(op fsync.Op, size int64) error {
	err := f.File.Truncate(op, size)
	if err == nil {
		f.record(change{size: size})
	}
	return err
}

func (f *diskFile) Sync(op fsync.Op) error {
	err := f.File.Sync(op)
	if err == nil {
		f.disk.settle()
	}
	return err
}

func (f *diskFile) SyncFull(op fsync.Op) error {
	err := f.File.SyncFull(op)
	if err == nil {
		f.disk.settle()
	}
	return err
}

func (d *disk) settle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.durable = replay(d.durable, d.since, -1, func() bool { return true })
	d.since = nil
}

// cut returns what a power cut could leave now: by the first of the two
// numbers, sectors of 512 bytes or whole pages of 4 KiB, few, half or most of
// them, and the first so many new lengths.
func (d *disk) cut(how byte, seed uint64) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, 1))
	odds := []float64{0, 0.1, 0.5, 0.9, 1}[how%5]
	sizes := -1
	if how&64 != 0 {
		sizes = rng.IntN(4)
	}
	left, keep := 0, false
	return replay(slices.Clone(d.durable), d.since, sizes, func() bool {
		if left == 0 {
			keep = rng.Float64() < odds
			if left = 8; how&128 != 0 {
				left = 1
			}
		}
		left--
		return keep
	})
}

const sector = 512

// replay makes the changes in b, of the sectors those that keep chooses and of
// the lengths the first so many, all if negative. What is written past the end
// is lost with the length.
func replay(b []byte, since []change, sizes int, keep func() bool) []byte {
	for _, c := range since {
		if c.data == nil {
			if sizes == 0 {
				continue
			}
			sizes--
			if more := c.size - int64(len(b)); more > 0 {
				b = append(b, make([]byte, more)...)
			}
			b = b[:c.size]
			continue
		}
		for at := 0; at < len(c.data); at += sector {
			part := c.data[at:min(at+sector, len(c.data))]
			if from := c.off + int64(at); keep() && from < int64(len(b)) {
				copy(b[from:], part)
			}
		}
	}
	return b
}

// durableUpTo notes that everything committed so far outlives a power cut.
func (m *machine) durableUpTo(txid int) {
	for id := range m.history {
		if id < txid {
			delete(m.history, id)
		}
	}
	m.floor = txid
}

// committed notes a commit. It is durable, and with it all before it, if the
// mode says so.
func (m *machine) committed(txid int, state *model) {
	m.txid, m.state = txid, state
	m.history[txid] = state
	if m.options.Durability == lightning.Sync && !m.db.NoSync {
		m.durableUpTo(txid)
	}
}

// crash ends the process or cuts the power, and opens what is left of the
// file: a copy of it, or, if stay, the file itself, with which the program goes
// on. After a kill every commit that has returned must be there, whatever the
// mode; after a power cut one that is not older than the last durable one.
func (m *machine) crash(power, stay bool) {
	m.t.Helper()
	how, seed := m.p.byte(), uint64(m.p.byte())
	if m.crashes++; m.crashes > maxCrashes {
		return
	}
	image, err := os.ReadFile(m.path)
	if err != nil {
		m.t.Fatal(err)
	}
	left := disk{durable: slices.Clone(m.disk.durable), since: slices.Clone(m.disk.since)}
	if power {
		image = m.disk.cut(how, seed)
		left = disk{durable: slices.Clone(image)}
	}
	if stay {
		m.goOn(image, &left, power)
		return
	}
	path := m.path + ".crash"
	if err := os.WriteFile(path, image, 0o600); err != nil {
		m.t.Fatal(err)
	}
	db, err := lightning.Open(path, 0o600, &m.options)
	if err != nil {
		m.t.Fatalf("Open after a crash in transaction %d: %v", m.txid, err)
	}
	_, state := m.recovered(db, power)
	m.probe(db, state)
	if err := errors.Join(db.Close(), os.Remove(path)); err != nil {
		m.t.Fatal(err)
	}
}

// goOn puts the image in the place of the file and opens it.
func (m *machine) goOn(image []byte, left *disk, power bool) {
	m.t.Helper()
	m.closeReaders()
	if err := m.db.Close(); err != nil {
		m.t.Fatalf("Close: %v", err)
	}
	if err := os.WriteFile(m.path, image, 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.disk.durable, m.disk.since = left.durable, left.since
	m.options.PageSize = 0 // an existing file keeps its own
	db, err := lightning.Open(m.path, 0o600, &m.options)
	if err != nil {
		m.t.Fatalf("Open after a crash in transaction %d: %v", m.txid, err)
	}
	m.db = db
	txid, state := m.recovered(db, power)
	m.history = map[int]*model{txid: state}
	m.txid, m.state, m.floor = txid, state, txid
}

// recovered returns the state that came back, which must be allowed to.
func (m *machine) recovered(db *lightning.DB, power bool) (txid int, state *model) {
	m.t.Helper()
	if err := db.View(func(tx *lightning.Tx) error { txid = tx.ID(); return nil }); err != nil {
		m.t.Fatalf("View after a crash: %v", err)
	}
	least := m.txid
	if power {
		least = m.floor
	}
	if state = m.history[txid]; state == nil || txid < least || txid > m.txid {
		m.t.Fatalf("after a crash the last transaction is %d, want %d to %d", txid, least, m.txid)
	}
	m.check(db, state)
	return txid, state
}

// probe commits after recovery, which must not spoil anything either.
func (m *machine) probe(db *lightning.DB, state *model) {
	m.t.Helper()
	probe := []byte("put after the crash")
	after := state.clone()
	after.values[string(probe)] = probe
	err := db.Update(func(tx *lightning.Tx) error { return tx.Cursor().Bucket().Put(probe, probe) })
	if err != nil {
		m.t.Fatalf("Update after a crash: %v", err)
	}
	m.check(db, after)
}
