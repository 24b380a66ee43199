//go:build amd64 || arm64

package powerfs_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lightning-db/lightning"
)

// childEnv holds the job of a copy of this test binary that a test started.
const childEnv = "LIGHTNING_POWER_CHILD"

// job tells a child what to do.
type job struct {
	Probe     bool // look at the file system, without the engine
	Path      string
	Mode      string // of modes
	MustExist bool   // the file is not to be created
	PageSize  int    // of a new file
	LargeTx   int    // Options.LargeTxPages
	Commits   int    // after so many the database is closed and opened again
}

var modes = map[string]lightning.Durability{
	"sync":     lightning.Sync,
	"periodic": lightning.Periodic(2 * time.Millisecond),
	"nosync":   lightning.NoSync,
}

const (
	writers = 3
	keep    = 40 // older keys of a writer are deleted
)

func TestMain(m *testing.M) {
	text := os.Getenv(childEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	go func() { // the parent is gone when its end of the pipe is
		_, err := io.Copy(io.Discard, os.Stdin)
		fmt.Fprintln(os.Stderr, "child: the parent has ended", err)
		os.Exit(1)
	}()
	var j job
	err := json.Unmarshal([]byte(text), &j)
	if err == nil && j.Probe {
		err = probe(j.Path)
	} else if err == nil {
		err = work(j)
	}
	if err != nil {
		say("bad %v", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// say writes a line to the parent, at once and as a whole.
func say(format string, args ...any) {
	if _, err := os.Stdout.Write(fmt.Appendf(nil, format+"\n", args...)); err != nil {
		os.Exit(1)
	}
}

// value is what writer w puts under its number n.
func value(w, n uint64) []byte {
	size := 50 + n%7*100
	switch {
	case n%31 == 0:
		size = 60000
	case n%11 == 0:
		size = 9000
	}
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(uint64(i)*7 + n*31 + w)
	}
	return b
}

func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func writerName(w uint64) []byte { return fmt.Appendf(nil, "writer%d", w) }

var logName = []byte("log") // what was committed, in order: writer and number

// session is one open database of a child.
type session struct {
	db      *lightning.DB
	mode    string
	left    atomic.Int64  // commits until it is closed
	acked   atomic.Uint64 // the newest transaction that was acknowledged
	stopped atomic.Bool
}

// work opens the database, tells what it finds, and writes; again and again
// until it is killed. It returns an error for what must never be.
func work(j job) error {
	for failed := 0; failed < 5; {
		if _, err := os.Stat(j.Path); j.MustExist && err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return errAbsent
			}
			return err
		}
		db, err := lightning.Open(j.Path, 0o600, &lightning.Options{
			Durability: modes[j.Mode], PageSize: j.PageSize, LargeTxPages: j.LargeTx,
		})
		if err != nil {
			say("fail open: %v", err)
			failed++
			continue
		}
		db.AllocSize = 256 << 10
		s := &session{db: db, mode: j.Mode}
		s.left.Store(int64(j.Commits))
		ok, err := s.run()
		if err != nil {
			return err
		}
		if ok {
			failed, j.MustExist = 0, true
		} else {
			failed++
		}
	}
	return errors.New("fails again and again")
}

// run reports whether the database could be read and written to the end.
func (s *session) run() (ok bool, err error) {
	top, err := s.tell()
	if err == nil {
		s.acked.Store(top)
		var all sync.WaitGroup
		for w := range uint64(writers) {
			all.Go(func() { s.write(w) })
		}
		all.Wait()
	} else if !deviceFault(err) {
		return false, fmt.Errorf("verify: %w", err)
	} else {
		s.fail(err)
	}
	if err := s.db.Close(); err != nil {
		s.fail(fmt.Errorf("close: %w", err))
	} else if !s.stopped.Load() {
		say("sync %d", s.acked.Load())
	}
	return !s.stopped.Load(), nil
}

// deviceFault reports whether the error says that the medium could not be
// read, not that what was read is wrong.
func deviceFault(err error) bool {
	return errors.Is(err, lightning.ErrMapFault) || errors.Is(err, syscall.EIO)
}

// fail tells the parent of the error that ends the session.
func (s *session) fail(err error) {
	say("fail %v", err)
	s.stopped.Store(true)
}

// write commits until the session ends.
func (s *session) write(w uint64) {
	for s.left.Add(-1) >= 0 && !s.stopped.Load() {
		n, g, err := s.commit(w)
		if err != nil {
			s.fail(err)
			return
		}
		if n == 0 {
			continue
		}
		say("ack %d %d %d", w, n, g)
		raise(&s.acked, g)
		if n%8 == 0 {
			if err := s.db.View(consistent); err != nil {
				s.fail(err)
			}
		}
		if s.mode != "sync" && n%13 == 0 {
			g := s.acked.Load()
			if err := s.db.Sync(); err != nil {
				s.fail(fmt.Errorf("sync: %w", err))
				return
			}
			say("sync %d", g)
		}
	}
}

// raise makes a at least n.
func raise(a *atomic.Uint64, n uint64) {
	for old := a.Load(); old < n && !a.CompareAndSwap(old, n); old = a.Load() {
	}
}

var errUndo = errors.New("undone on purpose")

// commit commits the writer's next number n as transaction g of the log, or
// now and then undoes it: then n is 0.
func (s *session) commit(w uint64) (n, g uint64, err error) {
	undo := rand.IntN(10) == 0
	err = s.db.Update(func(tx *lightning.Tx) error {
		log, err := tx.CreateBucketIfNotExists(logName)
		if err != nil {
			return err
		}
		b, err := tx.CreateBucketIfNotExists(writerName(w))
		if err != nil {
			return err
		}
		if g, err = log.NextSequence(); err != nil {
			return err
		}
		if n, err = b.NextSequence(); err != nil {
			return err
		}
		if err := log.Put(key(g), append(key(w), key(n)...)); err != nil {
			return err
		}
		if err := b.Put(key(n), value(w, n)); err != nil {
			return err
		}
		if n > keep {
			err = b.Delete(key(n - keep))
		}
		if undo && err == nil {
			err = errUndo
		}
		return err
	})
	if errors.Is(err, errUndo) {
		return 0, 0, nil
	}
	return n, g, err
}

// consistent compares the length of the log with what the writers have.
func consistent(tx *lightning.Tx) error {
	log, sum := tx.Bucket(logName), uint64(0)
	for w := range uint64(writers) {
		if b := tx.Bucket(writerName(w)); b != nil {
			sum += b.Sequence()
		}
	}
	if log != nil && log.Sequence() != sum {
		say("bad a snapshot has %d transactions in its log, the writers have %d", log.Sequence(), sum)
	}
	return nil
}

// tell checks that the database is what the transactions of its log make, one
// after the other, and tells the log. It returns its length.
func (s *session) tell() (top uint64, err error) {
	var lines []byte
	err = s.db.View(func(tx *lightning.Tx) error {
		for err := range tx.Check() {
			return err
		}
		var have [writers]uint64
		if log := tx.Bucket(logName); log != nil {
			for k, v := range log.All() {
				w, n := binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])
				if top++; string(k) != string(key(top)) || w >= writers || n != have[w]+1 {
					return fmt.Errorf("log: entry %x of number %d is transaction %d of writer %d", k, top, n, w)
				}
				have[w] = n
				lines = fmt.Appendf(lines, "log %d %d %d\n", w, n, top)
			}
			if err := tx.Err(); err != nil {
				return err
			}
			if log.Sequence() != top {
				return fmt.Errorf("log: sequence %d, %d entries", log.Sequence(), top)
			}
		}
		for w, n := range have {
			if err := checkWriter(tx, uint64(w), n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if _, err := os.Stdout.Write(lines); err != nil {
		return 0, err
	}
	say("open %d", top)
	return top, nil
}

// checkWriter checks what the writer has after its transaction n.
func checkWriter(tx *lightning.Tx, w, n uint64) error {
	b := tx.Bucket(writerName(w))
	if b == nil {
		if n > 0 {
			return fmt.Errorf("writer %d: no bucket, want %d transactions", w, n)
		}
		return nil
	}
	next := max(n, keep) - keep + 1
	for k, v := range b.All() {
		if string(k) != string(key(next)) || string(v) != string(value(w, next)) {
			return fmt.Errorf("writer %d: key %x with %d bytes, want number %d", w, k, len(v), next)
		}
		next++
	}
	if err := tx.Err(); err != nil {
		return err
	}
	if next != n+1 || b.Sequence() != n {
		return fmt.Errorf("writer %d: keys end before %d, sequence %d, want %d transactions", w, next, b.Sequence(), n)
	}
	return nil
}
