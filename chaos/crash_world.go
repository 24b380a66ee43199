package chaos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/chaos/simdisk"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/page"
)

// world is one process on one file, and what it was promised.
type world struct {
	r       *run
	parent  *world // the process before it, nil for the first
	ending  ending // how that ended, nil if this one is for a copy of the database
	depth   int    // processes before it
	steps   []done
	path    string
	options lightning.Options
	trace   []string
	log     warnings

	db     *lightning.DB
	disk   *simdisk.Disk
	opened int // position at which Open returned
	// created tells that an Open had returned before. Until then nothing can be
	// lost, and garbage in the first sector is not told from a foreign file.
	created bool
	metas   [][]byte // the slots that earlier processes wrote
	readers []reader

	model   *model                 // changed under the writer lock only
	before  map[page.TxID]content  // what Open may find
	states  map[page.TxID]content  // what each transaction of this process left
	history map[page.TxID]content  // what earlier processes left, up to what Open found
	killed  []promise              // survive a kill
	cut     []promise              // survive a power cut, too
	failing int                    // so many syncs fail from here on
	stopped bool                   // the database is poisoned
	switchd bool                   // NoSync was not always what it is now
	closed  bool                   // Close returned nil, after commits
	during  atomic.Pointer[beside] // what happens beside the next flush; members of its group flush, too
	mu      sync.Mutex             // guards bad
	bad     *violation             // found inside a call of the engine
}

// promise says that from a position of the recording on a transaction is not
// lost.
type promise struct {
	position int
	tx       page.TxID
}

type reader struct {
	tx   *lightning.Tx
	id   page.TxID
	want content
}

// violation is a broken promise. It is thrown as a panic by the goroutine that
// runs the workload.
type violation struct {
	what  string
	trace []string
	world *world // the process that showed it
}

func (w *world) violation(format string, args ...any) *violation {
	return &violation{what: fmt.Sprintf(format, args...), trace: append(w.trace[:len(w.trace):len(w.trace)], "then: "+fmt.Sprintf(format, args...)), world: w}
}

// fail ends the workload.
func (w *world) fail(format string, args ...any) { panic(w.violation(format, args...)) }

// note is fail for code that runs inside a call of the engine.
func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bad == nil {
		w.bad = w.violation(format, args...)
	}
}

func (w *world) logf(format string, args ...any) {
	at := 0
	if w.disk != nil {
		at = w.disk.Position()
	}
	w.trace = append(w.trace, fmt.Sprintf("%d.%-4d ", w.depth, at)+fmt.Sprintf(format, args...))
}

// newWorld returns a process that comes after another.
func (r *run) newWorld(parent *world, e ending) *world {
	w := &world{r: r, parent: parent, ending: e, options: r.plan.options}
	if parent != nil {
		w.depth = parent.depth + 1
		w.trace = slices.Clip(parent.trace)
	}
	w.path = filepath.Join(r.dir, fmt.Sprintf("crash%d.db", w.depth))
	w.options.Logger = &w.log
	r.last = w
	return w
}

// start opens the image.
func (w *world) start(im *simdisk.Image) error {
	if err := im.WriteTo(w.path); err != nil {
		return err
	}
	remove := fsync.Intercept(w.path, func(f fsync.File) fsync.File {
		w.disk = simdisk.New(f, im)
		w.disk.Weak, w.disk.Ignore, w.disk.Seed = w.r.plan.weak, w.r.config.Ignore, w.r.plan.seed
		return w.disk
	})
	defer remove()
	db, err := lightning.Open(w.path, 0o600, &w.options)
	if err != nil {
		return err
	}
	w.db, w.opened = db, w.disk.Position()
	w.disk.OnSync, w.disk.OnWrite = w.onSync, w.onWrite
	w.r.live = append(w.r.live, w)
	return nil
}

// abandon gives back what a failed workload left open.
func (w *world) abandon() {
	for _, r := range w.readers {
		if err := r.tx.Rollback(); err != nil && !errors.Is(err, lightning.ErrTxClosed) {
			w.logf("end of a reader: %v", err)
		}
	}
	if err := w.db.Close(); err != nil {
		w.logf("Close: %v", err)
	}
}

// recovered judges what Open found: one of the states in w.before that is not
// older than floor, whole.
func (w *world) recovered(floor page.TxID) {
	id, got, err := w.read()
	if err != nil {
		w.fail("transaction %d was opened and cannot be read: %v", id, err)
	}
	want, ok := w.before[id]
	if floor == 0 && id == 1 && len(got) == 0 {
		want, ok = got, true // only the first slot of creation stood: Open has created it anew
	}
	switch {
	case !ok:
		w.fail("Open yields transaction %d, which was never committed or was dropped", id)
	case id < floor:
		w.fail("Open yields transaction %d, promised was %d", id, floor)
	}
	if d := want.diff(got); d != "" {
		w.fail("Open yields transaction %d with other content: %s", id, d)
	}
	w.check()
	w.model = newModel(got)
	w.states = map[page.TxID]content{id: got}
	maps.DeleteFunc(w.history, func(older page.TxID, _ content) bool { return older > id })
	w.cut = append(w.cut, promise{w.opened, id})
	w.killed = append(w.killed, promise{w.opened, id})
	w.logf("Open yields transaction %d", id)
}

// read returns the number and the content of the newest state.
func (w *world) read() (id page.TxID, c content, err error) {
	err = w.db.View(func(tx *lightning.Tx) (err error) {
		id = page.TxID(tx.ID())
		c, err = load(tx)
		return err
	})
	return id, c, err
}

// check runs the engine's own check.
func (w *world) check() {
	tx := w.begin()
	var first error
	for err := range tx.Check() {
		if first == nil {
			first = err
		}
	}
	id := tx.ID()
	if err := tx.Rollback(); err != nil {
		w.fail("end of a reader: %v", err)
	}
	if first != nil {
		w.fail("Check of transaction %d: %v", id, first)
	}
}

func (w *world) begin() *lightning.Tx {
	tx, err := w.db.Begin(false)
	if err != nil {
		w.fail("Begin: %v", err)
	}
	return tx
}

// syncs reports whether commits are durable when they return.
func (w *world) syncs() bool {
	return !w.db.NoSync && w.options.Durability != lightning.Periodic(periodicNever)
}

// acknowledged notes what the commit of a transaction promises.
func (w *world) acknowledged(id page.TxID) {
	p := promise{w.disk.Position(), id}
	w.killed = append(w.killed, p)
	if w.syncs() {
		w.cut = append(w.cut, p)
	}
	w.logf("transaction %d acknowledged", id)
}

func newest(promises []promise, position int) (id page.TxID) {
	for _, p := range promises {
		if p.position <= position {
			id = max(id, p.tx)
		}
	}
	return id
}

// poisoned judges the error of a write: only a failed sync explains it.
func (w *world) poisoned(what string, err error) {
	switch {
	case !w.disk.Stale():
		w.fail("%s: %v", what, err)
	case !errors.Is(err, lightning.ErrPoisoned):
		w.fail("%s after a failed sync: %v, want ErrPoisoned", what, err)
	}
	w.logf("%s: the database is poisoned", what)
	w.stopped = true
}

// beside is what is to happen once, while a flush stands at an operation.
type beside struct {
	at fsync.Op
	do func()
}

// onSync runs inside the engine's syncs.
func (w *world) onSync(op fsync.Op) error {
	if op == fsync.OpSync {
		w.lookDuring()
	}
	w.besideFlush(op)
	if w.failing > 0 {
		w.failing--
		return syscall.EIO
	}
	return nil
}

func (w *world) onWrite(op fsync.Op) { w.besideFlush(op) }

// besideFlush lets happen what is to happen while a flush is under way, in
// a goroutine of its own: this one holds locks of the engine.
func (w *world) besideFlush(op fsync.Op) {
	b := w.during.Load()
	if b == nil || b.at != op || !w.during.CompareAndSwap(b, nil) {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.do()
	}()
	<-done
}

// lookDuring begins a reader while a commit is being synced: it must not see
// what is not durable, unless commits without a sync came before.
func (w *world) lookDuring() {
	if w.switchd || !w.syncs() {
		return
	}
	proven := max(w.disk.Proven(w.disk.Position()), newest(w.cut, math.MaxInt))
	done := make(chan struct{})
	go func() {
		defer close(done)
		tx, err := w.db.Begin(false)
		if err != nil {
			if !errors.Is(err, lightning.ErrDatabaseNotOpen) { // the sync is Close's
				w.note("Begin during a sync: %v", err)
			}
			return
		}
		if id := page.TxID(tx.ID()); id > proven {
			w.note("a reader sees transaction %d during its sync, durable is %d", id, proven)
		}
		if err := tx.Rollback(); err != nil {
			w.note("end of a reader: %v", err)
		}
	}()
	<-done
}

// past returns what the process and those before it left.
func (w *world) past() map[page.TxID]content {
	all := maps.Clone(w.history)
	maps.Copy(all, w.states)
	return all
}

// candidates returns what may be found after a crash at position n, whatever
// was promised.
func (w *world) candidates(n int) map[page.TxID]content {
	may := make(map[page.TxID]content)
	if n < w.opened {
		maps.Copy(may, w.before)
	}
	maps.Copy(may, w.states)
	return may
}

// end lets the process close the database; its crash may come before that.
func (w *world) end() {
	for len(w.readers) > 0 {
		w.endReader()
	}
	last := newest(w.killed, math.MaxInt)
	err := w.db.Close()
	w.r.forget(w)
	switch {
	case err != nil && !w.disk.Stale():
		w.fail("Close: %v", err)
	case err == nil && !w.stopped:
		w.cut = append(w.cut, promise{w.disk.Position(), last})
		// Close has nothing to add to what Open found.
		w.closed = last > newest(w.killed, w.opened)
	}
	w.logf("closed: %v", err)
	if w.bad != nil {
		panic(w.bad)
	}
}

// endReader expects that the oldest reader sees what it saw when it began.
func (w *world) endReader() {
	r := w.readers[0]
	got, err := load(r.tx)
	d := r.want.diff(got)
	if err != nil {
		d = r.want.within(got)
	}
	durable := newest(w.cut, math.MaxInt)
	switch {
	case err != nil && w.disk.Stale() && r.id > durable && corruption(err):
		// What it sees was never durable, and the kernel has lost it.
	case err != nil:
		w.fail("a reader of transaction %d: %v", r.id, err)
	}
	if d != "" {
		w.fail("a reader of transaction %d sees other content than when it began: %s", r.id, d)
	}
	w.readers = w.readers[1:]
	if err := r.tx.Rollback(); err != nil {
		w.fail("end of a reader: %v", err)
	}
}

// metaDurable returns the transaction that the meta slot says is durable;
// docs/FORMAT.md says where it is.
func metaDurable(slot []byte) page.TxID {
	return page.TxID(binary.LittleEndian.Uint64(slot[72:]))
}
