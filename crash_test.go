package lightning

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"hash/maphash"
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
	newest := w.newest(w.killed, 1<<62)
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
	newest := w.newest(w.killed, 1<<62)
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

// crashModel is what a state should hold. The sum does not depend on order.
type crashModel struct {
	entries map[string]uint64 // "bucket/" or "bucket/key" to the hash of its value
	sum     uint64
	undo    []func()
}

var crashHash = maphash.MakeSeed()

func newCrashModel() *crashModel { return &crashModel{entries: make(map[string]uint64)} }

func (m *crashModel) put(entry string, value []byte) {
	var h maphash.Hash
	h.SetSeed(crashHash)
	h.WriteString(entry)
	h.WriteByte(0)
	h.Write(value)
	m.set(entry, h.Sum64()|1)
}

// set stores the hash of an entry, 0 to delete it.
func (m *crashModel) set(entry string, hash uint64) {
	old := m.entries[entry]
	m.undo = append(m.undo, func() { m.replace(entry, hash, old) })
	m.replace(entry, old, hash)
}

func (m *crashModel) replace(entry string, old, hash uint64) {
	m.sum += hash - old
	if hash == 0 {
		delete(m.entries, entry)
		return
	}
	m.entries[entry] = hash
}

// drop removes the bucket and all below.
func (m *crashModel) drop(bucket string) {
	for entry := range m.entries {
		if strings.HasPrefix(entry, bucket+"/") {
			m.set(entry, 0)
		}
	}
}

// load reads a whole state.
func (m *crashModel) load(tx *Tx) error {
	var walk func(path string, b *Bucket) error
	walk = func(path string, b *Bucket) error {
		m.put(path+"/", []byte(fmt.Sprint(b.Sequence())))
		return b.ForEach(func(k, v []byte) error {
			if v == nil {
				return walk(path+"/"+string(k), b.Bucket(k))
			}
			m.put(path+"/"+string(k), v)
			return nil
		})
	}
	if err := tx.ForEach(func(name []byte, b *Bucket) error { return walk(string(name), b) }); err != nil {
		return err
	}
	return tx.Err()
}

const crashBuckets = 3

func crashBucket(i int) string { return fmt.Sprintf("bucket%d", i) }

// transact makes random changes, in the database and in the model. When it
// fails the model is as before.
func (w *crashWorld) transact(tx *Tx, rng *rand.Rand) (err error) {
	m := w.model
	m.undo = nil
	finished := false
	defer func() {
		if finished && err == nil {
			w.states[tx.id] = m.sum
			return
		}
		for i := len(m.undo) - 1; i >= 0; i-- {
			m.undo[i]()
		}
	}()
	for range 1 + rng.IntN(4) {
		if err := w.change(tx, rng); err != nil {
			return err
		}
	}
	switch rng.IntN(16) {
	case 0:
		return errCrashFn
	case 1:
		if tx.managed {
			panic(errCrashFn)
		}
	}
	finished = true
	return nil
}

// change makes one random change.
func (w *crashWorld) change(tx *Tx, rng *rand.Rand) error {
	m := w.model
	path := crashBucket(rng.IntN(crashBuckets))
	b, err := tx.CreateBucketIfNotExists([]byte(path))
	if err != nil {
		return err
	}
	if rng.IntN(3) == 0 {
		sub := fmt.Sprintf("sub%d", rng.IntN(3))
		if b.Bucket([]byte(sub)) != nil && rng.IntN(4) == 0 {
			m.put(path+"/", []byte(fmt.Sprint(b.Sequence())))
			m.drop(path + "/" + sub)
			return b.DeleteBucket([]byte(sub))
		}
		m.put(path+"/", []byte(fmt.Sprint(b.Sequence())))
		if b, err = b.CreateBucketIfNotExists([]byte(sub)); err != nil {
			return err
		}
		path += "/" + sub
	}
	seq := b.Sequence()
	if rng.IntN(4) == 0 {
		if seq, err = b.NextSequence(); err != nil {
			return err
		}
	}
	m.put(path+"/", []byte(fmt.Sprint(seq)))
	n, size, keys := 1+rng.IntN(8), 120, 300
	switch rng.IntN(12) {
	case 0:
		n, size = 1, 60<<10
	case 1:
		n, size = 2, 6000
	case 2:
		n = 150
	}
	remove := rng.IntN(4) == 0
	for range n {
		key := fmt.Sprintf("key%03d", rng.IntN(keys))
		if rng.IntN(30) == 0 {
			key += strings.Repeat("k", 3000)
		}
		if remove {
			m.set(path+"/"+key, 0)
			if err := b.Delete([]byte(key)); err != nil {
				return err
			}
			continue
		}
		value := bytes.Repeat([]byte{byte(rng.Uint32())}, rng.IntN(size))
		m.put(path+"/"+key, value)
		if err := b.Put([]byte(key), value); err != nil {
			return err
		}
	}
	return nil
}
