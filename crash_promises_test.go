package lightning

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/lightning-db/lightning/chaos/simdisk"
	"github.com/lightning-db/lightning/fsync"
)

// What follows from the rules: when states become visible, pages are verified
// again, and the file becomes shorter.

// In Sync mode readers see durable states only, also while a sync is under way.
func TestRule_ReadersSeeDurableStatesOnly(t *testing.T) {
	f := newRuleFile(t, Options{})
	before := f.put("a", "1")
	looked := 0
	f.disk.OnSync = func(fsync.Op) error {
		return f.db.View(func(tx *Tx) error {
			looked++
			if tx.id != before {
				t.Errorf("a reader sees transaction %d during its sync, want %d", tx.id, before)
			}
			return nil
		})
	}
	f.put("a", "2")
	f.disk.OnSync = nil
	if looked == 0 {
		t.Error("the commit did not sync")
	}
}

// A page that was verified and then written again is verified again.
func TestRule_RewrittenPageIsVerifiedAgain(t *testing.T) {
	f := newRuleFile(t, Options{})
	caught := 0
	for i := range 30 {
		f.put("key", text(byte('a'+i%26), 5000))
		ref := extentOf(t, f.db, "key")
		file, err := os.OpenFile(f.path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		at := int64(ref.ID)*4096 + 2000
		good := []byte{0}
		if _, err := file.ReadAt(good, at); err != nil {
			t.Fatal(err)
		}
		write := func(c byte) {
			if _, err := file.WriteAt([]byte{c}, at); err != nil {
				t.Fatal(err)
			}
		}
		write(good[0] ^ 1)
		var bad *CorruptionError
		err = f.db.View(func(tx *Tx) error {
			if v := tx.Bucket([]byte("bucket")).Get([]byte("key")); v != nil {
				t.Errorf("round %d: a damaged value is returned", i)
			}
			return nil
		})
		if errors.As(err, &bad) && bad.Page == uint64(ref.ID) {
			caught++
		}
		write(good[0])
		if err := f.db.View(func(tx *Tx) error {
			if v := tx.Bucket([]byte("bucket")).Get([]byte("key")); string(v) != f.want[tx.id]["key"] {
				t.Errorf("round %d: the repaired value is not returned", i)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if caught != 30 {
		t.Errorf("damage was caught in %d of 30 rounds", caught)
	}
}

// The tail is not cut off while D or a reader's snapshot reaches into it, even
// if all pages there are free: a meta is not accepted if the file is shorter
// than it says, and WriteTo copies the file as long as its snapshot is.
func TestRule_TruncationSparesReadersAndD(t *testing.T) {
	f := newRuleFile(t, Options{NoSync: true})
	f.db.space.free.setLowestFirst(true)
	f.put("small", "1")
	f.put("big", text('b', 4<<20))
	f.sync()
	f.put("big", "")
	f.sync() // D's state does not hold the tail, but is as long as before
	durable := f.db.durable
	tx, err := f.db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tx.rollback)
	for i := range 10 {
		f.put("small", fmt.Sprint(i))
		f.judge("sizes only through", f.now().Choose(func(e simdisk.Event) bool { return e.Resizes() }), durable)
	}
	if end := f.db.published.Load().meta.End; end*4 > tx.snap.meta.End {
		t.Fatalf("the newest state ends at page %d, the reader's at %d: there is no tail to cut", end, tx.snap.meta.End)
	}
	for i := range 10 {
		f.sync()
		f.put("small", fmt.Sprint("again", i))
		f.compare("the reader, D moved on", tx)
		var copied bytes.Buffer
		if n, err := tx.WriteTo(&copied); err != nil || n != tx.Size() {
			t.Fatalf("WriteTo of the reader: %d bytes of %d: %v", n, tx.Size(), err)
		}
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		f.put("small", "end")
		f.sync()
	}
	if size := len(f.now().Cache()); size > 2<<20 {
		t.Errorf("the file still has %d bytes when nobody needs its tail", size)
	}
}

// Close calls the last state durable only after its pages are.
func TestRule_CloseSyncsBeforeItsMeta(t *testing.T) {
	f := newRuleFile(t, Options{NoSync: true})
	f.put("a", text('a', 5000))
	f.sync()
	durable := f.db.durable
	f.put("b", text('b', 5000))
	last := f.put("c", text('c', 5000))
	begin := f.disk.Position()
	if err := f.db.Close(); err != nil {
		t.Fatal(err)
	}
	for n := begin; n <= f.disk.Position(); n++ {
		f.judge(fmt.Sprintf("metas only, at %d", n), f.disk.At(n).Choose(isMeta), durable, last)
	}
	f.judge("closed", f.disk.At(f.disk.Position()).Choose(nothing), last)
}

// A transaction too large to be validated at Open syncs its pages before the
// meta: a power cut leaves all of it or nothing.
func TestRule_LargeTransactionSyncsPagesFirst(t *testing.T) {
	if f := newRuleFile(t, Options{}); f.db.largeTxPages != DefaultLargeTxPages {
		t.Errorf("a transaction is large from %d pages on, want %d by default", f.db.largeTxPages, DefaultLargeTxPages)
	}
	const largeTxPages = 512
	f := newRuleFile(t, Options{LargeTxPages: largeTxPages})
	before := f.put("a", "1")
	begin := f.disk.Position()
	var pairs []string
	value := text('v', 900)
	for i := range 4 * (largeTxPages + 64) {
		pairs = append(pairs, fmt.Sprintf("key%06d", i), value)
	}
	large := f.put(pairs...)
	end := f.disk.Position()
	for n := end; n > begin; n-- {
		switch e := f.disk.Events()[n-1]; {
		case e.Kind == simdisk.Sync && e.Op == fsync.OpPageSync:
			f.judge("pages synced", f.disk.At(n).Choose(all), before)
			f.judge("pages through, not synced", f.disk.At(n-1).Choose(nothing), before)
		case isMeta(e):
			f.judge("meta through", f.disk.At(n).Choose(all), large)
			f.judge("meta through, nothing else", f.disk.At(n).Choose(isMeta), large)
		}
	}
	if got := f.disk.Proven(end); got != large {
		t.Errorf("transaction %d is durable, want %d", got, large)
	}
}

// A transaction that deletes everything was rejected because the file was too
// short for it. Growing the file for the next one, before the rejected meta slot
// was erased, let it come back.
func TestRuleD_GrowthDoesNotReviveTheRejected(t *testing.T) {
	f := newRuleFile(t, Options{NoSync: true})
	f.put("a", "1")
	f.sync()
	durable := f.db.durable
	f.put("big", text('b', 2<<20))
	reader, err := f.db.Begin(false) // keeps the tail
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reader.rollback)
	if err := f.db.Update(func(tx *Tx) error { return tx.DeleteBucket([]byte("bucket")) }); err != nil {
		t.Fatal(err) // leaves no page that could be missing
	}
	im := f.now()
	cut := im.OddCut(rand.New(rand.NewPCG(1, 1)), simdisk.Written, simdisk.Written)
	cut.Sizes = 0
	rejected := simdisk.Whole(im.Apply(cut))
	f.judge("length lost", rejected, durable)
	reader.rollback()
	f.db.Close()
	f.open(rejected, Options{})
	begin := f.disk.Position()
	f.put("big", text('c', 2<<20))
	for n := begin; n <= f.disk.Position(); n++ {
		f.judge(fmt.Sprintf("only the length through, at %d", n), f.disk.At(n).Choose(simdisk.Event.Resizes), durable, durable+1)
	}
}
