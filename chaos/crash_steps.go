package chaos

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/chaos/simdisk"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/page"
)

// periodicNever keeps the engine's own clock out of the workloads: DB.Sync does
// what the syncer would do.
const periodicNever = time.Hour

// do runs one step.
func (w *world) do(s step) {
	w.steps = append(w.steps, done{s, w.disk.Position()})
	rng := rand.New(rand.NewPCG(s.seed, 2))
	writes := s.kind != stepBegin && s.kind != stepEnd && s.kind != stepForget
	if w.stopped && writes {
		return
	}
	switch s.kind {
	case stepCommit:
		w.commit("commit", func(tx *lightning.Tx) error { return w.changes(tx, rng) })
	case stepGroup:
		w.group(rng)
	case stepLoad:
		w.commit("large commit", func(tx *lightning.Tx) error { return w.load(tx, rng) })
	case stepBalloon:
		w.commit("balloon", func(tx *lightning.Tx) error {
			return w.put(tx, bucketName(0), "balloon", fill(rng, 300<<10+rng.IntN(400<<10)))
		})
	case stepClear:
		w.clear()
	case stepFail:
		w.failingUpdate(rng)
	case stepTwin:
		w.commit("twin", func(tx *lightning.Tx) error { return w.twin(tx, rng) })
	case stepSync:
		w.sync()
	case stepBegin:
		w.beginReader()
	case stepEnd:
		if len(w.readers) > 0 {
			w.endReader()
		}
	case stepNoSync:
		if !w.r.plan.weak {
			w.db.NoSync, w.switchd = !w.db.NoSync, true
			w.logf("NoSync = %v", w.db.NoSync)
		}
	case stepFailOnce, stepFailAlways:
		w.failing = 1
		if s.kind == stepFailAlways {
			w.failing = math.MaxInt
		}
		w.logf("%v", s)
	case stepForget:
		w.forget(rng)
	case stepRot:
		w.rot(rng)
	}
	if w.bad != nil {
		panic(w.bad)
	}
}

// commit runs a transaction by hand. It reports whether it is acknowledged.
func (w *world) commit(what string, change func(*lightning.Tx) error) bool {
	tx, id, err := w.prepare(change)
	if err != nil {
		w.poisoned(what, err)
		return false
	}
	w.logf("%s: transaction %d", what, id)
	if err := tx.Commit(); err != nil {
		w.poisoned(what, err)
		return false
	}
	w.acknowledged(id)
	return true
}

// prepare begins a transaction and lets change make its changes; what it would
// leave is noted under its number.
func (w *world) prepare(change func(*lightning.Tx) error) (*lightning.Tx, page.TxID, error) {
	tx, err := w.db.Begin(true)
	if err != nil {
		return nil, 0, err
	}
	w.model.begin()
	if err := change(tx); err != nil {
		w.model.rollback()
		return nil, 0, errors.Join(err, tx.Rollback())
	}
	id := page.TxID(tx.ID())
	w.states[id] = newModel(w.model.entries).entries
	return tx, id, nil
}

// failingUpdate runs a function that fails or panics after it has made changes.
func (w *world) failingUpdate(rng *rand.Rand) {
	errFn := errors.New("the function fails")
	defer func() {
		w.model.rollback()
		if r := recover(); r != nil && r != any(errFn) {
			panic(r)
		}
	}()
	err := w.db.Update(func(tx *lightning.Tx) error {
		w.model.begin()
		if err := w.changes(tx, rng); err != nil {
			return err
		}
		if rng.IntN(2) == 0 {
			panic(errFn)
		}
		return errFn
	})
	if !errors.Is(err, errFn) {
		w.poisoned("failing transaction", err)
	}
}

// member is a transaction that is committed while another is being written.
type member struct {
	id  page.TxID
	err chan error
}

// group commits one transaction and, while it is written or synced, begins and
// seals others, which go out together. Some of them fail before that.
func (w *world) group(rng *rand.Rand) {
	at := fsync.OpMetaWrite
	if w.syncs() && rng.IntN(3) > 0 {
		at = fsync.OpSync
	}
	var members []member
	w.during.Store(&beside{at, func() { members = w.seal(rng) }})
	if rng.IntN(10) == 0 {
		w.failing = 1
	}
	w.commit("group", func(tx *lightning.Tx) error { return w.changes(tx, rng) })
	w.during.Store(nil)
	for _, m := range members {
		if err := <-m.err; err != nil {
			w.poisoned(fmt.Sprintf("transaction %d of the group", m.id), err)
			continue
		}
		w.acknowledged(m.id)
	}
}

// seal begins transactions one after the other and leaves their commits waiting
// for the flush under way.
func (w *world) seal(rng *rand.Rand) (members []member) {
	room := w.room()
	for range 1 + rng.IntN(4) {
		tx, id, err := w.prepare(func(tx *lightning.Tx) error { return w.changes(tx, rng) })
		if err != nil {
			w.note("a transaction beside a flush: %v", err)
			return members
		}
		dirty := tx.Stats().PageAlloc/int64(w.pageSize()) + 8
		if room -= dirty; room < 0 || rng.IntN(6) == 0 {
			// One that needs a longer file would wait for the flush, which
			// waits for it here.
			w.model.rollback()
			delete(w.states, id)
			if err := tx.Rollback(); err != nil {
				w.note("Rollback: %v", err)
			}
			continue
		}
		m := member{id, make(chan error, 1)}
		go func() { m.err <- tx.Commit() }()
		members = append(members, m)
		// The next one begins when this one is sealed.
		last, err := w.db.Begin(true)
		if err != nil {
			w.note("Begin beside a flush: %v", err)
			return members
		}
		if err := last.Rollback(); err != nil {
			w.note("Rollback: %v", err)
		}
	}
	w.logf("%d transactions sealed meanwhile", len(members))
	return members
}

func (w *world) pageSize() int { return w.options.PageSize }

// room returns a lower bound of the pages that transactions may still dirty
// before the file must grow.
func (w *world) room() int64 {
	size := int64(w.pageSize())
	file := w.disk.Start().Cache()
	end := max(metaEnd(file, 0), metaEnd(file, size))
	length := int64(len(file))
	var flushes [2]int64 // pages written since the last two metas
	for _, e := range w.disk.Events() {
		switch {
		case e.Resizes():
			length = e.Size
		case e.Kind == simdisk.Write && e.Op == fsync.OpMetaWrite:
			end = max(end, metaEnd(e.Data, 0))
			flushes[0], flushes[1] = 0, flushes[0]
		case e.Kind == simdisk.Write:
			flushes[0] += int64(len(e.Data)) / size
		}
	}
	return length/size - end - flushes[0] - flushes[1] - 16
}

// metaEnd returns the end, in pages, that the meta slot at off says, 0 if there
// is none; docs/FORMAT.md says where it is.
func metaEnd(file []byte, off int64) int64 {
	if off+page.MetaSize > int64(len(file)) {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(file[off+80:]))
}

// sync makes everything durable.
func (w *world) sync() {
	last := newest(w.killed, math.MaxInt)
	if err := w.db.Sync(); err != nil {
		w.poisoned("DB.Sync", err)
		return
	}
	w.cut = append(w.cut, promise{w.disk.Position(), last})
	w.logf("DB.Sync covers transaction %d", last)
}

func (w *world) beginReader() {
	tx := w.begin()
	id := page.TxID(tx.ID())
	want, ok := w.states[id]
	if !ok {
		w.fail("a reader sees transaction %d, which is not of this process", id)
	}
	w.readers = append(w.readers, reader{tx, id, want})
	w.logf("a reader of transaction %d begins", id)
}

// clear deletes everything, so that the file may be cut, and goes on.
func (w *world) clear() {
	if !w.commit("clear", func(tx *lightning.Tx) error {
		for i := range buckets {
			if err := w.deleteBucket(tx, bucketName(i)); err != nil {
				return err
			}
		}
		return w.deleteBucket(tx, twinBucket)
	}) {
		return
	}
	for i := range uint64(3) {
		if !w.commit("commit", func(tx *lightning.Tx) error {
			return w.put(tx, bucketName(1), "after", binary.AppendUvarint(nil, i))
		}) {
			return
		}
	}
}

func (w *world) deleteBucket(tx *lightning.Tx, name string) error {
	w.model.drop(name)
	if err := tx.DeleteBucket([]byte(name)); err != nil && !errors.Is(err, lightning.ErrBucketNotFound) {
		return err
	}
	return nil
}

// forget lets the page cache take back pages from the medium, and looks at what
// readers then see: the newest durable state, whole.
func (w *world) forget(rng *rand.Rand) {
	pages, err := w.disk.Forget(rng)
	if err != nil {
		w.fail("simulated disk: %v", err)
	}
	if pages == 0 || !w.stopped {
		return
	}
	w.logf("the page cache forgets %d pages", pages)
	id, got, err := w.read()
	if err != nil {
		w.fail("a reader after a failed sync: %v", err)
	}
	if d := w.states[id].diff(got); d != "" {
		w.fail("a reader of transaction %d after a failed sync: %s", id, d)
	}
}

// rot turns a bit of a page that was just written, in the page cache, where the
// map shows it, looks, and turns it back.
func (w *world) rot(rng *rand.Rand) {
	from := w.disk.Position()
	if w.options.Verify == lightning.VerifyNever || !w.commit("commit", func(tx *lightning.Tx) error { return w.changes(tx, rng) }) {
		return
	}
	var pages []simdisk.Event
	for _, e := range w.disk.Events()[from:] {
		if e.Kind == simdisk.Write && e.Op == fsync.OpPageWrite {
			pages = append(pages, e)
		}
	}
	if len(pages) == 0 {
		return
	}
	e := pages[rng.IntN(len(pages))]
	at := rng.IntN(len(e.Data))
	flip := func(mask byte) {
		if err := w.disk.File.WriteAt(fsync.OpPageWrite, []byte{e.Data[at] ^ mask}, e.Off+int64(at)); err != nil {
			w.fail("simulated disk: %v", err)
		}
	}
	flip(1 << rng.IntN(8))
	id, got, err := w.read()
	if d := w.states[id].within(got); d != "" {
		w.fail("a bit turned at %d: transaction %d: %s", e.Off+int64(at), id, d)
	}
	if err != nil && !corruption(err) {
		w.fail("a bit turned at %d: transaction %d: %v", e.Off+int64(at), id, err)
	}
	if err == nil && w.states[id].diff(got) != "" {
		w.fail("a bit turned at %d: transaction %d: %s", e.Off+int64(at), id, w.states[id].diff(got))
	}
	flip(0)
	if id, got, err = w.read(); err != nil {
		w.fail("the bit turned back: transaction %d: %v", id, err)
	}
	if d := w.states[id].diff(got); d != "" {
		w.fail("the bit turned back: transaction %d: %s", id, d)
	}
	w.logf("a bit was turned at %d", e.Off+int64(at))
}

const (
	buckets    = 3
	twinBucket = "twin"
)

func bucketName(i int) string { return fmt.Sprintf("bucket%d", i) }

// fill returns n bytes that no other call returns.
func fill(rng *rand.Rand, n int) []byte {
	b := bytes.Repeat([]byte{byte(rng.Uint32())}, n)
	if n >= 8 {
		binary.LittleEndian.PutUint64(b[n/2-4:], rng.Uint64())
	}
	return b
}

// put stores one value.
func (w *world) put(tx *lightning.Tx, bucket, key string, value []byte) error {
	b, err := tx.CreateBucketIfNotExists([]byte(bucket))
	if err != nil {
		return err
	}
	w.model.sequence(bucket, b.Sequence())
	w.model.put(bucket+"/"+key, value)
	return b.Put([]byte(key), value)
}

// twin writes two values, one of which depends on nothing but the transaction's
// number. When a crash undoes the transaction and the next process runs its twin,
// half of the pages are the same again.
func (w *world) twin(tx *lightning.Tx, rng *rand.Rand) error {
	size := w.pageSize()/4 + 200
	same := rand.New(rand.NewPCG(uint64(tx.ID()), 3))
	if err := w.put(tx, twinBucket, "a", fill(same, size)); err != nil {
		return err
	}
	return w.put(tx, twinBucket, "b", fill(rng, size))
}

// load makes more changes than a transaction may make without syncing its pages
// first, if that is set low.
func (w *world) load(tx *lightning.Tx, rng *rand.Rand) error {
	bucket := bucketName(rng.IntN(buckets))
	for i := range 40 {
		if err := w.put(tx, bucket, fmt.Sprintf("load%02d", i), fill(rng, 200+rng.IntN(800))); err != nil {
			return err
		}
	}
	return nil
}

// changes makes one to three small changes.
func (w *world) changes(tx *lightning.Tx, rng *rand.Rand) error {
	for range 1 + rng.IntN(3) {
		if err := w.change(tx, rng); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) change(tx *lightning.Tx, rng *rand.Rand) error {
	path := bucketName(rng.IntN(buckets))
	b, err := tx.CreateBucketIfNotExists([]byte(path))
	if err != nil {
		return err
	}
	w.model.sequence(path, b.Sequence())
	if rng.IntN(3) == 0 {
		sub := fmt.Sprintf("sub%d", rng.IntN(2))
		if b.Bucket([]byte(sub)) != nil && rng.IntN(4) == 0 {
			w.model.drop(path + "/" + sub)
			return b.DeleteBucket([]byte(sub))
		}
		if b, err = b.CreateBucketIfNotExists([]byte(sub)); err != nil {
			return err
		}
		path += "/" + sub
		w.model.sequence(path, b.Sequence())
	}
	if rng.IntN(4) == 0 {
		n, err := b.NextSequence()
		if err != nil {
			return err
		}
		w.model.sequence(path, n)
	}
	n, size := 1+rng.IntN(4), 100
	switch rng.IntN(12) {
	case 0:
		n, size = 1, 12<<10
	case 1:
		n, size = 2, 3000
	}
	remove := rng.IntN(4) == 0
	for range n {
		key := fmt.Sprintf("key%02d", rng.IntN(60))
		if rng.IntN(40) == 0 {
			key += strings.Repeat("k", w.pageSize()/2)
		}
		if remove {
			w.model.set(path+"/"+key, 0)
			if err := b.Delete([]byte(key)); err != nil {
				return err
			}
			continue
		}
		value := fill(rng, rng.IntN(size))
		w.model.put(path+"/"+key, value)
		if err := b.Put([]byte(key), value); err != nil {
			return err
		}
	}
	return nil
}
