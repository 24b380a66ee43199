package lightning

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/page"
)

// What went wrong with files: at Open, in forged files and in copies. Each test
// opens with its story. What went wrong in commits is in
// regressions_commit_test.go.

func mustOpen(t *testing.T, path string, o Options) *DB {
	t.Helper()
	db, err := Open(path, 0o600, &o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return db
}

func mustClose(t *testing.T, db *DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// wantOne expects the value that putOne stored.
func wantOne(t *testing.T, what string, db *DB, key, want string) {
	t.Helper()
	got := ""
	err := db.View(func(tx *Tx) error {
		if b := tx.Bucket([]byte("b")); b != nil {
			got = string(b.Get([]byte(key)))
		}
		return nil
	})
	if err != nil || got != want {
		t.Errorf("%s: got %.40q and error %v, want %.40q", what, got, err, want)
	}
}

func wantSound(t *testing.T, what string, db *DB) {
	t.Helper()
	err := db.View(func(tx *Tx) error {
		for err := range tx.Check() {
			t.Errorf("%s: Check: %v", what, err)
		}
		return nil
	})
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// A database that had been emptied is two pages long, as one just created. With
// its second slot zero Open took it for a creation cut short and made it anew:
// sequence, file id and transaction number were gone, and so was the demand for
// the integrity key.
func TestRegressions_EmptiedDatabaseKeepsItsIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	key := Options{IntegrityKey: []byte("k")}
	db := mustOpen(t, path, key)
	putOne(t, db, "a", make([]byte, 5000))
	if err := db.Update(func(tx *Tx) error { return tx.DeleteBucket([]byte("b")) }); err != nil {
		t.Fatal(err)
	}
	for range 3 { // the pages given up become free, and the file is cut
		if err := db.Update(func(tx *Tx) error { return tx.root().SetSequence(77) }); err != nil {
			t.Fatal(err)
		}
	}
	want := db.published.Load().meta
	mustClose(t, db)
	if want.End != 2 {
		t.Fatalf("the emptied file has %d pages, the story needs 2", want.End)
	}
	if err := os.Truncate(path, 2*page.MinSize); err != nil { // what Close leaves beyond is for later deletes
		t.Fatal(err)
	}
	overwriteAt(t, path, page.MinSize, make([]byte, page.MetaSize))

	for _, o := range []Options{{}, {IntegrityKey: []byte("other")}} {
		db, err := Open(path, 0o600, &o)
		if db != nil {
			mustClose(t, db)
		}
		if !errors.Is(err, ErrIntegrityKey) {
			t.Errorf("Open with key %q: got %v, want %v", o.IntegrityKey, err, ErrIntegrityKey)
		}
	}
	db = mustOpen(t, path, key)
	defer mustClose(t, db)
	got := db.published.Load().meta
	if got.FileID != want.FileID || got.TxID != want.TxID || got.Root.Sequence != 77 {
		t.Errorf("got file %x, transaction %d, sequence %d; want %x, %d, 77",
			got.FileID, got.TxID, got.Root.Sequence, want.FileID, want.TxID)
	}
}

// The power failed while the first meta slot of a new file was written, and
// of a piece of it neither the old nor the new was left: Open called the file
// none of ours, and a service could never start.
func TestRegressions_CreationTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	mustClose(t, mustOpen(t, path, Options{PageSize: page.MinSize}))
	whole := mustRead(t, path)[page.MinSize:][:page.MetaSize]
	torn := map[string]func(slot []byte){
		"nothing": func(slot []byte) { clear(slot) },
		"start":   func(slot []byte) { clear(slot[512:]) },
		"end":     func(slot []byte) { clear(slot[:512]) },
		"garbage": func(slot []byte) {
			for i := range slot {
				slot[i] = byte(i*i>>3) | 1
			}
		},
		"garbage at the start": func(slot []byte) { copy(slot, "garbage garbage garbage garbage") },
		"garbage at the end":   func(slot []byte) { copy(slot[3900:], "garbage") },
	}
	for name, tear := range torn {
		t.Run(name, func(t *testing.T) {
			image := make([]byte, 2*page.MinSize)
			tear(image[page.MinSize:][:copy(image[page.MinSize:], whole)])
			if err := os.WriteFile(path, image, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(path, 0o600, &Options{ReadOnly: true}); !errors.Is(err, ErrInvalid) {
				t.Errorf("Open for reading: got %v, want %v", err, ErrInvalid)
			}
			db := mustOpen(t, path, Options{PageSize: page.MinSize})
			putOne(t, db, "a", []byte("b"))
			mustClose(t, db)
		})
	}
}

// twoSlots makes a file whose newest transaction is in the given slot. Closed,
// both slots hold it; killed, the other slot holds the transaction before,
// which is what is left when the newest is lost.
func twoSlots(t *testing.T, o Options, newest int, killed bool) (path, last, before string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "db")
	db := mustOpen(t, path, o)
	for i := 1; i < 4 || db.durableSlot != newest; i++ {
		last, before = fmt.Sprint("value ", i), last
		putOne(t, db, "a", []byte(last))
	}
	image := mustRead(t, path)
	mustClose(t, db)
	if killed {
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path, last, before
}

// Page size, file id and key check were taken from slot 0 before its digest was
// looked at: one flipped byte there made the whole file unreadable, or asked for
// a key that it never had, while slot 1 was good.
func TestRegressions_DamagedSlot0(t *testing.T) {
	for _, size := range []int{4 << 10, 8 << 10, 64 << 10} {
		for _, key := range []string{"", "k"} {
			for _, newest := range []int{0, 1} {
				for _, killed := range []bool{false, true} {
					t.Run(fmt.Sprintf("%d/key=%q/newest=%d/killed=%v", size, key, newest, killed), func(t *testing.T) {
						damageSlot0(t, Options{PageSize: size, IntegrityKey: []byte(key)}, newest, killed)
					})
				}
			}
		}
	}
}

func damageSlot0(t *testing.T, o Options, newest int, killed bool) {
	path, last, before := twoSlots(t, o, newest, killed)
	want := last
	if killed && newest == 0 {
		want = before // nothing in slot 1 says that there was more
	}
	slot := mustRead(t, path)[:page.MetaSize]
	try := func(what string, off int, b []byte) {
		t.Helper()
		overwriteAt(t, path, int64(off), b)
		db, err := Open(path, 0o600, &Options{IntegrityKey: o.IntegrityKey, ReadOnly: true})
		if err != nil {
			t.Errorf("%s: Open: %v", what, err)
		} else {
			wantOne(t, what, db, "a", want)
			mustClose(t, db)
		}
		overwriteAt(t, path, 0, slot)
	}
	const identity = 72 // bytes of a slot up to and with its transaction number
	for off := range identity {
		try(fmt.Sprintf("byte %d flipped", off), off, []byte{slot[off] ^ 0x30})
	}
	try("identity zeroed", 0, make([]byte, identity))
	try("slot zeroed", 0, make([]byte, page.MetaSize))
	for n := page.MinSize; n <= page.MaxSize; n *= 2 {
		if n != o.PageSize {
			try(fmt.Sprint("page size ", n), 20, binary.LittleEndian.AppendUint32(nil, uint32(n)))
		}
	}
}

// forgeShared makes a file whose bucket "b" is a tree of few pages that refer
// to each other many times: half a million ways lead to its one leaf. All
// digests are right. durable is what its two slots say is known durable.
func forgeShared(t *testing.T, durable page.TxID) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "forged.db")
	db := mustOpen(t, path, Options{})
	m, size := db.published.Load().meta, db.pageSize
	mustClose(t, db)
	next := page.ID(2)
	scratch := make([]byte, size)
	seal := func(n page.Node) page.Ref {
		page.Stamp(n, next, 2)
		overwriteAt(t, path, db.offset(next), n)
		next++
		return page.Ref{ID: next - 1, Birth: 2, Digest: page.Digest(db.hasher.Sum(n))}
	}
	leaf := page.InitNode(make([]byte, size), 0)
	leaf.Insert(0, page.AppendLeafCell(nil, 0, page.Key{Bytes: []byte("a")}, nil), scratch)
	r := seal(leaf)
	for level := 1; level <= 3; level++ {
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
		r = seal(n)
	}
	header := make([]byte, page.BucketSize)
	page.PutBucket(header, page.Bucket{Root: r, Count: 1})
	root := page.InitNode(make([]byte, size), 0)
	root.Insert(0, page.AppendLeafCell(nil, page.CellBucket, page.Key{Bytes: []byte("b")}, header), scratch)
	m.Root = page.Bucket{Root: seal(root), Count: 1}
	m.TxID, m.DurableTx, m.End = 2, durable, next
	var slot [page.MetaSize]byte
	page.EncodeMeta(slot[:], &m, db.hasher)
	overwriteAt(t, path, 0, slot[:])
	overwriteAt(t, path, int64(size), slot[:])
	return path
}

// A file of a few pages, each referred to many times, kept Open, DeleteBucket
// and Clear busy for as long as there are ways through it: minutes for seven
// pages, for ever with some more. It is corrupt, and they must say so.
func TestRegressions_SharedPagesAreCorruption(t *testing.T) {
	t.Run("Open", func(t *testing.T) {
		checked := 0
		o := Options{OnRecovery: func(p RecoveryProgress) { checked = max(checked, p.Pages) }}
		db, err := Open(forgeShared(t, 0), 0o600, &o)
		if db != nil {
			mustClose(t, db)
		}
		if !errors.Is(err, ErrChecksum) || checked > 10 {
			t.Errorf("got error %v after %d pages, want %v after a few", err, checked, ErrChecksum)
		}
	})
	changes := map[string]func(tx *Tx) error{
		"DeleteBucket": func(tx *Tx) error { return tx.DeleteBucket([]byte("b")) },
		"Clear":        func(tx *Tx) error { return tx.Bucket([]byte("b")).Clear() },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			db := mustOpen(t, forgeShared(t, 2), Options{})
			defer mustClose(t, db)
			var first error
			freed := 0
			err := db.Update(func(tx *Tx) error {
				first = change(tx)
				freed = len(tx.freed)
				return first
			})
			if !errors.Is(first, ErrChecksum) || !errors.Is(err, ErrChecksum) {
				t.Errorf("got %v, Update %v; want %v", first, err, ErrChecksum)
			}
			if pages := int(db.filePages.Load()); freed > 2*pages {
				t.Errorf("gave up %d extents in a file of %d pages", freed, pages)
			}
		})
	}
	t.Run("Check", func(t *testing.T) {
		db := mustOpen(t, forgeShared(t, 2), Options{})
		defer mustClose(t, db)
		found, seen := 0, int64(0)
		err := db.View(func(tx *Tx) error {
			for err := range tx.Check(WithCheckProgress(func(done, _ int64) { seen = max(seen, done) })) {
				found++
				if !errors.Is(err, ErrChecksum) {
					t.Errorf("Check: got %v, want %v", err, ErrChecksum)
				}
			}
			return nil
		})
		if err != nil || found == 0 || seen > 10 {
			t.Errorf("Check found %d faults in %d pages, error %v; want some in a few", found, seen, err)
		}
	})
}

// A read error while Open validated the last commit was taken for damage: Open
// went back to the transaction before, and an acknowledged one was lost over
// one ENOMEM.
func TestRegressions_ReadErrorAtOpenIsNotDamage(t *testing.T) {
	path, last, _ := twoSlots(t, Options{}, 1, true)
	image := mustRead(t, path)
	db, err := openThrough(path, nil, func(f fsync.File) fsync.File {
		faults := fsync.NewFaults(f)
		faults.Fail(fsync.OpPageRead, 1, syscall.ENOMEM)
		return faults
	})
	if db != nil {
		mustClose(t, db)
	}
	if !errors.Is(err, syscall.ENOMEM) || errors.Is(err, ErrChecksum) {
		t.Errorf("Open: got %v, want %v", err, syscall.ENOMEM)
	}
	if got := mustRead(t, path); !bytes.Equal(got, image) {
		t.Error("the Open that failed changed the file")
	}
	db = mustOpen(t, path, Options{})
	defer mustClose(t, db)
	wantOne(t, "second Open", db, "a", last)
}

// syncFirst notes whether something was read from the medium before a sync.
type syncFirst struct {
	fsync.File
	synced, early bool
}

func (f *syncFirst) SyncFull(op fsync.Op) error {
	f.synced = true
	return f.File.SyncFull(op)
}

func (f *syncFirst) ReadMedium(op fsync.Op, p []byte, off int64) error {
	f.early = f.early || !f.synced
	return f.File.ReadMedium(op, p, off)
}

// The last meta of Close calls its transaction durable. If the process was
// killed before the sync that follows, Open took its word for it, and the next
// commits reused pages of a state that was on no medium yet.
func TestRegressions_OpenSyncsBeforeItTrusts(t *testing.T) {
	path, last, _ := twoSlots(t, Options{}, 1, false)
	watched := &syncFirst{}
	db := mustOpenThrough(t, path, func(f fsync.File) fsync.File {
		watched.File = f
		return watched
	})
	if !watched.synced || watched.early {
		t.Errorf("Open: synced %v, read before it %v; want a sync before anything is read", watched.synced, watched.early)
	}
	wantOne(t, "synced", db, "a", last)
	mustClose(t, db)

	db, err := openThrough(path, nil, func(f fsync.File) fsync.File {
		faults := fsync.NewFaults(f)
		faults.Fail(fsync.OpOpenSync, 1, syscall.EIO)
		return faults
	})
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("Open when the sync fails: got %v, want %v", err, syscall.EIO)
	}
	if db != nil {
		mustClose(t, db)
	}
}

// listed returns the names of what is in dir.
func listed(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// CopyFile renamed what it had asked for, not what Options.OpenFile had opened:
// the copy stayed where it was under a passing name, and nothing was at path.
func TestRegressions_CopyFileGoesToItsPath(t *testing.T) {
	dir, staging := t.TempDir(), t.TempDir()
	o := Options{OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
		if strings.HasSuffix(name, ".partial") {
			name = filepath.Join(staging, "staged")
		}
		return os.OpenFile(name, flag, mode)
	}}
	db := mustOpen(t, filepath.Join(dir, "db"), o)
	defer mustClose(t, db)
	putOne(t, db, "a", []byte("1"))
	to := filepath.Join(dir, "copy")
	if err := db.View(func(tx *Tx) error { return tx.CopyFile(to, 0o600) }); err != nil {
		t.Fatal(err)
	}
	if got := append(listed(t, dir), listed(t, staging)...); !slices.Equal(got, []string{"copy", "db"}) {
		t.Errorf("files: got %q, want the database and its copy", got)
	}
	copied := mustOpen(t, to, Options{})
	defer mustClose(t, copied)
	wantOne(t, "copy", copied, "a", "1")
}

// A copy that failed left what it had written so far.
func TestRegressions_FailedCopyFileLeavesNothing(t *testing.T) {
	const full = "/dev/full"
	cases := []struct {
		name  string
		spoil func(t *testing.T, db *DB, to string)
		open  func(to string) func(string, int, os.FileMode) (*os.File, error)
		want  error // nil = any
	}{
		{name: "full disk", want: syscall.ENOSPC, open: func(to string) func(string, int, os.FileMode) (*os.File, error) {
			return func(name string, flag int, mode os.FileMode) (*os.File, error) {
				if strings.HasPrefix(name, to) {
					// By a link: what is removed in the end is the link.
					if err := os.Symlink(full, name); err != nil {
						return nil, err
					}
				}
				return os.OpenFile(name, flag, mode)
			}
		}},
		{name: "damaged page", want: ErrChecksum, spoil: func(t *testing.T, db *DB, _ string) {
			overwriteAt(t, db.Path(), db.offset(db.published.Load().meta.Root.Root.ID)+100, []byte("damage"))
		}},
		{name: "name is taken by a directory", spoil: func(t *testing.T, _ *DB, to string) {
			if err := os.MkdirAll(filepath.Join(to, "full"), 0o700); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			to := filepath.Join(dir, "copy")
			o := Options{}
			if c.open != nil {
				if _, err := os.Stat(full); err != nil {
					t.Skipf("this system has no %s", full)
				}
				o.OpenFile = c.open(to)
			}
			db := mustOpen(t, filepath.Join(dir, "db"), o)
			defer mustClose(t, db)
			putOne(t, db, "a", []byte("1"))
			if c.spoil != nil {
				c.spoil(t, db, to)
			}
			before := listed(t, dir)
			err := db.View(func(tx *Tx) error { return tx.CopyFile(to, 0o600) })
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("CopyFile: got %v, want %v", err, c.want)
			}
			if after := listed(t, dir); !slices.Equal(after, before) {
				t.Errorf("files: got %q, want %q as before", after, before)
			}
		})
	}
}

// closeAtSync closes a database, from another goroutine, at the first sync
// after it is armed, and lets the sync go on when Close has begun.
type closeAtSync struct {
	fsync.File
	db    *DB // armed when set
	ended chan error
}

func (f *closeAtSync) Sync(op fsync.Op) error {
	if db := f.db; db != nil {
		f.db = nil
		go func() { f.ended <- db.Close() }()
		<-db.closed
	}
	return f.File.Sync(op)
}

// Compact rolled back a transaction that it did not have when its destination
// was closed between two of its transactions, and panicked.
func TestRegressions_CompactIntoClosedDatabase(t *testing.T) {
	watch(t, "Compact")
	src := mustOpen(t, filepath.Join(t.TempDir(), "src"), Options{})
	defer mustClose(t, src)
	for i := range 50 {
		putOne(t, src, fmt.Sprint(i), make([]byte, 900))
	}
	closer := &closeAtSync{ended: make(chan error, 1)}
	dst := mustOpenThrough(t, filepath.Join(t.TempDir(), "dst"), func(f fsync.File) fsync.File {
		closer.File = f
		return closer
	})
	closer.db = dst
	var err error
	var panicked any
	func() {
		defer func() { panicked = recover() }()
		err = Compact(dst, src, 1000)
	}()
	if panicked != nil || !errors.Is(err, ErrDatabaseNotOpen) {
		t.Errorf("Compact: got %v and panic %v, want %v", err, panicked, ErrDatabaseNotOpen)
	}
	if err := <-closer.ended; err != nil {
		t.Errorf("Close: %v", err)
	}
}
