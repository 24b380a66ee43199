package lightning

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/page"
)

// Each test here opens with what once went wrong.

// openWithFaults opens a database with a fault-injecting file between.
func openWithFaults(t *testing.T, path string, o Options) (*DB, *fsync.Faults) {
	t.Helper()
	var faults *fsync.Faults
	o.wrapFile = func(f fsync.File) fsync.File {
		faults = fsync.NewFaults(f)
		return faults
	}
	db, err := Open(path, 0o600, &o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return db, faults
}

func putOne(t *testing.T, db *DB, key string, value []byte) {
	t.Helper()
	err := db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("b"))
		if err != nil {
			return err
		}
		return b.Put([]byte(key), value)
	})
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
}

// One durable commit costs one fdatasync, and none without syncing.
func TestRegression_OneSyncPerCommit(t *testing.T) {
	db, faults := openWithFaults(t, filepath.Join(t.TempDir(), "db"), Options{})
	putOne(t, db, "warm", nil)
	count := func() (n int) {
		for _, op := range []fsync.Op{fsync.OpSync, fsync.OpPageSync, fsync.OpGrowSync, fsync.OpEraseSync} {
			n += faults.Calls(op)
		}
		return n
	}
	const commits = 50
	before := count()
	for i := range commits {
		putOne(t, db, fmt.Sprint(i), nil)
	}
	if got := count() - before; got != commits {
		t.Errorf("%d commits: got %d syncs, want one each", commits, got)
	}
	db.NoSync = true
	before = count()
	for i := range commits {
		putOne(t, db, fmt.Sprint(i), nil)
	}
	if got := count() - before; got != 0 {
		t.Errorf("NoSync: got %d syncs, want none", got)
	}
}

// After a reopen the file ends with its last page, and every commit was taken
// for one that may not fit: it went out alone and 320 commits took 320 syncs.
func TestRegression_GroupsAfterReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		putOne(t, db, fmt.Sprint(i), make([]byte, 900))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	slow := func(f fsync.File) fsync.File { return slowSync{f} }
	db, err = Open(path, 0o600, &Options{wrapFile: slow})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	writes := func() int64 {
		stats := db.Stats()
		return stats.TxStats.GetWrite()
	}
	before := writes()
	var wg sync.WaitGroup
	for writer := range 16 {
		wg.Go(func() {
			for i := range 20 {
				putOne(t, db, fmt.Sprint("x", writer), []byte(fmt.Sprint(i)))
			}
		})
	}
	wg.Wait()
	// A flush alone writes at least twice: pages and meta.
	if got := writes() - before; got > 320 {
		t.Errorf("320 commits of 16 writers: got %d writes, want them to share flushes", got)
	}
}

type slowSync struct{ fsync.File }

func (s slowSync) Sync(op fsync.Op) error {
	time.Sleep(2 * time.Millisecond)
	return s.File.Sync(op)
}

// A database without keys and with an erased second slot was taken for one
// whose creation was cut short, and created anew.
func TestRegression_EmptiedDatabaseIsNotRecreated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := Open(path, 0o600, &Options{IntegrityKey: []byte("k")})
	if err != nil {
		t.Fatal(err)
	}
	for range 9 {
		if err := db.Update(func(tx *Tx) error { return tx.root.SetSequence(77) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	overwriteAt(t, path, page.MinSize, make([]byte, page.MetaSize))
	if _, err := Open(path, 0o600, nil); !errors.Is(err, ErrIntegrityKey) {
		t.Errorf("Open without the key: got %v, want %v", err, ErrIntegrityKey)
	}
	db, err = Open(path, 0o600, &Options{IntegrityKey: []byte("k"), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if got := db.published.Load().meta; got.Root.Sequence != 77 || got.TxID != 10 {
		t.Errorf("got sequence %d of transaction %d, want 77 of 10", got.Root.Sequence, got.TxID)
	}
}

func overwriteAt(t *testing.T, path string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

// A flipped byte among page size and file id in slot 0 made the file
// unreadable although slot 1 was good.
func TestRegression_DamagedIdentityOfSlot0(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	putOne(t, db, "a", []byte("1"))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for off := range 72 {
		for _, flip := range []byte{1, 0x30} {
			bad := append([]byte(nil), good...)
			bad[off] ^= flip
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			db, err := Open(path, 0o600, &Options{ReadOnly: true})
			if err != nil {
				t.Errorf("byte %d: %v", off, err)
				continue
			}
			if err := db.View(func(tx *Tx) error {
				if got := tx.Bucket([]byte("b")).Get([]byte("a")); string(got) != "1" {
					t.Errorf("byte %d: got %q, want 1", off, got)
				}
				return nil
			}); err != nil {
				t.Errorf("byte %d: %v", off, err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// Seven pages that refer to each other many times kept Open busy for minutes.
func TestRegression_SharedPagesEndOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, size := db.published.Load().meta, db.pageSize
	seal := func(n page.Node, id page.ID) page.Ref {
		page.Stamp(n, id, 2)
		overwriteAt(t, path, db.offset(id), n)
		return page.Ref{ID: id, Birth: 2, Digest: page.Digest(db.hasher.Sum(n))}
	}
	scratch := make([]byte, size)
	leaf := page.InitNode(make([]byte, size), 0)
	leaf.Insert(0, page.AppendLeafCell(nil, 0, page.Key{Bytes: []byte("a")}, nil), scratch)
	r := seal(leaf, 2)
	const depth = 6
	for level := 1; level <= depth; level++ {
		n := page.InitNode(make([]byte, size), level)
		for i := 0; ; i++ {
			k := page.Key{}
			if i > 0 {
				k.Bytes = fmt.Appendf(nil, "%03d", i)
			}
			cell := page.AppendBranchCell(nil, k, r)
			if !n.Room(len(cell)) {
				break
			}
			n.Insert(i, cell, scratch)
		}
		r = seal(n, page.ID(2+level))
	}
	m.TxID, m.DurableTx, m.End = 2, 1, 3+depth
	m.Root = page.Bucket{Root: r, Count: 1}
	var slot [page.MetaSize]byte
	page.EncodeMeta(slot[:], &m, db.hasher)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	overwriteAt(t, path, 0, slot[:])
	if err := os.Truncate(path, int64(m.End)*int64(size)); err != nil {
		t.Fatal(err)
	}
	pages := 0
	db, err = Open(path, 0o600, &Options{OnRecovery: func(p RecoveryProgress) { pages = max(pages, p.Pages) }})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if got := db.published.Load().meta.TxID; got != 1 || pages > int(m.End) {
		t.Errorf("got transaction %d after %d pages, want 1 after at most %d", got, pages, m.End)
	}
}

// A transaction kept the buffer of each big value that it overwrote itself.
func TestRegression_OverwrittenBigValuesAreGivenUp(t *testing.T) {
	db, _ := openWithFaults(t, filepath.Join(t.TempDir(), "db"), Options{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	err := db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		if err != nil {
			return err
		}
		value := make([]byte, 1<<20)
		for range 200 {
			if err := b.Put([]byte("k"), value); err != nil {
				return err
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := int64(after.HeapAlloc) - int64(before.HeapAlloc); got > 50<<20 {
		t.Errorf("heap grew by %d MiB for one value of 1 MiB", got>>20)
	}
}

type countingLogger struct {
	Logger
	mu     sync.Mutex
	errors []string
}

func (l *countingLogger) Errorf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errors = append(l.errors, fmt.Sprintf(format, v...))
}

// When the background sync of Periodic failed nobody was told.
func TestRegression_FailedBackgroundSyncIsReported(t *testing.T) {
	logger := &countingLogger{Logger: discardLogger()}
	db, faults := openWithFaults(t, filepath.Join(t.TempDir(), "db"), Options{Durability: Periodic(time.Millisecond), Logger: logger})
	faults.FailAlways(fsync.OpSync, syscall.EIO)
	putOne(t, db, "a", nil)
	db.syncer.Wait() // it ends when it has failed
	logger.mu.Lock()
	defer logger.mu.Unlock()
	if len(logger.errors) != 1 || !strings.Contains(logger.errors[0], syscall.EIO.Error()) {
		t.Errorf("logged %q, want the failed sync once", logger.errors)
	}
	if err := db.Update(func(*Tx) error { return nil }); !errors.Is(err, ErrPoisoned) {
		t.Errorf("Update: got %v, want %v", err, ErrPoisoned)
	}
}

// A shared read transaction had one page map without a lock.
func TestRegression_PageOnSharedTransaction(t *testing.T) {
	db, _ := openWithFaults(t, filepath.Join(t.TempDir(), "db"), Options{})
	for i := range 50 {
		putOne(t, db, fmt.Sprint(i), make([]byte, 900))
	}
	tx, err := db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 20 {
				if _, err := tx.Page(i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// CopyFile renamed a file that Options.OpenFile had put elsewhere.
func TestRegression_CopyFileWhereOpenFileSays(t *testing.T) {
	dir := t.TempDir()
	db, _ := openWithFaults(t, filepath.Join(dir, "db"), Options{OpenFile: func(string, int, os.FileMode) (*os.File, error) {
		return os.CreateTemp(dir, "elsewhere-*")
	}})
	putOne(t, db, "a", nil)
	copied := filepath.Join(dir, "copy")
	if err := db.View(func(tx *Tx) error { return tx.CopyFile(copied, 0o600) }); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("got %q, want the database and its copy", left)
	}
	again, err := Open(copied, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

// Sync that came after Close waited for a lock that was never released.
func TestRegression_SyncAfterClose(t *testing.T) {
	db, err := Open(filepath.Join(t.TempDir(), "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case db.flusher <- struct{}{}:
	default:
		t.Error("Close keeps the flush lock")
	}
}

// A key of 65 bytes beside a long key with the same first 64 was taken for out
// of order: the commit was acknowledged and its page could not be read again.
func TestRegression_ShortKeyBesideLongKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	prefix := strings.Repeat("L", 64)
	keys := []string{prefix, prefix + "1", prefix + strings.Repeat("L", 600), prefix + "M"}
	for first := range keys {
		db, err := Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range keys {
			putOne(t, db, keys[(first+i)%len(keys)], []byte(keys[(first+i)%len(keys)]))
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if db, err = Open(path, 0o600, nil); err != nil {
			t.Fatal(err)
		}
		err = db.View(func(tx *Tx) error {
			for _, k := range keys {
				if got := tx.Bucket([]byte("b")).Get([]byte(k)); string(got) != k {
					t.Errorf("key of %d bytes: got %d bytes, want its own", len(k), len(got))
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if err := errors.Join(db.Close(), os.Remove(path)); err != nil {
			t.Fatal(err)
		}
	}
}

// A panic within a flush left the flush lock held and everybody waiting.
func TestRegression_PanicInFlushPoisons(t *testing.T) {
	armed := false
	db, err := Open(filepath.Join(t.TempDir(), "db"), 0o600, &Options{wrapFile: func(f fsync.File) fsync.File {
		return &panickingFile{f, &armed}
	}})
	if err != nil {
		t.Fatal(err)
	}
	putOne(t, db, "a", []byte("1"))
	armed = true
	for range 2 {
		if err := db.Update(func(tx *Tx) error { return tx.root.SetSequence(1) }); !errors.Is(err, ErrPoisoned) {
			t.Errorf("Update: got %v, want %v", err, ErrPoisoned)
		}
	}
	err = db.View(func(tx *Tx) error {
		if got := tx.Bucket([]byte("b")).Get([]byte("a")); string(got) != "1" {
			t.Errorf("Get: got %q, want 1", got)
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Error(err)
	}
}

type panickingFile struct {
	fsync.File
	armed *bool
}

func (f *panickingFile) WriteAt(op fsync.Op, p []byte, off int64) error {
	if *f.armed {
		panic("injected")
	}
	return f.File.WriteAt(op, p, off)
}
