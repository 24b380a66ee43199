package fuzz

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/memdir"
)

// FuzzOperations runs the input as a program beside a model: transactions of
// every kind and end, alone and in groups, in each durability mode and page
// size, with readers held over, reopens, kills, power cuts and compactions. It
// proves: every result is the model's; every open snapshot stays what it was;
// a reopen and a kill lose nothing; a power cut leaves exactly one committed
// state, not older than the last durable one; and Check finds nothing in any of
// them. Ten minutes of it:
//
//	go test ./fuzz -run '^$' -fuzz '^FuzzOperations$' -fuzztime=10m -fuzzminimizetime=5x
func FuzzOperations(f *testing.F) {
	for _, seed := range operationSeeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		input = input[:min(len(input), 4<<10)] // longer programs find nothing that these do not
		watch(t)
		m := newMachine(t, input)
		m.run()
		m.stop()
	})
}

// operationSeeds returns programs that reach each operation, page size and
// mode: one byte sequence with a different stride for each.
func operationSeeds() (seeds [][]byte) {
	for i := range 20 {
		seed := []byte{byte(i % 5), byte(i % 6)}
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

	disk    disk
	state   *model         // as last committed
	txid    int            // of the last commit
	floor   int            // the last commit that is durable
	history map[int]*model // states since the floor, by commit
	readers []reader
	serial  int // of the last value put
	crashes int
	copies  int // compactions
}

// reader is an open read-only transaction and what it must see.
type reader struct {
	tx    *lightning.Tx
	state *model
}

const (
	maxReaders = 3
	maxCrashes = 8
	maxCopies  = 2
	maxBytes   = 4 << 20 // in one program's database, about
)

func newMachine(t *testing.T, input []byte) *machine {
	m := &machine{t: t, p: &program{input}, path: filepath.Join(memdir.Temp(t), "db"), state: newModel()}
	t.Cleanup(fsync.Intercept(m.path, m.disk.under))
	m.pageSize = 4096 << m.p.n(5)
	m.options = lightning.Options{PageSize: m.pageSize}
	switch m.p.n(6) {
	case 1:
		m.options.Durability = lightning.NoSync
	case 2:
		m.options.Durability = lightning.Periodic(time.Hour)
	case 3:
		m.options.IntegrityKey = []byte("a key")
		m.options.Verify = lightning.VerifyAlways
	case 4:
		m.options.LargeTxPages = 2 // nearly every commit has two phases
	case 5:
		m.options.Durability = lightning.NoSync
		m.options.LargeTxPages = 2
	}
	m.open()
	return m
}

// open opens the file, which was closed in order: all that is in it is durable.
func (m *machine) open() {
	m.t.Helper()
	db, err := lightning.Open(m.path, 0o600, &m.options)
	if err != nil {
		m.t.Fatalf("Open: %v", err)
	}
	m.db = db
	m.txid = m.check(db, m.state)
	m.history = map[int]*model{m.txid: m.state}
	m.floor = m.txid
}

// check compares the newest state with the model, runs Check and returns the
// number of the last commit.
func (m *machine) check(db *lightning.DB, want *model) (txid int) {
	m.t.Helper()
	err := db.View(func(tx *lightning.Tx) error {
		txid = tx.ID()
		for err := range tx.Check() {
			m.t.Errorf("Check: %v", err)
		}
		return compare(tx, want)
	})
	if err != nil {
		m.t.Fatalf("state after Open: %v", err)
	}
	return txid
}

func (m *machine) run() {
	for !m.p.done() && !m.t.Failed() {
		if m.p.n(12) == 11 {
			m.group()
		} else {
			m.transaction()
		}
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
		m.committed(m.txid+1, s.work)
	}
}

// group commits from several goroutines at once, by Update or Batch; some of
// their functions fail.
func (m *machine) group() {
	m.t.Helper()
	members, batch, failing := 2+m.p.n(4), m.p.n(2) == 0, m.p.byte()
	m.db.MaxBatchSize, m.db.MaxBatchDelay = 3, 100*time.Microsecond
	next := m.state.clone()
	results := make(chan error, members)
	for i := range members {
		m.serial++
		k, v := fmt.Appendf(nil, "group-%d", i), value(m.p.byte(), m.serial, m.pageSize)
		var fail error
		if failing>>i&1 != 0 {
			fail = errOnPurpose
		} else {
			next.values[string(k)] = v
		}
		do := m.db.Update
		if batch {
			do = m.db.Batch
		}
		go func() {
			err := do(func(tx *lightning.Tx) error {
				return errors.Join(tx.Cursor().Bucket().Put(k, v), fail)
			})
			if errors.Is(err, errOnPurpose) == (fail != nil) && (err == nil) == (fail == nil) {
				err = nil
			} else {
				err = fmt.Errorf("member %d, which fails with %v: %w", i, fail, err)
			}
			results <- err
		}()
	}
	for range members {
		if err := <-results; err != nil {
			m.t.Fatal(err)
		}
	}
	txid := m.check(m.db, next)
	if txid < m.txid || txid > m.txid+members {
		m.t.Fatalf("a group of %d after transaction %d ends with %d", members, m.txid, txid)
	}
	m.committed(txid, next)
	m.sync() // which state is between is nobody's choice
}

func (m *machine) sync() {
	m.t.Helper()
	if err := m.db.Sync(); err != nil {
		m.t.Fatalf("Sync: %v", err)
	}
	m.durableUpTo(m.txid)
}

// compact compares a compacted copy with the model.
func (m *machine) compact() {
	m.t.Helper()
	size, limit := 4096<<m.p.n(5), int64(m.p.n(4))<<13
	if m.copies++; m.copies > maxCopies {
		return
	}
	path := m.path + ".compact"
	db, err := lightning.Open(path, 0o600, &lightning.Options{PageSize: size, Durability: lightning.NoSync})
	if err != nil {
		m.t.Fatalf("Open of a new file: %v", err)
	}
	if err := lightning.Compact(db, m.db, limit); err != nil {
		m.t.Fatalf("Compact: %v", err)
	}
	m.check(db, m.state)
	if err := errors.Join(db.Close(), os.Remove(path)); err != nil {
		m.t.Fatal(err)
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
	case 5:
		m.crash(false, false)
	case 6:
		m.crash(false, true)
	case 7:
		m.sync()
	case 8:
		m.db.NoSync = !m.db.NoSync
	case 9, 10:
		m.crash(true, false)
	case 11:
		m.crash(true, true)
	case 12:
		m.compact()
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
