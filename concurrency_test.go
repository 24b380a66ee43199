package lightning_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
)

// The tests of this file are short and meant for the race detector. Their invariant: money is moved between
// accounts, and every snapshot must hold the same sum.
const (
	accounts       = 300
	startBalance   = 1000
	totalOfBalance = accounts * startBalance
)

func openBank(t *testing.T, opts *lightning.Options) *lightning.DB {
	t.Helper()
	db := openDB(t, opts)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "accounts")
		for i := range accounts {
			if err := b.Put([]byte(numberedKey(i)), binary.BigEndian.AppendUint64(nil, startBalance)); err != nil {
				t.Fatal(err)
			}
		}
	})
	return db
}

// transfer moves a random amount from one account to another.
func transfer(tx *lightning.Tx, rng *rand.Rand) error {
	b := tx.Bucket([]byte("accounts"))
	from, to := []byte(numberedKey(rng.IntN(accounts))), []byte(numberedKey(rng.IntN(accounts)))
	amount := rng.Uint64N(binary.BigEndian.Uint64(b.Get(from)) + 1)
	if err := b.Put(from, binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(b.Get(from))-amount)); err != nil {
		return err
	}
	return b.Put(to, binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(b.Get(to))+amount))
}

// steal breaks the invariant. A transaction that did it must never be seen.
func steal(tx *lightning.Tx, rng *rand.Rand) error {
	key := []byte(numberedKey(rng.IntN(accounts)))
	return tx.Bucket([]byte("accounts")).Put(key, binary.BigEndian.AppendUint64(nil, 1<<40))
}

// audit adds up all accounts.
func audit(tx *lightning.Tx) error {
	var sum uint64
	n := 0
	err := tx.Bucket([]byte("accounts")).ForEach(func(k, v []byte) error {
		if len(v) != 8 {
			return fmt.Errorf("account %q holds %d bytes", k, len(v))
		}
		sum += binary.BigEndian.Uint64(v)
		n++
		return nil
	})
	if err == nil && (sum != totalOfBalance || n != accounts) {
		err = fmt.Errorf("transaction %d: %d accounts with a sum of %d, want %d with %d", tx.ID(), n, sum, accounts, totalOfBalance)
	}
	return err
}

var errThief = errors.New("caught")

// write makes one write transaction of a random kind.
func write(db *lightning.DB, rng *rand.Rand) error {
	switch rng.IntN(8) {
	case 0:
		err := db.Update(func(tx *lightning.Tx) error { return errors.Join(steal(tx, rng), errThief) })
		if !errors.Is(err, errThief) {
			return fmt.Errorf("failing Update: got %v, want %v", err, errThief)
		}
		return nil
	case 1:
		var err error
		value := recovered(func() {
			err = db.Update(func(tx *lightning.Tx) error { panic(errors.Join(steal(tx, rng), errThief)) })
		})
		if caught, ok := value.(error); !ok || !errors.Is(caught, errThief) {
			return fmt.Errorf("panicking Update: recovered %v, error %v", value, err)
		}
		return nil
	case 2:
		seed := rng.Uint64()
		return db.Batch(func(tx *lightning.Tx) error { return transfer(tx, rand.New(rand.NewPCG(seed, 0))) })
	case 3:
		tx, err := db.Begin(true)
		if err != nil {
			return err
		}
		return errors.Join(steal(tx, rng), tx.Rollback())
	case 4:
		tx, err := db.Begin(true)
		if err != nil {
			return err
		}
		if err := transfer(tx, rng); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	default:
		return db.Update(func(tx *lightning.Tx) error { return transfer(tx, rng) })
	}
}

func TestConcurrency_WritersAndReaders(t *testing.T) {
	for name, opts := range map[string]*lightning.Options{"sync": nil, "unsynced": {NoSync: true}} {
		t.Run(name, func(t *testing.T) {
			db := openBank(t, opts)
			db.MaxBatchDelay = time.Millisecond
			var writers, readers sync.WaitGroup
			var stop atomic.Bool
			for g := range 8 {
				writers.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(g), 1))
					for range 40 {
						if err := write(db, rng); err != nil {
							t.Errorf("writer: %v", err)
						}
					}
				})
				readers.Go(func() {
					last := 0
					for !stop.Load() {
						err := db.View(func(tx *lightning.Tx) error {
							if tx.ID() < last {
								return fmt.Errorf("transaction %d was seen after %d", tx.ID(), last)
							}
							last = tx.ID()
							return audit(tx)
						})
						if err != nil {
							t.Errorf("reader: %v", err)
							return
						}
					}
				})
			}
			writers.Wait()
			stop.Store(true)
			readers.Wait()
			mustView(t, db, func(tx *lightning.Tx) {
				if err := audit(tx); err != nil {
					t.Error(err)
				}
			})
			if got := db.Stats().OpenTxN; got != 0 {
				t.Errorf("OpenTxN: got %d, want 0", got)
			}
		})
	}
}

// What a transaction committed must be seen by every one that begins after its Commit has returned.
func TestConcurrency_ReadYourOwnCommits(t *testing.T) {
	db := openDB(t, nil)
	fillBucket(t, db, 0)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			key := []byte(fmt.Sprint("writer-", g))
			for i := range 25 {
				want := fmt.Sprint(i)
				err := db.Update(func(tx *lightning.Tx) error { return tx.Bucket([]byte("b")).Put(key, []byte(want)) })
				if err != nil {
					t.Errorf("Update: %v", err)
				}
				err = db.View(func(tx *lightning.Tx) error {
					if got := tx.Bucket([]byte("b")).Get(key); string(got) != want {
						return fmt.Errorf("own commit is not visible: got %q, want %q", got, want)
					}
					return nil
				})
				if err != nil {
					t.Errorf("View: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

// Counting in one key loses nothing only if transactions see each other's results one after the other.
func TestConcurrency_UpdatesAreSerial(t *testing.T) {
	db := openDB(t, nil)
	fillBucket(t, db, 0)
	const goroutines, rounds = 8, 30
	var mu sync.Mutex
	ids := map[int]bool{}
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range rounds {
				id := 0
				err := db.Update(func(tx *lightning.Tx) error {
					id = tx.ID()
					_, err := tx.Bucket([]byte("b")).NextSequence()
					return err
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
				mu.Lock()
				if ids[id] {
					t.Errorf("two transactions have the ID %d", id)
				}
				ids[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	mustView(t, db, func(tx *lightning.Tx) {
		if got := mustBucket(t, tx, "b").Sequence(); got != goroutines*rounds {
			t.Errorf("Sequence: got %d, want %d", got, goroutines*rounds)
		}
		if got, want := tx.ID(), 2+goroutines*rounds; got != want {
			t.Errorf("ID after all commits: got %d, want %d without a gap", got, want)
		}
	})
}

func TestConcurrency_BeginRollbackStorm(t *testing.T) {
	db := openBank(t, nil)
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for range 60 {
				tx, err := db.Begin(g%4 == 0)
				if err != nil {
					t.Errorf("Begin: %v", err)
					return
				}
				if err := audit(tx); err != nil {
					t.Error(err)
				}
				if err := tx.Rollback(); err != nil {
					t.Errorf("Rollback: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if got := db.Stats().OpenTxN; got != 0 {
		t.Errorf("OpenTxN: got %d, want 0", got)
	}
}

// Readers come and go at random beside a writer that turns its pages over as fast as it can, so that a page
// given back too early would be written under a reader.
func TestConcurrency_ReadersComeAndGo(t *testing.T) {
	db := openBank(t, &lightning.Options{NoSync: true})
	var stop atomic.Bool
	var readers sync.WaitGroup
	for g := range 4 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 2))
			var open []*lightning.Tx
			for !stop.Load() || len(open) > 0 {
				if len(open) < 6 && !stop.Load() && rng.IntN(2) == 0 {
					tx, err := db.Begin(false)
					if err != nil {
						t.Errorf("Begin: %v", err)
						return
					}
					open = append(open, tx)
					continue
				}
				if len(open) == 0 {
					continue
				}
				i := rng.IntN(len(open))
				if err := audit(open[i]); err != nil {
					t.Error(err)
				}
				if err := open[i].Rollback(); err != nil {
					t.Errorf("Rollback: %v", err)
				}
				open = append(open[:i], open[i+1:]...)
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 3))
	for range 250 {
		mustUpdate(t, db, func(tx *lightning.Tx) {
			for range 10 {
				if err := transfer(tx, rng); err != nil {
					t.Errorf("transfer: %v", err)
				}
			}
		})
	}
	stop.Store(true)
	readers.Wait()
}

func TestConcurrency_CloseWhileBusy(t *testing.T) {
	db := openBank(t, nil)
	path := db.Path()
	var wg sync.WaitGroup
	var commits atomic.Int32
	started := make(chan struct{}, 8)
	for g := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 4))
			for i := 0; ; i++ {
				if i == 3 {
					started <- struct{}{}
				}
				err := db.View(audit)
				if err == nil {
					err = db.Update(func(tx *lightning.Tx) error { return transfer(tx, rng) })
				}
				if err != nil {
					wantErr(t, "after Close", err, lightning.ErrDatabaseNotOpen)
					return
				}
				commits.Add(1)
			}
		})
	}
	for range 8 {
		<-started
	}
	if err := db.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	waitFor(t, "a transaction beside Close", done)
	db = openPath(t, path, nil)
	mustView(t, db, func(tx *lightning.Tx) {
		if err := audit(tx); err != nil {
			t.Error(err)
		}
		if got, want := tx.ID(), 2+int(commits.Load()); got != want {
			t.Errorf("ID after reopen: got %d, want %d, one for each commit", got, want)
		}
	})
}

// Statistics, sizes and copies are read while transactions run.
func TestConcurrency_ObserversBesideWriters(t *testing.T) {
	db := openBank(t, &lightning.Options{NoSync: true})
	done := make(chan struct{})
	go func() {
		defer close(done)
		rng := rand.New(rand.NewPCG(5, 5))
		for range 150 {
			if err := write(db, rng); err != nil {
				t.Errorf("write: %v", err)
			}
		}
	}()
	before := db.Stats()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		mustView(t, db, func(tx *lightning.Tx) {
			if n, err := tx.WriteTo(discard{}); err != nil || n != tx.Size() {
				t.Errorf("WriteTo: %d bytes (error %v), want %d", n, err, tx.Size())
			}
			tx.Inspect()
			mustBucket(t, tx, "accounts").Stats()
		})
		stats := db.Stats()
		if diff := stats.Sub(&before); diff.TxN < 0 || diff.TxStats.GetWrite() < 0 {
			t.Errorf("Stats went backwards: %+v", diff)
		}
		before = stats
		if err := db.Sync(); err != nil {
			t.Errorf("Sync: %v", err)
		}
	}
}

// discard is a writer without the shortcuts of io.Discard.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
