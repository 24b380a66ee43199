package lightning

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/lightning-db/lightning/chaos/simdisk"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/page"
)

// One test or more for each rule of commit and recovery (DESIGN, section 3),
// with the crash that the rule is there for built by hand. The crash explorer in chaos/
// looks for what nobody thought of.

// ruleFile is a database on a recorded disk whose content is one bucket.
type ruleFile struct {
	t    *testing.T
	path string
	db   *DB
	disk *simdisk.Disk
	want map[page.TxID]map[string]string
}

func newRuleFile(t *testing.T, o Options) *ruleFile {
	t.Helper()
	f := &ruleFile{t: t, path: filepath.Join(t.TempDir(), "rule.db"), want: map[page.TxID]map[string]string{1: {}}}
	f.open(&simdisk.Image{}, o)
	return f
}

// open opens the image; the test closes it.
func (f *ruleFile) open(im *simdisk.Image, o Options) {
	f.t.Helper()
	db, disk, err := openImage(f.t, f.path, im, o)
	if err != nil {
		f.t.Fatalf("Open: %v", err)
	}
	f.db, f.disk = db, disk
	f.t.Cleanup(func() { _ = db.Close() })
}

// put commits the pairs of key and value; an empty value deletes.
func (f *ruleFile) put(pairs ...string) page.TxID {
	f.t.Helper()
	id, err := f.tryPut(pairs...)
	if err != nil {
		f.t.Fatalf("Update: %v", err)
	}
	return id
}

func (f *ruleFile) tryPut(pairs ...string) (id page.TxID, err error) {
	err = f.db.Update(func(tx *Tx) error {
		id = tx.id
		f.want[id] = map[string]string{}
		for k, v := range f.want[id-1] {
			f.want[id][k] = v
		}
		b, err := tx.CreateBucketIfNotExists([]byte("bucket"))
		if err != nil {
			return err
		}
		for i := 0; i < len(pairs); i += 2 {
			k, v := pairs[i], pairs[i+1]
			if v == "" {
				delete(f.want[id], k)
				err = b.Delete([]byte(k))
			} else {
				f.want[id][k] = v
				err = b.Put([]byte(k), []byte(v))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return id, err
}

func (f *ruleFile) sync() {
	f.t.Helper()
	if err := f.db.Sync(); err != nil {
		f.t.Fatalf("Sync: %v", err)
	}
}

// judge opens the image and expects the state of exactly one of ids.
func (f *ruleFile) judge(what string, im *simdisk.Image, ids ...page.TxID) {
	f.t.Helper()
	db, _, err := openImage(f.t, f.path+".crashed", im, Options{})
	if err != nil {
		f.t.Fatalf("%s: Open: %v", what, err)
	}
	defer db.Close()
	tx, err := db.Begin(false)
	if err != nil {
		f.t.Fatal(err)
	}
	defer tx.Rollback()
	for _, id := range ids {
		if id == tx.id {
			f.compare(what, tx)
			return
		}
	}
	f.t.Fatalf("%s: Open yields transaction %d, want %v", what, tx.id, ids)
}

// compare expects that tx sees what its transaction left.
func (f *ruleFile) compare(what string, tx *Tx) {
	f.t.Helper()
	for err := range tx.Check() {
		f.t.Fatalf("%s: Check of transaction %d: %v", what, tx.id, err)
	}
	want, seen := f.want[tx.id], 0
	if b := tx.Bucket([]byte("bucket")); b != nil {
		err := b.ForEach(func(k, v []byte) error {
			seen++
			if want[string(k)] != string(v) {
				return fmt.Errorf("key %q has a value of %d bytes, want %d", k, len(v), len(want[string(k)]))
			}
			return nil
		})
		if err != nil {
			f.t.Fatalf("%s: transaction %d: %v", what, tx.id, err)
		}
	}
	if tx.Err() != nil || seen != len(want) {
		f.t.Fatalf("%s: transaction %d has %d keys, want %d: %v", what, tx.id, seen, len(want), tx.Err())
	}
}

// now returns the file as it is, with all that no sync has covered pending.
func (f *ruleFile) now() *simdisk.Image { return f.disk.At(f.disk.Position()) }

func isMeta(e simdisk.Event) bool  { return e.Op == fsync.OpMetaWrite }
func notMeta(e simdisk.Event) bool { return e.Op != fsync.OpMetaWrite }
func nothing(simdisk.Event) bool   { return false }
func all(simdisk.Event) bool       { return true }

// text is a value of n bytes.
func text(c byte, n int) string { return string(bytes.Repeat([]byte{c}, n)) }

// A power cut between two syncs falls back to D: none of D's pages may have
// been written again, however many transactions freed them since.
func TestRuleA_DurableStateIsNotOverwritten(t *testing.T) {
	f := newRuleFile(t, Options{NoSync: true})
	for i := range 40 {
		f.put(fmt.Sprint("key", i), text('a', 3000))
	}
	f.sync()
	durable := f.db.durable
	for round := range 5 {
		for i := range 40 {
			f.put(fmt.Sprint("key", i), text(byte('b'+round), 3000+i))
		}
		f.judge("all pages through, no meta", f.now().Choose(notMeta), durable)
		f.judge("nothing through", f.now().Choose(nothing), durable)
	}
}

// Between syncs pages of transactions newer than D are written again, or bulk
// loads would bloat the file. After a kill the newest meta stands at any moment.
func TestRuleA_KillBetweenSyncs(t *testing.T) {
	f := newRuleFile(t, Options{NoSync: true})
	f.put("base", text('a', 3000))
	f.sync()
	for i := range 30 {
		f.put("key", text(byte('a'+i%26), 3000), fmt.Sprint("key", i%5), text('x', 5000))
		begin := f.disk.Position()
		id := f.put("key", text(byte('A'+i%26), 3000), fmt.Sprint("key", i%5), text('y', 3000))
		for n := begin; n <= f.disk.Position(); n++ {
			im := f.disk.At(n)
			f.judge(fmt.Sprintf("kill at %d", n), im.Choose(all), id-1, id)
		}
	}
	if end := f.db.published.Load().meta.End; end > 60 {
		t.Errorf("the file has %d pages: freed pages are not used again between syncs", end)
	}
}

// An open reader sees its state until it ends.
func TestRuleA_ReadersKeepTheirPages(t *testing.T) {
	for _, mode := range []Durability{Sync, NoSync} {
		f := newRuleFile(t, Options{Durability: mode, Verify: VerifyAlways})
		var readers []*Tx
		for i := range 120 {
			f.put(fmt.Sprint("key", i%10), text(byte('a'+i%26), 2000), fmt.Sprint("big", i%3), text('b', 9000))
			if i%10 == 0 {
				tx, err := f.db.Begin(false)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(tx.rollback)
				readers = append(readers, tx)
			}
			if i%30 == 29 {
				f.compare("the oldest reader", readers[0])
				if err := readers[0].Rollback(); err != nil {
					t.Fatal(err)
				}
				readers = readers[1:]
			}
		}
		for _, tx := range readers {
			f.compare("reader", tx)
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// D's meta slot stays, whatever the numbers of the transactions that follow.
func TestRuleB_SlotOfTheDurableStateIsKept(t *testing.T) {
	f := newRuleFile(t, Options{NoSync: true})
	for n := range 6 {
		f.put("key", text('d', 500))
		f.sync()
		durable := f.db.durable
		for i := range n {
			f.put("key", text(byte('0'+i), 500))
			f.judge("only metas through", f.now().Choose(isMeta), durable)
		}
		f.sync()
	}
}

// With each single page of the unproven transactions lost in turn, the newer
// meta is turned down, or the page does not belong to its state.
func TestRuleC_EachLostPageIsNoticed(t *testing.T) {
	f := newRuleFile(t, Options{NoSync: true})
	for i := range 60 {
		f.put(fmt.Sprintf("key%02d", i), text('a', 700))
	}
	f.sync()
	durable := f.db.durable
	f.put("key00", text('b', 700))
	f.put(text('k', 3000), text('c', 20000))
	f.put("key30", text('d', 9000), "key59", "")
	f.put("key59", text('e', 700))
	newest := f.db.written
	im := f.now()
	whole := im.Choose(all).Medium
	refused := 0
	for i, e := range im.Pending {
		if e.Kind != simdisk.Write || isMeta(e) {
			continue
		}
		for at := 0; at < len(e.Data); at += 4096 {
			lost := &simdisk.Image{Medium: im.Medium, Pending: append(im.Pending[:i:i], pieces(e, at, at+4096)...)}
			lost.Pending = append(lost.Pending, im.Pending[i+1:]...)
			left := lost.Choose(all)
			if bytes.Equal(left.Medium, whole) {
				continue // written again later
			}
			f.judge(fmt.Sprintf("page %d lost", (e.Off+int64(at))/4096), left, durable, newest)
			if opened, _ := openedAs(t, f.path, left); opened == durable {
				refused++
			}
		}
	}
	if refused < 8 {
		t.Errorf("the newest meta was turned down for %d lost pages only", refused)
	}
	f.judge("nothing lost", im.Choose(all), newest)
	f.judge("metas only", im.Choose(isMeta), durable)
}

// pieces returns the write without its bytes [from, to).
func pieces(e simdisk.Event, from, to int) []simdisk.Event {
	head, tail := e, e
	head.Data = e.Data[:from]
	to = min(to, len(e.Data))
	tail.Data, tail.Off = e.Data[to:], e.Off+int64(to)
	return []simdisk.Event{head, tail}
}

// openedAs returns the transaction that an open of the image yields.
func openedAs(t *testing.T, path string, im *simdisk.Image) (id page.TxID, err error) {
	t.Helper()
	db, _, err := openImage(t, path+".as", im, Options{})
	if err != nil {
		return 0, err
	}
	defer db.Close()
	return db.published.Load().meta.TxID, nil
}

// Pages of the oldest unproven transaction are as unproven as the newest's.
func TestRuleC_AllUnprovenTransactionsAreWalked(t *testing.T) {
	f := newRuleFile(t, Options{NoSync: true})
	f.put("a", text('a', 5000), "b", text('a', 5000), "c", text('a', 5000))
	f.sync()
	durable := f.db.durable
	begin := f.disk.Position()
	f.put("a", text('b', 5000))
	first := f.disk.Position()
	f.put("b", text('c', 5000))
	f.put("c", text('d', 5000))
	im := f.now()
	lost := len(im.Pending) - (f.disk.Position() - first)
	im.Pending = im.Pending[lost:]
	if lost != first-begin {
		t.Fatalf("%d changes are to be lost, want those of the first transaction, %d", lost, first-begin)
	}
	im.Pending = append([]simdisk.Event{}, im.Pending...)
	f.judge("pages of the first unproven transaction lost", im.Choose(all), durable)
}

// A meta that refers past the end of the file is turned down.
func TestRuleC_LostGrowth(t *testing.T) {
	f := newRuleFile(t, Options{NoSync: true, NoGrowSync: true})
	f.put("a", "1")
	f.sync()
	durable := f.db.durable
	f.put("b", text('b', 2<<20))
	im := f.now()
	f.judge("size lost", im.Choose(isMeta), durable)
}

// Of a rejected transaction some pages are on the medium. When the application
// does nearly the same again, the missing ones must not complete it.
func TestRuleD_RejectedTransactionStaysDead(t *testing.T) {
	f := newRuleFile(t, Options{})
	f.put("a", text('0', 5000), "b", text('0', 5000))
	durable := f.put("c", "1")
	f.db.Close()
	f.open(f.now(), Options{})

	// Power fails within the next commit: the extent of "a" alone is missing.
	begin := f.disk.Position()
	f.put("a", text('A', 5000), "b", text('B', 5000))
	im := f.beforeSync(begin)
	ref := extentOf(t, f.db, "a")
	rejected := f.without(im, ref)
	f.judge("one extent lost", rejected, durable)

	// The same again, but for "b", which gets the same place.
	f.db.Close()
	f.open(rejected, Options{})
	begin = f.disk.Position()
	f.put("a", text('A', 5000), "b", text('C', 5000))
	if again := extentOf(t, f.db, "a"); again != ref {
		t.Fatalf("the second try wrote \"a\" at %v, the first at %v", again, ref)
	}
	im = f.beforeSync(begin)
	left := im.Choose(nothing)
	copy(left.Medium[ref.ID*4096:], im.Cache()[ref.ID*4096:(ref.ID+2)*4096])
	f.judge("only the extent of the second try through", left, durable)
}

// beforeSync returns the file at the last commit's sync since begin.
func (f *ruleFile) beforeSync(begin int) *simdisk.Image {
	for n := f.disk.Position() - 1; n >= begin; n-- {
		if f.disk.Events()[n].Kind == simdisk.Sync {
			return f.disk.At(n)
		}
	}
	f.t.Fatal("the commit did not sync")
	return nil
}

// without returns what is left if all but one extent of two pages gets through.
func (f *ruleFile) without(im *simdisk.Image, ref page.Ref) *simdisk.Image {
	left := im.Choose(all)
	copy(left.Medium[ref.ID*4096:(ref.ID+2)*4096], make([]byte, 2*4096))
	return left
}

// extentOf returns where the big value of key is.
func extentOf(t *testing.T, db *DB, key string) (ref page.Ref) {
	t.Helper()
	err := db.View(func(tx *Tx) error {
		b := tx.Bucket([]byte("bucket"))
		v, i, found, err := b.tree.find([]byte(key))
		if err != nil || !found {
			return fmt.Errorf("find %q: %v %w", key, found, err)
		}
		var buf [3]page.RefAt
		for _, at := range v.img.Refs(i, &buf) {
			if at.Kind == page.RefValue {
				ref = page.GetRef(v.img[at.Offset:])
			}
		}
		return nil
	})
	if err != nil || ref.IsZero() {
		t.Fatalf("no extent for %q: %v", key, err)
	}
	return ref
}

// After a failed sync the page cache holds what the medium does not. A process
// that opens the file then must not be deceived: the power may fail next.
func TestRuleD_ValidatesTheMedium(t *testing.T) {
	lost := 0
	for seed := range 40 {
		f := newRuleFile(t, Options{})
		durable := f.put("a", text('0', 5000), "b", text('0', 5000))
		f.disk.OnSync = func(fsync.Op) error { return syscall.EIO }
		f.disk.Seed = uint64(seed)
		failed, err := f.tryPut("a", text('A', 5000), "b", text('B', 5000))
		if !errors.Is(err, ErrPoisoned) {
			t.Fatalf("commit with a failing sync: %v", err)
		}
		f.db.Close()
		f.open(f.now(), Options{})
		got := f.db.published.Load().meta.TxID
		if got != durable && got != failed {
			t.Fatalf("Open yields %d, want %d or %d", got, durable, failed)
		}
		if got == durable {
			lost++
		}
		f.judge("power cut after the open", f.now().Choose(nothing), got)
		f.db.Close()
	}
	if lost == 0 || lost == 40 {
		t.Errorf("%d of 40 failed syncs lost something", lost)
	}
}

// After a failed sync nothing is written and nothing synced.
func TestRuleE_FailedSyncPoisons(t *testing.T) {
	for _, mode := range []Durability{Sync, NoSync} {
		f := newRuleFile(t, Options{Durability: mode})
		f.put("a", "1")
		f.sync()
		durable := f.db.durable
		fails := 0
		f.disk.OnSync = func(fsync.Op) error {
			if fails++; fails == 1 {
				return syscall.EIO
			}
			return nil
		}
		_, err := f.tryPut("a", "2")
		if mode == NoSync {
			if err != nil {
				t.Fatalf("commit without sync: %v", err)
			}
			err = f.db.Sync()
		}
		if !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.EIO) {
			t.Fatalf("failed sync: %v", err)
		}
		before := f.disk.Position()
		if _, err := f.tryPut("a", "3"); !errors.Is(err, ErrPoisoned) {
			t.Errorf("commit after a failed sync: %v", err)
		}
		if err := f.db.Sync(); !errors.Is(err, ErrPoisoned) {
			t.Errorf("DB.Sync after a failed sync: %v", err)
		}
		if err := f.db.View(func(tx *Tx) error {
			if tx.id != durable {
				t.Errorf("a reader after a failed sync sees transaction %d, want the durable %d", tx.id, durable)
			}
			return nil
		}); err != nil {
			t.Errorf("View after a failed sync: %v", err)
		}
		// In Sync mode every transaction has told its caller.
		if err := f.db.Close(); errors.Is(err, ErrPoisoned) != (mode == NoSync) {
			t.Errorf("Close after a failed sync, %v: %v", mode, err)
		}
		if got := f.disk.Position(); got != before || fails != 1 {
			t.Errorf("after the failed sync the file was changed %d times and %d syncs were tried", got-before, fails-1)
		}
	}
}

// A file cut so that only a state older than a recorded durable one is left
// is refused.
func TestRuleF_NoSilentRollback(t *testing.T) {
	f := newRuleFile(t, Options{})
	older := f.put("a", "1")
	f.put("b", text('b', 2<<20))
	m := f.db.published.Load().meta
	m.DurableTx = m.TxID // as a large transaction or Close writes it
	slot := f.db.durableSlot
	b := make([]byte, page.MetaSize)
	page.EncodeMeta(b, &m, f.db.hasher)
	im := f.now().Choose(all) // before Close, which writes both slots
	f.db.Close()

	copy(im.Medium[slot*4096:], b)
	f.judge("whole", simdisk.Whole(im.Medium), m.TxID)
	cut := im.Medium[:1<<20]
	got, err := openedAs(t, f.path, simdisk.Whole(cut))
	if !errors.Is(err, ErrChecksum) {
		t.Fatalf("Open of the cut file yields transaction %d (older is %d): %v, want ErrChecksum", got, older, err)
	}
}
