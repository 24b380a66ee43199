package lightning

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lightning-db/lightning/fsync"
)

// The seven ways into a deadlock that the reliability guide names, each with
// what could become of it in this engine. They are meant for the race detector;
// watch turns a hang into a panic with all stacks. The order of locks itself is
// checked in builds with the tag invariants.

// gate is a file whose syncs wait, once it is shut, until it is opened.
type gate struct {
	fsync.File
	mu      sync.Mutex
	open    chan struct{} // nil while syncs pass
	err     error         // what syncs return that had to wait
	waiting chan struct{} // receives one value for each sync that waits
}

func openGate(t *testing.T, o Options) (*DB, *gate) {
	t.Helper()
	g := &gate{waiting: make(chan struct{}, 1000)}
	db, err := openThrough(filepath.Join(t.TempDir(), "gate.db"), &o, func(f fsync.File) fsync.File {
		g.File = f
		return g
	})
	if err != nil {
		t.Fatal(err)
	}
	putOne(t, db, "first", []byte("1"))
	return db, g
}

// shut makes syncs wait, and fail with err then if it is not nil.
func (g *gate) shut(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open, g.err = make(chan struct{}), err
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.open)
	g.open = nil
}

func (g *gate) Sync(op fsync.Op) error {
	g.mu.Lock()
	open, err := g.open, g.err
	g.mu.Unlock()
	if open == nil {
		return g.File.Sync(op)
	}
	g.waiting <- struct{}{}
	<-open
	if err != nil {
		return &fsync.OpError{Op: op, Path: g.Name(), Off: -1, Err: err}
	}
	return g.File.Sync(op)
}

// put is a transaction that sets key to n bytes.
func (db *DB) put(key string, n int) error {
	return db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("b"))
		if err != nil {
			return err
		}
		return b.Put([]byte(key), make([]byte, n))
	})
}

// calls are what a program may do at any time, from any goroutine.
var calls = map[string]func(db *DB, rng *rand.Rand) error{
	"Update":       func(db *DB, rng *rand.Rand) error { return db.put(fmt.Sprint("key", rng.IntN(50)), rng.IntN(9000)) },
	"grow":         func(db *DB, rng *rand.Rand) error { return db.put(fmt.Sprint("big", rng.IntN(3)), 300<<10) },
	"Sync":         func(db *DB, _ *rand.Rand) error { return db.Sync() },
	"Check":        func(db *DB, _ *rand.Rand) error { return db.View(checkAll) },
	"WriteTo":      func(db *DB, _ *rand.Rand) error { return db.View(func(tx *Tx) error { return tx.Copy(io.Discard) }) },
	"Stats":        func(db *DB, _ *rand.Rand) error { db.Stats(); db.Info(); return nil },
	"ReadInUpdate": func(db *DB, _ *rand.Rand) error { return db.Update(func(*Tx) error { return db.View(checkAll) }) },
	"WriteInView": func(db *DB, rng *rand.Rand) error {
		return db.View(func(*Tx) error { return db.put("inner", rng.IntN(5000)) })
	},
	"Batch": func(db *DB, rng *rand.Rand) error {
		return db.Batch(func(tx *Tx) error { return tx.Bucket([]byte("b")).Put([]byte("batch"), make([]byte, rng.IntN(100))) })
	},
	"shrink": func(db *DB, _ *rand.Rand) error {
		return db.Update(func(tx *Tx) error { return tx.Bucket([]byte("b")).Clear() })
	},
	"Rollback": func(db *DB, rng *rand.Rand) error {
		tx, err := db.Begin(rng.IntN(2) == 0)
		if err != nil {
			return err
		}
		return tx.Rollback()
	},
	"OnCommit": func(db *DB, _ *rand.Rand) error {
		var inner error
		err := db.Update(func(tx *Tx) error {
			tx.OnCommit(func() { inner = db.put("after", 10) })
			return tx.Bucket([]byte("b")).Put([]byte("before"), nil)
		})
		return errors.Join(err, inner)
	},
}

func checkAll(tx *Tx) error {
	var errs []error
	for err := range tx.Check() {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// storm makes the named calls, all if none is named, from n goroutines, each as
// often as rounds says. An error must be one of allowed.
func storm(t *testing.T, db *DB, n, rounds int, allowed []error, names ...string) *sync.WaitGroup {
	t.Helper()
	if len(names) == 0 {
		for name := range calls {
			names = append(names, name)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for range rounds {
				name := names[rng.IntN(len(names))]
				err := calls[name](db, rng)
				ok := err == nil
				for _, want := range allowed {
					ok = ok || errors.Is(err, want)
				}
				if !ok {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	return &wg
}

func stormRounds() int {
	if testing.Short() {
		return 8
	}
	return 25
}

// 1. Locks taken in different orders: every call beside every other, in each
// mode, and Close in the middle.
func TestDeadlock_LockOrder(t *testing.T) {
	watch(t, "calls beside each other")
	for _, mode := range []Durability{Sync, Periodic(time.Millisecond), NoSync} {
		db, _ := openGate(t, Options{Durability: mode})
		storm(t, db, 8, stormRounds(), nil).Wait()
		if err := db.View(checkAll); err != nil {
			t.Errorf("%v: %v", mode, err)
		}
		wg := storm(t, db, 8, stormRounds(), []error{ErrDatabaseNotOpen})
		mustClose(t, db)
		wg.Wait()
	}
}

// 2. Calls within calls: what a transaction's function may call of its own
// database without waiting for itself. While the last commit is being synced,
// too.
func TestDeadlock_NestedCalls(t *testing.T) {
	watch(t, "calls within Update and View")
	db, g := openGate(t, Options{})
	defer mustClose(t, db)
	g.shut(nil)
	done := make(chan error, 1)
	go func() { done <- db.put("a", 10) }()
	<-g.waiting
	err := db.View(func(outer *Tx) error {
		for name, call := range map[string]func() error{
			"View":    func() error { return db.View(checkAll) },
			"Begin":   func() error { tx, err := db.Begin(false); return errors.Join(err, tx.Rollback()) },
			"Stats":   func() error { db.Stats(); outer.Stats(); return nil },
			"Page":    func() error { _, err := outer.Page(3); return err },
			"Inspect": func() error { outer.Inspect(); return nil },
			"WriteTo": func() error { return outer.Copy(io.Discard) },
			"Begin(true), View, Rollback": func() error {
				tx, err := db.Begin(true)
				if err != nil {
					return err
				}
				return errors.Join(db.View(checkAll), checkAll(tx), tx.Copy(io.Discard), tx.Rollback())
			},
		} {
			if err := call(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		return nil
	})
	g.release()
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	storm(t, db, 4, stormRounds(), nil, "ReadInUpdate", "WriteInView", "OnCommit", "Batch").Wait()
}

// 3. A lock given up and taken again: sealing gives the writer lock up before
// the flush, a transaction that needs a longer file takes the flush lock under
// the writer lock, and a flush tries the writer lock at its end.
func TestDeadlock_Reacquisition(t *testing.T) {
	watch(t, "sealed transactions behind a sync")
	db, g := openGate(t, Options{})
	defer mustClose(t, db)
	for round := range 5 {
		g.shut(nil)
		var wg sync.WaitGroup
		fail := func(err error) {
			if err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
		wg.Go(func() { fail(db.put("a", 100)) })
		<-g.waiting
		for i := range 6 { // they seal behind it; the long ones wait for the flush lock with the writer lock held
			wg.Go(func() { fail(db.put(fmt.Sprint("k", i), 1+i%2*(600<<10)*(round+1))) })
		}
		wg.Go(func() { fail(db.Sync()) })
		fail(db.View(checkAll)) // a reader waits for none of them
		g.release()
		wg.Wait()
	}
}

// 4. Everything given up at once: the bound of what is sealed is reached while
// a sync is under way, and the writer that meets it flushes for all.
func TestDeadlock_BatchEviction(t *testing.T) {
	watch(t, "writers at the bound of sealed bytes")
	db, g := openGate(t, Options{})
	defer mustClose(t, db)
	if err := db.put("room", 3*maxPendingBytes); err != nil { // so that the file need not grow below
		t.Fatal(err)
	}
	if err := db.put("room", 0); err != nil {
		t.Fatal(err)
	}
	g.shut(nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := db.put("a", 1); err != nil {
			t.Error(err)
		}
	})
	<-g.waiting
	const writers = 24
	for i := range writers {
		wg.Go(func() {
			if err := db.put(fmt.Sprint("k", i), maxPendingBytes/16); err != nil {
				t.Error(err)
			}
		})
	}
	for db.pendingBytes() == 0 {
		time.Sleep(time.Millisecond)
	}
	g.release()
	wg.Wait()
	if err := db.View(func(tx *Tx) error {
		if got := tx.Bucket([]byte("b")).Stats().KeyN; got != writers+3 {
			return fmt.Errorf("%d keys, want %d", got, writers+3)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// 5. Statistics: they are read while one transaction holds the writer lock and
// another the flush lock, and wait for neither.
func TestDeadlock_Statistics(t *testing.T) {
	watch(t, "statistics beside a writer and a sync")
	db, g := openGate(t, Options{})
	defer mustClose(t, db)
	g.shut(nil)
	done := make(chan error, 1)
	go func() { done <- db.put("a", 10) }()
	<-g.waiting
	tx, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	before := db.Stats()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				now := db.Stats()
				now.Sub(&before)
				tx.Stats()
				db.Info()
				if db.Path() == "" || db.String() == "" {
					t.Error("the database has no path")
				}
			}
		})
	}
	wg.Wait()
	if got := db.Stats(); got.OpenTxN != before.OpenTxN {
		t.Errorf("%d open readers, want %d", got.OpenTxN, before.OpenTxN)
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	g.release()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// 6. Locks that depend on what is found: growing or not, cutting or not, large
// or not, and a sync that fails while all of them wait. Each gets an error, the
// reader its state.
func TestDeadlock_ConditionalOrder(t *testing.T) {
	watch(t, "a failed sync with many waiting")
	for round := range 6 {
		db, g := openGate(t, Options{LargeTxPages: 1 + round*4})
		storm(t, db, 4, stormRounds()/2, nil, "Update", "grow", "shrink", "Sync").Wait()
		g.shut(syscall.EIO)
		failed := make(chan error, 1)
		go func() { failed <- db.put("a", 10) }()
		<-g.waiting
		wg := storm(t, db, 8, 6, []error{ErrPoisoned})
		if round%2 == 0 {
			if err := db.View(checkAll); err != nil {
				t.Error(err)
			}
		}
		g.release()
		if err := <-failed; !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.EIO) {
			t.Errorf("the commit whose sync failed: %v", err)
		}
		wg.Wait()
		if err := db.View(checkAll); err != nil {
			t.Errorf("a reader afterwards: %v", err)
		}
		mustClose(t, db)
	}
}

// 7. Goroutines of the engine: the syncer of Periodic, the timers of Batch and
// a Check, beside user calls and Close.
func TestDeadlock_BackgroundThreads(t *testing.T) {
	watch(t, "the engine's goroutines and Close")
	for round := range 8 {
		db, g := openGate(t, Options{Durability: Periodic(100 * time.Microsecond)})
		db.MaxBatchDelay = 200 * time.Microsecond
		wg := storm(t, db, 6, stormRounds(), []error{ErrDatabaseNotOpen}, "Batch", "Update", "grow", "Sync", "Check")
		if round%2 == 1 {
			g.shut(nil)
			<-g.waiting // the syncer is in its sync when Close comes
			closed := make(chan error, 1)
			go func() { closed <- db.Close() }()
			for db.isOpen() {
				time.Sleep(time.Millisecond)
			}
			g.release()
			if err := <-closed; err != nil {
				t.Error(err)
			}
		} else {
			mustClose(t, db)
		}
		wg.Wait()
	}
}

// A reader and a growing writer in one goroutine: in bbolt growth waits for all
// readers. Slices of the reader stay what they are.
func TestDeadlock_ReaderAndGrowingWriter(t *testing.T) {
	watch(t, "a writer behind a reader of its own goroutine")
	db, _ := openGate(t, Options{})
	defer mustClose(t, db)
	value := bytes.Repeat([]byte("v"), 9000)
	if err := db.Update(func(tx *Tx) error { return tx.Bucket([]byte("b")).Put([]byte("kept"), value) }); err != nil {
		t.Fatal(err)
	}
	err := db.View(func(reader *Tx) error {
		kept := reader.Bucket([]byte("b")).Get([]byte("kept"))
		before := db.filePages.Load()
		for k := range reader.Bucket([]byte("b")).All() { // an iterator open, too
			for i := range 8 {
				if err := db.put(string(k)+fmt.Sprint(i), 1<<20); err != nil {
					return err
				}
			}
			if err := db.put("kept", 0); err != nil {
				return err
			}
		}
		if after := db.filePages.Load(); after < 4*before {
			t.Errorf("the file grew from %d to %d pages only", before, after)
		}
		if !bytes.Equal(kept, value) {
			t.Error("the reader's slice has changed")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A Check whose channel nobody drains must not hold Close up.
func TestDeadlock_AbandonedCheck(t *testing.T) {
	watch(t, "Close behind an abandoned Check")
	path, _ := damaged(t, Options{})
	flipBit(t, path, int64(leafOf(t, path, "one", "key10"))*4096+3000, 0x10)
	db := mustOpen(t, path, Options{})
	if err := db.View(func(tx *Tx) error { return <-tx.Check() }); !errors.Is(err, ErrChecksum) {
		t.Errorf("Check: got %v, want %v", err, ErrChecksum)
	}
	mustClose(t, db)
}

// Info looked at the mapping that Close was taking down.
func TestDeadlock_InfoBesideClose(t *testing.T) {
	watch(t, "Info beside Close")
	path := filepath.Join(t.TempDir(), "info.db")
	for range 50 {
		db := mustOpen(t, path, Options{})
		looking, gone := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(gone)
			close(looking)
			for db.Info().Data != 0 {
			}
		}()
		<-looking
		mustClose(t, db)
		<-gone
	}
}
