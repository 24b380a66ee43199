package lightning

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/page"
)

// What went wrong with commits, syncs and shared transactions.

var regressionSeed = flag.Uint64("regression.seed", 1, "seed of TestRegressions_MergedExtentsAreAccountedFor")

// syncOps are all the ways in which the engine syncs.
var syncOps = []fsync.Op{fsync.OpSync, fsync.OpPageSync, fsync.OpGrowSync, fsync.OpEraseSync}

// syncs returns how often each way was taken.
func syncs(f *fsync.Faults) map[fsync.Op]int {
	n := map[fsync.Op]int{}
	for _, op := range syncOps {
		n[op] = f.Calls(op)
	}
	return n
}

// After a reopen the file ends with its last page, and every commit was taken
// for one that may not fit: it went out alone under the writer lock, and 16
// writers paid for a sync each.
func TestRegressions_WritersShareSyncsAfterReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db := mustOpen(t, path, Options{})
	for i := range 200 {
		putOne(t, db, fmt.Sprint(i), make([]byte, 900))
	}
	for i := range 150 { // free pages for all that follows: the file need not grow
		if err := db.Update(func(tx *Tx) error { return tx.Bucket([]byte("b")).Delete(fmt.Append(nil, i)) }); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, db)
	var faults *fsync.Faults
	db = mustOpenThrough(t, path, func(f fsync.File) fsync.File {
		faults = fsync.NewFaults(f)
		return slowSync{faults}
	})
	defer mustClose(t, db)
	if end, length := db.endPages.Load(), db.filePages.Load(); end != length {
		t.Fatalf("the file has %d pages and ends at %d: the story needs a file without room", length, end)
	}
	const writers, commits = 16, 20
	before := faults.Calls(fsync.OpSync)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range commits {
				if err := db.Update(func(tx *Tx) error { return tx.Bucket([]byte("b")).Put(fmt.Append(nil, w), fmt.Append(nil, i)) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := faults.Calls(fsync.OpSync) - before; got < 1 || got > writers*commits/2 {
		t.Errorf("%d commits of %d writers: got %d syncs, want clearly fewer", writers*commits, writers, got)
	}
}

// A commit that fits into the file as it is costs one fdatasync and no other
// sync; without syncing it costs none.
func TestRegressions_LoneCommitsSyncOnce(t *testing.T) {
	const commits = 50
	for _, mode := range []Durability{Sync, NoSync} {
		t.Run(mode.String(), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			db := mustOpen(t, path, Options{})
			putOne(t, db, "a", nil)
			mustClose(t, db)
			db, faults := openWithFaults(t, path, Options{Durability: mode})
			putOne(t, db, "a", nil) // makes room
			before := syncs(faults)
			for i := range commits {
				putOne(t, db, fmt.Sprint(i%5), fmt.Append(nil, i))
			}
			after := syncs(faults)
			for _, op := range syncOps {
				want := 0
				if op == fsync.OpSync && mode == Sync {
					want = commits
				}
				if got := after[op] - before[op]; got != want {
					t.Errorf("%d commits: got %d calls of %v, want %d", commits, got, op, want)
				}
			}
		})
	}
}

// A transaction kept the buffer of each big value that it overwrote itself.
// They are given up, but for the one that the user holds a slice of.
func TestRegressions_OverwrittenBigValues(t *testing.T) {
	db := mustOpen(t, filepath.Join(t.TempDir(), "db"), Options{})
	defer mustClose(t, db)
	const size, times = 1 << 20, 300
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	err := db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		if err != nil {
			return err
		}
		value := make([]byte, size)
		var held []byte
		for i := range times {
			value[0], value[size-1] = byte(i), byte(i)
			if err := b.Put([]byte("k"), value); err != nil {
				return err
			}
			if i == 7 {
				held = b.Get([]byte("k"))
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if len(held) != size || held[0] != 7 || held[size-1] != 7 {
			t.Errorf("the slice of an overwritten value changed: %d bytes, %d…%d", len(held), held[0], held[size-1])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := int64(after.HeapAlloc) - int64(before.HeapAlloc); got > 50<<20 {
		t.Errorf("heap grew by %d MiB for %d times one value of 1 MiB", got>>20, times)
	}
	last := times - 1
	wantOne(t, "committed", db, "k", string(byte(last))+strings.Repeat("\x00", size-2)+string(byte(last)))
}

// When the background sync of Periodic failed nobody was told: commits went on
// returning nil until one happened to sync.
func TestRegressions_FailedBackgroundSync(t *testing.T) {
	watch(t, "the syncer")
	logger := &countingLogger{Logger: discardLogger()}
	db, faults := openWithFaults(t, filepath.Join(t.TempDir(), "db"), Options{Durability: Periodic(time.Millisecond), Logger: logger})
	putOne(t, db, "a", []byte("durable"))
	if err := db.Sync(); err != nil {
		t.Fatal(err)
	}
	faults.FailAlways(fsync.OpSync, syscall.EIO)
	putOne(t, db, "a", []byte("lost"))
	db.syncer.Wait() // it ends when it has failed
	for range 3 {
		if err := db.Update(func(*Tx) error { return nil }); !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.EIO) {
			t.Errorf("Update: got %v, want %v and %v", err, ErrPoisoned, syscall.EIO)
		}
		wantOne(t, "reader", db, "a", "durable")
	}
	logger.mu.Lock()
	defer logger.mu.Unlock()
	if len(logger.errors) != 1 || !strings.Contains(logger.errors[0], syscall.EIO.Error()) {
		t.Errorf("logged %q, want the failed sync once", logger.errors)
	}
}

// Goroutines that share a read transaction loaded its map of free pages for
// Tx.Page at the same time, without a lock.
func TestRegressions_PageFromManyGoroutines(t *testing.T) {
	db := mustOpen(t, filepath.Join(t.TempDir(), "db"), Options{})
	defer mustClose(t, db)
	for i := range 50 {
		putOne(t, db, fmt.Sprint(i), make([]byte, 900))
	}
	describe := func(tx *Tx) (all []PageInfo) {
		for i := range int(tx.snap.meta.End) {
			info, err := tx.Page(i)
			if err != nil || info == nil {
				t.Errorf("Page(%d): got %v and error %v", i, info, err)
				return nil
			}
			all = append(all, *info)
		}
		return all
	}
	err := db.View(func(alone *Tx) error {
		want := describe(alone)
		return db.View(func(shared *Tx) error {
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					if got := describe(shared); !reflect.DeepEqual(got, want) {
						t.Errorf("got %v, want %v as for one goroutine", got, want)
					}
				})
			}
			wg.Wait()
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
}

// A Sync that had found the database open, and then came to the flush lock
// after Close, waited for ever: Close kept the lock.
func TestRegressions_SyncBehindClose(t *testing.T) {
	watch(t, "Sync behind Close")
	db := mustOpen(t, filepath.Join(t.TempDir(), "db"), Options{NoSync: true})
	putOne(t, db, "a", nil)
	mustClose(t, db)
	if err := db.Sync(); !errors.Is(err, ErrDatabaseNotOpen) {
		t.Errorf("Sync: got %v, want %v", err, ErrDatabaseNotOpen)
	}
	db.closing.Store(false) // as it was when the late Sync looked
	if err := db.Sync(); err != nil {
		t.Errorf("Sync that found the database open: %v", err)
	}
	db.closing.Store(true)
}

// After a failed DB.Sync readers went on with transactions that may never reach
// the medium, and trusted pages verified before, although the kernel may since
// have dropped or reloaded them.
func TestRegressions_PoisonedHandleTrustsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, faults := openWithFaults(t, path, Options{NoSync: true})
	durable, lost := strings.Repeat("durable ", 100), strings.Repeat("lost ", 160)
	putOne(t, db, "a", []byte(durable))
	if err := db.Sync(); err != nil {
		t.Fatal(err)
	}
	wantOne(t, "before", db, "a", durable)
	putOne(t, db, "a", []byte(lost))
	wantOne(t, "before the failure", db, "a", lost)
	faults.FailAlways(fsync.OpSync, syscall.EIO)
	if err := db.Sync(); !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("Sync: got %v, want %v and %v", err, ErrPoisoned, syscall.EIO)
	}
	wantOne(t, "after the failure", db, "a", durable)

	at := strings.Index(string(mustRead(t, path)), durable)
	if at < 0 {
		t.Fatal("the durable value is not in the file")
	}
	for ; at >= 0; at = strings.Index(string(mustRead(t, path)), durable) {
		overwriteAt(t, path, int64(at), []byte("D"))
	}
	var got []byte
	err := db.View(func(tx *Tx) error {
		if b := tx.Bucket([]byte("b")); b != nil {
			got = b.Get([]byte("a"))
		}
		return nil
	})
	if !errors.Is(err, ErrChecksum) || got != nil {
		t.Errorf("a page changed since it was verified: got %.20q and error %v, want %v", got, err, ErrChecksum)
	}
}

// panicAtWrite panics when pages are written, once it is armed.
type panicAtWrite struct {
	fsync.File
	armed bool
}

func (f *panicAtWrite) WriteAtv(op fsync.Op, bufs [][]byte, off int64) error {
	if f.armed {
		panic("injected")
	}
	return f.File.WriteAtv(op, bufs, off)
}

// A panic while pages were written left the flush lock held: the writers that
// waited for that flush, all later ones and Close hung.
func TestRegressions_PanicWhileWritingPages(t *testing.T) {
	watch(t, "a writer behind a panic")
	file := &panicAtWrite{}
	db := mustOpenThrough(t, filepath.Join(t.TempDir(), "db"), func(f fsync.File) fsync.File {
		file.File = f
		return file
	})
	putOne(t, db, "a", []byte("1"))
	file.armed = true
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("Update panics: %v", r)
				}
			}()
			err := db.Update(func(tx *Tx) error { return tx.Bucket([]byte("b")).Put(fmt.Append(nil, i), nil) })
			if !errors.Is(err, ErrPoisoned) || !strings.Contains(fmt.Sprint(err), "injected") {
				t.Errorf("Update: got %v, want %v and the panic", err, ErrPoisoned)
			}
		})
	}
	wg.Wait()
	wantOne(t, "reader", db, "a", "1")
	wantSound(t, "poisoned", db)
	mustClose(t, db)
}

// orders returns every sequence of two or more of the keys, each at most once.
func orders(keys []string) (out [][]string) {
	var add func(taken []string)
	add = func(taken []string) {
		if len(taken) > 1 {
			out = append(out, slices.Clone(taken))
		}
		for _, k := range keys {
			if !slices.Contains(taken, k) {
				add(append(taken, k))
			}
		}
	}
	add(nil)
	return out
}

// Of a long key its page holds the first 64 bytes. A short key that begins with
// the same 64 was found out of order beside it: the commit was acknowledged,
// and its page was refused from the next read on.
func TestRegressions_ShortAndLongKeysOfOnePrefix(t *testing.T) {
	prefix := strings.Repeat("L", 64)
	keys := []string{prefix, prefix + "1", prefix + strings.Repeat("L", 600), prefix + "M"}
	sequences := orders(keys)
	path := filepath.Join(t.TempDir(), "db")
	db := mustOpen(t, path, Options{})
	put := func(bucket string, key string) func(tx *Tx) error {
		return func(tx *Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(bucket))
			if err != nil {
				return err
			}
			return b.Put([]byte(key), []byte(key))
		}
	}
	for i, sequence := range sequences {
		err := db.Update(func(tx *Tx) (err error) { // in one transaction
			for _, k := range sequence {
				err = errors.Join(err, put(fmt.Sprint("together ", i), k)(tx))
			}
			return err
		})
		for _, k := range sequence { // each in its own
			err = errors.Join(err, db.Update(put(fmt.Sprint("apart ", i), k)))
		}
		if err != nil {
			t.Fatalf("order %d: %v", i, err)
		}
	}
	read := func(what string) {
		t.Helper()
		for i, sequence := range sequences {
			for _, bucket := range []string{fmt.Sprint("together ", i), fmt.Sprint("apart ", i)} {
				var got []string
				err := db.View(func(tx *Tx) error {
					b := tx.Bucket([]byte(bucket))
					for k := range b.All() {
						got = append(got, string(k))
					}
					for _, k := range sequence {
						if v := b.Get([]byte(k)); string(v) != k {
							t.Errorf("%s, %s: key of %d bytes: got %d bytes, want its own", what, bucket, len(k), len(v))
						}
					}
					return nil
				})
				if want := slices.Sorted(slices.Values(sequence)); err != nil || !slices.Equal(got, want) {
					t.Errorf("%s, %s: got %d keys and error %v, want %d in order", what, bucket, len(got), err, len(want))
				}
			}
		}
		wantSound(t, what, db)
	}
	read("committed")
	mustClose(t, db)
	db = mustOpen(t, path, Options{})
	defer mustClose(t, db)
	read("opened again")
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Each page that a bucket gave up was logged and kept apart, though they lay
// side by side: deleting a bucket of n pages cost n records.
func TestRegressions_FreedNeighboursAreOneExtent(t *testing.T) {
	db := mustOpen(t, filepath.Join(t.TempDir(), "db"), Options{})
	defer mustClose(t, db)
	err := db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		for i := range 1000 {
			err = errors.Join(err, b.Put(fmt.Appendf(nil, "%04d", i), make([]byte, 900)))
		}
		return err
	})
	if err == nil {
		err = db.Update(func(tx *Tx) error { return tx.DeleteBucket([]byte("b")) })
	}
	if err != nil {
		t.Fatal(err)
	}
	pages := 0
	for _, x := range db.space.fresh {
		pages += x.pages
	}
	if got := len(db.space.fresh); pages < 200 || got > 5 {
		t.Errorf("%d pages were given up as %d extents, want a few", pages, got)
	}
	records := 0
	m := db.published.Load().meta
	err = page.ReadSpaceLog(m.Inline, func(page.SpaceRecord) error { records++; return nil })
	if err != nil || records > 10 || m.LogPages > 0 {
		t.Errorf("got %d records, %d log pages and error %v; want a few records", records, m.LogPages, err)
	}
	wantSound(t, "deleted", db)
}

// The merging must not change what is accounted for: extents of different
// lengths and ages are freed side by side, in the file and in memory.
func TestRegressions_MergedExtentsAreAccountedFor(t *testing.T) {
	seed := *regressionSeed
	t.Logf("-regression.seed=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 17))
	path := filepath.Join(t.TempDir(), "db")
	want := map[string]int{} // length of each value
	for round := range 6 {
		db := mustOpen(t, path, Options{})
		for range 8 {
			err := db.Update(func(tx *Tx) error {
				b, err := tx.CreateBucketIfNotExists([]byte("b"))
				for range 20 {
					k := fmt.Sprint(rng.IntN(60))
					if rng.IntN(2) == 0 {
						delete(want, k)
						err = errors.Join(err, b.Delete([]byte(k)))
						continue
					}
					want[k] = 1 + rng.IntN(1<<rng.IntN(15))
					err = errors.Join(err, b.Put([]byte(k), make([]byte, want[k])))
				}
				return err
			})
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			wantSound(t, fmt.Sprint("round ", round), db)
		}
		mustClose(t, db)
		db = mustOpen(t, path, Options{ReadOnly: true})
		wantSound(t, fmt.Sprint("opened after round ", round), db)
		err := db.View(func(tx *Tx) error {
			b := tx.Bucket([]byte("b"))
			if b.Len() != len(want) {
				t.Errorf("round %d: got %d keys, want %d", round, b.Len(), len(want))
			}
			for k, n := range want {
				if got := len(b.Get([]byte(k))); got != n {
					t.Errorf("round %d: %s: got %d bytes, want %d", round, k, got, n)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		mustClose(t, db)
	}
}
