package lightning

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/page"
)

// TestCrash runs random transactions on a recorded disk, cuts the recording
// anywhere, and opens what a kill or a power cut may have left. Each time:
//
//   - Open yields a state that some transaction left, whole, and none older
//     than what was promised: in Sync mode everything acknowledged, in the
//     others what the last DB.Sync covered; after a kill everything
//     acknowledged, in each mode.
//   - Check finds nothing, further commits work, and a second crash, also one
//     within the recovery, keeps the same promises.
//   - What an open dropped never comes back.
var (
	crashStates = flag.Int("crash.states", 3000, "crash states that TestCrash looks at")
	crashSeed   = flag.Uint64("crash.seed", 0, "seed of the first run of TestCrash (0: a fixed default)")
)

const (
	crashDefaultSeed  = 52026
	crashStatesPerRun = 40
)

func TestCrash(t *testing.T) {
	seed := *crashSeed
	if seed == 0 {
		seed = crashDefaultSeed
	}
	states := *crashStates
	if testing.Short() {
		states = min(states, 400)
	}
	for states > 0 && !t.Failed() {
		states -= crashRun(t, seed, min(states, crashStatesPerRun))
		seed++
	}
}

// crashRun records one workload and looks at n crashes of it.
func crashRun(t *testing.T, seed uint64, n int) int {
	rng := rand.New(rand.NewPCG(seed, 0))
	w := newCrashWorld(t, seed, rng)
	w.open(&crashImage{})
	for range 4 + rng.IntN(12) {
		w.step()
	}
	w.end()
	looked := 0
	for looked < n && !t.Failed() {
		looked += w.crash()
	}
	return looked
}

// crashPromise says that from a position of the recording on a transaction is
// not lost.
type crashPromise struct {
	position int
	tx       page.TxID
}

// crashWorld is one process on one file, and what it was promised.
type crashWorld struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	dir     string
	trace   []string
	options Options

	db      *DB
	disk    *crashDisk
	opened  int // position at which Open returned
	readers []crashReader

	model   *crashModel // changed under the writer lock only
	before  map[page.TxID]uint64
	states  map[page.TxID]uint64 // content of each transaction of this process
	mu      sync.Mutex           // guards the promises
	killed  []crashPromise       // survive a kill
	cut     []crashPromise       // survive a power cut, too
	failing error                // what the next syncs return
	stopped bool                 // poisoned
}

type crashReader struct {
	tx  *Tx
	sum uint64
}

func newCrashWorld(t *testing.T, seed uint64, rng *rand.Rand) *crashWorld {
	w := &crashWorld{t: t, seed: seed, rng: rng, dir: t.TempDir(), model: newCrashModel()}
	w.before = map[page.TxID]uint64{0: 0, 1: 0}
	w.options.Durability = [...]Durability{Sync, Sync, NoSync, Periodic(time.Hour)}[rng.IntN(4)]
	w.options.Verify = [...]Verify{VerifyFirst, VerifyAlways}[rng.IntN(2)]
	return w
}

func (w *crashWorld) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("-run TestCrash -crash.seed=%d (%v): %s\n%s", w.seed, w.options.Durability, fmt.Sprintf(format, args...), strings.Join(w.trace, "\n"))
}

func (w *crashWorld) log(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%5d ", w.disk.position())+fmt.Sprintf(format, args...))
}

// open starts the process on an image; it must find one of the states that
// w.before holds.
func (w *crashWorld) open(im *crashImage) {
	w.t.Helper()
	db, disk, err := openImage(w.t, filepath.Join(w.dir, "crash.db"), im, w.options)
	if err != nil {
		w.fatalf("Open: %v", err)
	}
	w.db, w.disk, w.opened = db, disk, disk.position()
	disk.onSync = func(fsync.Op) error { return w.failing }
	tx := w.begin()
	defer tx.Rollback()
	m := newCrashModel()
	if err := m.load(tx); err != nil {
		w.fatalf("transaction %d: %v", tx.ID(), err)
	}
	id := page.TxID(tx.ID())
	if want, ok := w.before[id]; !ok || m.sum != want {
		w.fatalf("Open yields transaction %d, content %x, want %x (known %v)", id, m.sum, want, ok)
	}
	for err := range tx.Check() {
		w.fatalf("Check of transaction %d: %v", id, err)
	}
	w.model = m
	w.states = map[page.TxID]uint64{id: m.sum}
	w.cut = []crashPromise{{w.opened, id}}
	w.killed = w.cut
}

func (w *crashWorld) begin() *Tx {
	tx, err := w.db.Begin(false)
	if err != nil {
		w.fatalf("Begin: %v", err)
	}
	return tx
}

// step does something that a process may do.
func (w *crashWorld) step() {
	if w.stopped {
		return
	}
	switch n := w.rng.IntN(40); {
	case n < 18:
		w.group(1)
	case n < 24:
		w.group(2 + w.rng.IntN(4))
	case n < 28:
		w.concurrent(2 + w.rng.IntN(3))
	case n < 31:
		w.sync()
	case n < 34:
		tx := w.begin()
		w.readers = append(w.readers, crashReader{tx, w.states[tx.id]})
	case n < 37:
		w.endReader()
	case n < 38 && w.options.Durability != Sync:
		w.db.NoSync = !w.db.NoSync
		w.log("NoSync = %v", w.db.NoSync)
	case n < 39 && w.rng.IntN(3) == 0:
		w.failing = syscall.EIO
		w.log("syncs fail from here on")
	default:
		w.shrink()
	}
}

func (w *crashWorld) endReader() {
	if len(w.readers) == 0 {
		return
	}
	r := w.readers[0]
	w.readers = w.readers[1:]
	m := newCrashModel()
	if err := m.load(r.tx); err != nil || m.sum != r.sum {
		w.fatalf("reader of %d sees %x, began with %x: %v", r.tx.ID(), m.sum, r.sum, err)
	}
	if err := r.tx.Rollback(); err != nil {
		w.fatalf("end of a reader: %v", err)
	}
}

// group commits transactions that are sealed one after the other and go out
// together, unless one needs a longer file.
func (w *crashWorld) group(n int) {
	var groups []*group
	var ids []page.TxID
	for range n {
		tx, err := w.db.Begin(true)
		if err != nil {
			w.mustBePoisoned(err)
			return
		}
		if err := w.transact(tx, w.rng); err != nil {
			if err := tx.Rollback(); err != nil {
				w.fatalf("Rollback: %v", err)
			}
			continue
		}
		id := tx.id
		g, err := tx.seal()
		if err != nil {
			w.mustBePoisoned(err)
			tx.rollback()
			return
		}
		groups, ids = append(groups, g), append(ids, id)
	}
	for i, g := range groups {
		if err := w.db.await(g); err != nil {
			w.mustBePoisoned(err)
			continue
		}
		w.acknowledged(ids[i])
	}
}

// concurrent commits transactions of several goroutines.
func (w *crashWorld) concurrent(n int) {
	var done sync.WaitGroup
	for range n {
		rng := rand.New(rand.NewPCG(w.rng.Uint64(), 0))
		done.Go(func() {
			var id page.TxID
			err := w.update(func(tx *Tx) error {
				id = tx.id
				return w.transact(tx, rng)
			})
			switch {
			case err == nil:
				w.acknowledged(id)
			case !errors.Is(err, errCrashFn):
				w.mu.Lock()
				w.mustBePoisoned(err)
				w.mu.Unlock()
			}
		})
	}
	done.Wait()
}

// update is DB.Update for functions that may panic.
func (w *crashWorld) update(fn func(*Tx) error) (err error) {
	defer func() {
		if recover() != nil {
			err = errCrashFn
		}
	}()
	return w.db.Update(fn)
}

var errCrashFn = errors.New("function failed")

func (w *crashWorld) mustBePoisoned(err error) {
	if w.failing == nil || !errors.Is(err, ErrPoisoned) {
		w.t.Errorf("-run TestCrash -crash.seed=%d: commit: %v", w.seed, err)
	}
	w.stopped = true
}

func (w *crashWorld) acknowledged(id page.TxID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := crashPromise{w.disk.position(), id}
	w.killed = append(w.killed, p)
	if w.db.durability() == Sync {
		w.cut = append(w.cut, p)
	}
	w.log("transaction %d acknowledged", id)
}

func (w *crashWorld) sync() {
	newest := w.newest(w.killed, math.MaxInt)
	if err := w.db.Sync(); err != nil {
		w.mustBePoisoned(err)
		return
	}
	w.cut = append(w.cut, crashPromise{w.disk.position(), newest})
	w.log("DB.Sync covers transaction %d", newest)
}

func (w *crashWorld) newest(promises []crashPromise, position int) (id page.TxID) {
	for _, p := range promises {
		if p.position <= position {
			id = max(id, p.tx)
		}
	}
	return id
}

// shrink deletes everything, so that the file may be cut.
func (w *crashWorld) shrink() {
	err := w.db.Update(func(tx *Tx) error {
		for i := range crashBuckets {
			name := crashBucket(i)
			if err := tx.DeleteBucket([]byte(name)); err != nil && !errors.Is(err, ErrBucketNotFound) {
				return err
			}
			w.model.drop(name)
		}
		w.states[tx.id] = w.model.sum
		return nil
	})
	if err != nil {
		w.mustBePoisoned(err)
		return
	}
	w.acknowledged(page.TxID(w.db.published.Load().meta.TxID))
	for range 3 {
		w.group(1)
	}
}

// end lets the process close the database; its crash may come before that.
func (w *crashWorld) end() {
	for len(w.readers) > 0 {
		w.endReader()
	}
	newest := w.newest(w.killed, math.MaxInt)
	err := w.db.Close()
	if err != nil && w.failing == nil {
		w.fatalf("Close: %v", err)
	}
	if err == nil && !w.stopped {
		w.cut = append(w.cut, crashPromise{w.disk.position(), newest})
	}
	w.log("closed: %v", err)
}

// crash lets the process die at some moment of the recording and judges what
// the next one finds. It returns how many states were looked at.
func (w *crashWorld) crash() int {
	rng := rand.New(rand.NewPCG(w.rng.Uint64(), 0))
	n := rng.IntN(w.disk.position() + 1)
	v := &crashWorld{t: w.t, seed: w.seed, rng: rng, dir: w.dir, options: w.options, trace: w.trace[:len(w.trace):len(w.trace)]}
	v.disk = w.disk
	im, floor := w.imageAt(n, rng, v)
	v.before = w.statesFrom(floor, n)
	cut := max(w.newest(w.cut, n), w.disk.provenAt(n))
	v.open(im)
	for range 1 + rng.IntN(3) {
		v.step()
	}
	v.end()
	if v.t.Failed() {
		return 1
	}
	// The second crash, early ones more often: within Open or the first commit.
	m := rng.IntN(v.disk.position() + 1)
	if rng.IntN(2) == 0 {
		m = rng.IntN(min(v.disk.position(), v.opened+8) + 1)
	}
	u := &crashWorld{t: w.t, seed: w.seed, rng: rng, dir: w.dir, options: w.options, trace: v.trace}
	u.disk = v.disk
	v.cut = append(v.cut, crashPromise{0, cut}) // a kill leaves more than a power cut after it must
	v.killed = append(v.killed, crashPromise{0, floor})
	im, second := v.imageAt(m, rng, u)
	u.before = v.statesFrom(second, m)
	if m < v.opened {
		for id, sum := range w.statesFrom(second, n) {
			u.before[id] = sum
		}
	}
	u.open(im)
	u.group(1)
	u.end()
	return 2
}

// imageAt returns the file after a crash at position n, and the oldest
// transaction that the next process may find.
func (w *crashWorld) imageAt(n int, rng *rand.Rand, next *crashWorld) (*crashImage, page.TxID) {
	cut := max(w.newest(w.cut, n), w.disk.provenAt(n))
	if n == w.disk.position() && w.failing != nil {
		// The process ends, the page cache lives on.
		next.trace = append(next.trace, fmt.Sprintf("reopened after failed syncs, floor %d", cut))
		return w.disk.at(n), cut
	}
	if rng.IntN(3) == 0 && w.failing == nil {
		floor := max(cut, w.newest(w.killed, n))
		next.trace = append(next.trace, fmt.Sprintf("killed at %d, floor %d", n, floor))
		return w.disk.kill(n, rng), floor
	}
	next.trace = append(next.trace, fmt.Sprintf("power cut at %d, floor %d", n, cut))
	// Until a first Open has returned nothing can be lost, and garbage in the
	// first sector is not told from a foreign file.
	return w.disk.at(n).powerCut(rng, n >= w.opened), cut
}

// statesFrom returns what may be found after a crash at position n.
func (w *crashWorld) statesFrom(floor page.TxID, n int) map[page.TxID]uint64 {
	may := make(map[page.TxID]uint64)
	for id, sum := range w.states {
		if id >= floor {
			may[id] = sum
		}
	}
	if n < w.opened {
		for id, sum := range w.before {
			if id >= floor {
				may[id] = sum
			}
		}
	}
	return may
}
