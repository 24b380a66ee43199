package fuzz

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
)

// FuzzOperations runs the input as a program of transactions beside a model,
// and compares every result, every open snapshot after each commit, the state
// after a reopen, and the state in a copy of the file's bytes taken between
// commits, which is what a killed process leaves.
func FuzzOperations(f *testing.F) {
	for _, seed := range operationSeeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 4<<10 {
			t.Skip("longer programs find nothing that these do not")
		}
		watch(t)
		m := newMachine(t, input)
		m.run()
		m.stop()
	})
}

// operationSeeds returns programs that reach each operation, page size and
// mode: one byte sequence with a different stride for each.
func operationSeeds() (seeds [][]byte) {
	for i := range 12 {
		seed := []byte{byte(i % 5), byte(i % 4)}
		x := uint32(i)*2654435761 + 12345
		for range 300 {
			x = x*1664525 + 1013904223
			seed = append(seed, byte(x>>24))
		}
		seeds = append(seeds, seed)
	}
	return seeds
}

// machine runs a program.
type machine struct {
	t        *testing.T
	p        *program
	path     string
	pageSize int
	options  lightning.Options
	db       *lightning.DB

	state   *model // as last committed
	txid    int    // of the last commit
	readers []reader
	serial  int // of the last value put
	crashes int
}

// reader is an open read-only transaction and what it must see.
type reader struct {
	tx    *lightning.Tx
	state *model
}

const (
	maxReaders = 3
	maxCrashes = 8
	maxBytes   = 4 << 20 // in one program's database, about
)

func newMachine(t *testing.T, input []byte) *machine {
	m := &machine{t: t, p: &program{input}, path: filepath.Join(workDir(t), "db"), state: newModel()}
	m.pageSize = 4096 << m.p.n(5)
	modes := []lightning.Durability{lightning.Sync, lightning.NoSync, lightning.Periodic(time.Hour), lightning.Sync}
	mode := m.p.n(len(modes))
	m.options = lightning.Options{PageSize: m.pageSize, Durability: modes[mode]}
	if mode == 3 {
		m.options.IntegrityKey = []byte("a key")
		m.options.Verify = lightning.VerifyAlways
	}
	m.open()
	return m
}

func (m *machine) open() {
	m.t.Helper()
	db, err := lightning.Open(m.path, 0o600, &m.options)
	if err != nil {
		m.t.Fatalf("Open: %v", err)
	}
	m.db = db
	m.txid = m.check(db)
}

// check compares the newest state with the model, runs Check and returns the
// number of the last commit.
func (m *machine) check(db *lightning.DB) (txid int) {
	m.t.Helper()
	err := db.View(func(tx *lightning.Tx) error {
		txid = tx.ID()
		for err := range tx.Check() {
			m.t.Errorf("Check: %v", err)
		}
		return compare(tx, m.state)
	})
	if err != nil {
		m.t.Fatalf("state after Open: %v", err)
	}
	return txid
}

func (m *machine) run() {
	for !m.p.done() && !m.t.Failed() {
		m.transaction()
		m.compareReaders()
		m.between()
	}
}

func (m *machine) stop() {
	m.closeReaders()
	if err := m.db.Close(); err != nil {
		m.t.Fatalf("Close: %v", err)
	}
	m.open()
	if err := m.db.Close(); err != nil {
		m.t.Fatalf("Close: %v", err)
	}
}

var errOnPurpose = errors.New("on purpose")

// transaction runs one writable transaction, which may end in each way there
// is.
func (m *machine) transaction() {
	m.t.Helper()
	end, ops := m.p.n(10), 1+m.p.n(24)
	s := &session{machine: m, work: m.state.clone()}
	body := func(tx *lightning.Tx) error {
		s.tx = tx
		for range ops {
			if m.p.done() || m.t.Failed() {
				break
			}
			s.operation()
		}
		return nil
	}
	var err error
	switch end {
	case 0: // rolled back by hand
		tx := m.begin()
		body(tx)
		err = tx.Rollback()
		s.work = nil
	case 1: // the function fails
		err = m.db.Update(func(tx *lightning.Tx) error { return errors.Join(body(tx), errOnPurpose) })
		if !errors.Is(err, errOnPurpose) {
			m.t.Fatalf("failing Update: %v", err)
		}
		err, s.work = nil, nil
	case 2: // the function panics
		err = m.panicking(body)
		s.work = nil
	case 3, 4, 5: // committed by hand
		tx := m.begin()
		body(tx)
		err = tx.Commit()
	default:
		err = m.db.Update(body)
	}
	if err != nil {
		m.t.Fatalf("end %d of transaction %d: %v", end, m.txid+1, err)
	}
	if s.work != nil {
		m.state = s.work
		m.txid++
	}
}

func (m *machine) begin() *lightning.Tx {
	m.t.Helper()
	tx, err := m.db.Begin(true)
	if err != nil {
		m.t.Fatalf("Begin: %v", err)
	}
	if tx.ID() != m.txid+1 {
		m.t.Fatalf("transaction after %d has the number %d", m.txid, tx.ID())
	}
	return tx
}

func (m *machine) panicking(body func(*lightning.Tx) error) (err error) {
	defer func() {
		if r := recover(); r != errOnPurpose {
			panic(r)
		}
	}()
	return m.db.Update(func(tx *lightning.Tx) error {
		if err := body(tx); err != nil {
			return err
		}
		panic(errOnPurpose)
	})
}

// compareReaders compares each open snapshot, and the newest, with its model.
func (m *machine) compareReaders() {
	m.t.Helper()
	for _, r := range m.readers {
		if err := compare(r.tx, r.state); err != nil {
			m.t.Fatalf("snapshot of transaction %d, after %d: %v", r.tx.ID(), m.txid, err)
		}
	}
	if err := m.db.View(func(tx *lightning.Tx) error { return compare(tx, m.state) }); err != nil {
		m.t.Fatalf("after transaction %d: %v", m.txid, err)
	}
}

// between does what is done between transactions.
func (m *machine) between() {
	m.t.Helper()
	switch m.p.n(16) {
	case 0, 1:
		m.openReader()
	case 2, 3:
		if len(m.readers) > 0 {
			m.closeReader(m.p.n(len(m.readers)))
		}
	case 4:
		m.closeReaders()
		if err := m.db.Close(); err != nil {
			m.t.Fatalf("Close: %v", err)
		}
		m.options.PageSize = 0 // an existing file keeps its own
		m.open()
	case 5, 6:
		m.crash()
	case 7:
		if err := m.db.Sync(); err != nil {
			m.t.Fatalf("Sync: %v", err)
		}
	case 8:
		m.db.NoSync = !m.db.NoSync
	}
}

func (m *machine) openReader() {
	if len(m.readers) >= maxReaders {
		return
	}
	tx, err := m.db.Begin(false)
	if err != nil {
		m.t.Fatalf("Begin: %v", err)
	}
	if tx.ID() != m.txid {
		m.t.Fatalf("reader after transaction %d sees %d", m.txid, tx.ID())
	}
	m.readers = append(m.readers, reader{tx, m.state})
}

func (m *machine) closeReader(i int) {
	if err := m.readers[i].tx.Rollback(); err != nil {
		m.t.Fatalf("Rollback of a reader: %v", err)
	}
	m.readers = append(m.readers[:i], m.readers[i+1:]...)
}

func (m *machine) closeReaders() {
	for len(m.readers) > 0 {
		m.closeReader(0)
	}
}

// crash opens a copy of the file as a kill would leave it now: every commit
// that has returned must be there, whatever the mode.
func (m *machine) crash() {
	m.t.Helper()
	if m.crashes++; m.crashes > maxCrashes {
		return
	}
	image, err := os.ReadFile(m.path)
	if err != nil {
		m.t.Fatal(err)
	}
	path := m.path + ".crash"
	if err := os.WriteFile(path, image, 0o600); err != nil {
		m.t.Fatal(err)
	}
	db, err := lightning.Open(path, 0o600, &m.options)
	if err != nil {
		m.t.Fatalf("Open after a crash in transaction %d: %v", m.txid, err)
	}
	if got := m.check(db); got != m.txid {
		m.t.Fatalf("after a crash the last transaction is %d, want %d", got, m.txid)
	}
	// The first commit after recovery must not spoil anything either.
	probe := []byte("put after the crash")
	after := m.state.clone()
	after.values[string(probe)] = probe
	err = db.Update(func(tx *lightning.Tx) error { return tx.Cursor().Bucket().Put(probe, probe) })
	if err != nil {
		m.t.Fatalf("Update after a crash: %v", err)
	}
	err = db.View(func(tx *lightning.Tx) error { return compare(tx, after) })
	if err != nil {
		m.t.Fatalf("after a crash and a commit: %v", err)
	}
	if err := errors.Join(db.Close(), os.Remove(path)); err != nil {
		m.t.Fatal(err)
	}
}
