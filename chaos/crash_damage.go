package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/chaos/simdisk"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/page"
)

// The faults that nothing protects from: a database has to notice them.
const (
	faultLost        = "lost write"
	faultMisdirected = "misdirected write"
	faultRot         = "rotten file"
)

// harm is a device of a process that lies, or a file that rots after a power
// cut.
type harm struct {
	fault    string
	position int
	write    int    // that is lost or misdirected
	seed     uint64 // of what else is random about it
}

// harm returns one that may happen to the process.
func (w *world) harm(rng *rand.Rand) harm {
	h := harm{fault: faultRot, position: w.disk.Position()}
	ends := w.commitsFrom(w.opened, fsync.OpSync)
	switch rng.IntN(5) {
	case 0:
		h.position = w.opened + rng.IntN(h.position-w.opened+1)
	case 1, 2: // Open trusts what such a commit wrote
		if two := w.commitsFrom(w.opened, fsync.OpPageSync); len(two) > 0 {
			ends = two
		}
		fallthrough
	case 3:
		if len(ends) > 0 { // nothing came after the commit
			h.position = ends[rng.IntN(len(ends))]
		}
	}
	if i, ok := w.someWrite(h.position, rng); ok && rng.IntN(2) == 0 {
		h.write = i
		h.fault = [...]string{faultLost, faultMisdirected}[rng.IntN(2)]
	}
	h.seed = rng.Uint64()
	return h
}

// commitsFrom returns the positions after the commits from a position on that
// made a sync with the label.
func (w *world) commitsFrom(from int, op fsync.Op) (at []int) {
	made := false
	for i, e := range w.disk.Events() {
		if i < from || e.Kind != simdisk.Sync {
			continue
		}
		if made = made || e.Op == op; made && e.Op == fsync.OpSync {
			at, made = append(at, i+1), false
		}
	}
	return at
}

// damage lets the harm happen, and expects an error, or a state as it was.
func (r *run) damage(w *world, h harm) {
	n, what := h.position, ""
	rng := rand.New(rand.NewPCG(h.seed, 9))
	closed := n == w.disk.Position() && w.closed
	var file []byte
	switch h.fault {
	case faultRot:
		im := w.disk.At(n)
		file, what = simdisk.Rot(r.apply(w.depth+1, im, im.NewCut(rng, false)), w.pageSize(), rng)
	default:
		alter := simdisk.LoseWrite(h.write)
		what = fmt.Sprintf("write %d", h.write)
		if h.fault == faultMisdirected {
			off := int64(rng.IntN(int(w.disk.At(h.write).Size())/w.pageSize()+1)) * int64(w.pageSize())
			alter = simdisk.Misdirect(h.write, off)
			what += fmt.Sprintf(" went to %d", off)
		}
		// Without the meta of Close the file is like one that was not closed.
		closed = closed && w.disk.Events()[h.write].Op != fsync.OpMetaWrite
		im := w.disk.Replay(n, alter)
		file = r.apply(w.depth+1, im, im.NewCut(rng, false))
	}
	r.judged(h.fault)
	v := r.newWorld(w, h)
	v.trace = append(v.trace, fmt.Sprintf("%s, power cut at %d: %s", h.fault, n, what))
	if v.options.Verify == lightning.VerifyNever {
		v.options.Verify = lightning.VerifyFirst
	}
	v.before = w.past()
	floor := max(newest(w.cut, n), w.disk.Proven(n))
	v.noticed(file, w, floor, h.fault, closed)
}

// someWrite chooses a write of pages or a meta slot among the first n events.
func (w *world) someWrite(n int, rng *rand.Rand) (int, bool) {
	var writes []int
	for i := range n {
		if w.isWrite(i, n) {
			writes = append(writes, i)
		}
	}
	if len(writes) == 0 {
		return 0, false
	}
	return writes[rng.IntN(len(writes))], true
}

// isWrite reports whether event i is among the first n and a write of pages or
// a meta slot by this process.
func (w *world) isWrite(i, n int) bool {
	if i < w.opened || i >= n {
		return false
	}
	e := w.disk.Events()[i]
	return e.Kind == simdisk.Write && (e.Op == fsync.OpPageWrite || e.Op == fsync.OpMetaWrite)
}

// noticed opens a damaged file and judges what comes of it.
func (w *world) noticed(file []byte, before *world, floor page.TxID, fault string, closed bool) {
	if err := w.start(simdisk.Whole(file)); err != nil {
		var open *lightning.OpenError
		if !errors.As(err, &open) || !corruption(err) {
			w.fail("Open fails with %T: %v, want a typed error that says corruption", err, err)
		}
		return
	}
	id, got, err := w.read()
	want, ok := w.before[id]
	if !ok {
		w.fail("Open yields transaction %d, which was never committed or was dropped", id)
	}
	w.right(id, want, got, err)
	if err == nil && id < floor {
		w.mayBeOlder(id, floor, file, before, fault, closed)
	}
	tx := w.begin()
	for err := range tx.Check() {
		if !corruption(err) {
			w.fail("Check says %v, want errors that say corruption", err)
		}
	}
	if err := tx.Rollback(); err != nil {
		w.fail("end of a reader: %v", err)
	}
	w.model = newModel(want)
	w.states = map[page.TxID]content{id: want}
	if err == nil {
		w.writeOn(id)
	}
	if err := w.db.Close(); err != nil && !corruption(err) {
		w.fail("Close: %v", err)
	}
	w.r.forget(w)
}

// right expects that what was read is right, and the whole if there was no
// error.
func (w *world) right(id page.TxID, want, got content, err error) {
	switch {
	case err != nil && !corruption(err):
		w.fail("transaction %d: %v, want an error that says corruption", id, err)
	case err != nil && want.within(got) != "":
		w.fail("transaction %d, before the error: %s", id, want.within(got))
	case err == nil && want.diff(got) != "":
		w.fail("transaction %d: %s", id, want.diff(got))
	}
}

// mayBeOlder judges a state without error that is older than promised. That is
// what damage to a commit looks like that was never closed: it cannot be told
// from one cut short. But no meta slot that is as it was written may say that a
// newer state was durable, and damage that can be seen must have been told to
// the logger.
func (w *world) mayBeOlder(id, floor page.TxID, file []byte, before *world, fault string, closed bool) {
	if closed {
		w.fail("Open yields transaction %d of a file that was closed with %d, and no error", id, floor)
	}
	size := before.pageSize()
	if len(file) >= size+page.MetaSize && bytes.Equal(file[:page.MetaSize], file[size:size+page.MetaSize]) {
		fault = faultMisdirected // one slot is a copy of the other: nothing to see
	}
	for slot := range 2 {
		off := slot * size
		if off+page.MetaSize > len(file) {
			continue
		}
		b := file[off : off+page.MetaSize]
		if durable := metaDurable(b); durable > id && before.wrote(b) {
			w.fail("Open yields transaction %d, meta slot %d says that %d is durable, and no error", id, slot, durable)
		}
	}
	if fault == faultRot && w.log.n.Load() == 0 {
		w.fail("Open yields transaction %d instead of %d and warns nobody", id, floor)
	}
}

// wrote reports whether the bytes are a meta slot that this process or one
// before it wrote.
func (w *world) wrote(slot []byte) bool {
	return slices.ContainsFunc(w.allMetas(), func(meta []byte) bool { return bytes.Equal(meta, slot) })
}

// allMetas returns the meta slots that this process and those before it wrote.
func (w *world) allMetas() [][]byte {
	metas := slices.Clip(w.metas)
	for _, e := range w.disk.Events() {
		if e.Kind == simdisk.Write && e.Op == fsync.OpMetaWrite {
			metas = append(metas, e.Data)
		}
	}
	return metas
}

// writeOn goes on with a damaged file: the damage may stop it, but may not
// become wrong data.
func (w *world) writeOn(id page.TxID) {
	rng := rand.New(rand.NewPCG(uint64(id), 6))
	w.model.begin()
	err := w.db.Update(func(tx *lightning.Tx) error { return w.changes(tx, rng) })
	if err != nil {
		w.model.rollback()
		if !corruption(err) {
			w.fail("a commit on a damaged file: %v", err)
		}
	}
	id, got, err := w.read()
	w.right(id, w.model.entries, got, err)
}
