package lightning_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
)

// hangLimit bounds how long a test waits for something that must happen. It is far above what any machine
// needs, and only turns a hang into a failure with a message.
const hangLimit = 60 * time.Second

// openDB opens a database in a new directory. When the test ends it is checked and closed, if it is open.
func openDB(t testing.TB, opts *lightning.Options) *lightning.DB {
	t.Helper()
	return openPath(t, filepath.Join(t.TempDir(), "test.db"), opts)
}

func openPath(t testing.TB, path string, opts *lightning.Options) *lightning.DB {
	t.Helper()
	db, err := lightning.Open(path, 0o600, opts)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if db.Path() == "" {
			return
		}
		if !t.Failed() {
			checkDB(t, db)
		}
		closed := make(chan error, 1)
		go func() { closed <- db.Close() }()
		select {
		case err := <-closed:
			if err != nil {
				t.Errorf("Close: %v", err)
			}
		case <-time.After(hangLimit):
			t.Error("Close hangs: the test left a transaction open")
		}
	})
	return db
}

// reopen closes db and opens the same file again.
func reopen(t testing.TB, db *lightning.DB, opts *lightning.Options) *lightning.DB {
	t.Helper()
	path := db.Path()
	if err := db.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	return openPath(t, path, opts)
}

func checkDB(t testing.TB, db *lightning.DB) {
	t.Helper()
	err := db.View(func(tx *lightning.Tx) error {
		for err := range tx.Check() {
			t.Errorf("Check: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Errorf("View for Check: %v", err)
	}
}

func mustUpdate(t testing.TB, db *lightning.DB, fn func(tx *lightning.Tx)) {
	t.Helper()
	if err := db.Update(func(tx *lightning.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func mustView(t testing.TB, db *lightning.DB, fn func(tx *lightning.Tx)) {
	t.Helper()
	if err := db.View(func(tx *lightning.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatalf("View: %v", err)
	}
}

func mustBegin(t testing.TB, db *lightning.DB, writable bool) *lightning.Tx {
	t.Helper()
	tx, err := db.Begin(writable)
	if err != nil {
		t.Fatalf("Begin(%v): %v", writable, err)
	}
	return tx
}

func mustCommit(t testing.TB, tx *lightning.Tx) {
	t.Helper()
	if err := tx.Commit(); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

func mustRollback(t testing.TB, tx *lightning.Tx) {
	t.Helper()
	if err := tx.Rollback(); err != nil {
		t.Fatalf("Rollback: %v", err)
	}
}

func mustCreate(t testing.TB, tx *lightning.Tx, name string) *lightning.Bucket {
	t.Helper()
	b, err := tx.CreateBucket([]byte(name))
	if err != nil {
		t.Fatalf("CreateBucket(%.40q): %v", name, err)
	}
	return b
}

func mustNest(t testing.TB, b *lightning.Bucket, name string) *lightning.Bucket {
	t.Helper()
	child, err := b.CreateBucket([]byte(name))
	if err != nil {
		t.Fatalf("Bucket.CreateBucket(%.40q): %v", name, err)
	}
	return child
}

func mustBucket(t testing.TB, tx *lightning.Tx, path ...string) *lightning.Bucket {
	t.Helper()
	b := tx.Bucket([]byte(path[0]))
	for _, name := range path[1:] {
		if b != nil {
			b = b.Bucket([]byte(name))
		}
	}
	if b == nil {
		t.Fatalf("bucket %q does not exist", path)
	}
	return b
}

func mustPut(t testing.TB, b *lightning.Bucket, key, value string) {
	t.Helper()
	if err := b.Put([]byte(key), []byte(value)); err != nil {
		t.Fatalf("Put(%.40q): %v", key, err)
	}
}

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

func wantValue(t testing.TB, b *lightning.Bucket, key, want string) {
	t.Helper()
	got := b.Get([]byte(key))
	if got == nil && want != "" || string(got) != want {
		t.Errorf("Get(%.40q): got %.40q (%d bytes), want %.40q (%d bytes)", key, got, len(got), want, len(want))
	}
}

func wantAbsent(t testing.TB, b *lightning.Bucket, key string) {
	t.Helper()
	if got := b.Get([]byte(key)); got != nil {
		t.Errorf("Get(%.40q): got %.40q, want nil", key, got)
	}
}

// waitFor fails the test when done is not closed in time.
func waitFor(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(hangLimit):
		t.Fatalf("%s hangs", what)
	}
}

// recovered runs fn and returns what it panicked with, or nil.
func recovered(fn func()) (value any) {
	defer func() { value = recover() }()
	fn()
	return nil
}

func numberedKey(i int) string { return fmt.Sprintf("key-%08d", i) }

// pageSizes are all the page sizes that a file can have.
var pageSizes = []int{4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10}

func TestOpen_CreatesAFileWithTheGivenMode(t *testing.T) {
	db := openDB(t, nil)
	info, err := os.Stat(db.Path())
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); runtime.GOOS != "windows" && got != 0o600 {
		t.Errorf("mode: got %o, want 600", got)
	}
	if db.IsReadOnly() {
		t.Error("IsReadOnly: got true, want false")
	}
	if got, want := db.String(), fmt.Sprintf("DB<%q>", db.Path()); got != want {
		t.Errorf("String: got %s, want %s", got, want)
	}
	if got := db.GoString(); !strings.Contains(got, fmt.Sprintf("%q", db.Path())) {
		t.Errorf("GoString: got %s, want the path in it", got)
	}
}

func TestOpen_Defaults(t *testing.T) {
	db := openDB(t, nil)
	if got := db.MaxBatchSize; got != 1000 {
		t.Errorf("MaxBatchSize: got %d, want 1000", got)
	}
	if got := db.MaxBatchDelay; got != 10*time.Millisecond {
		t.Errorf("MaxBatchDelay: got %v, want 10ms", got)
	}
	if got := db.AllocSize; got != 16<<20 {
		t.Errorf("AllocSize: got %d, want %d", got, 16<<20)
	}
	if db.Logger() == nil {
		t.Error("Logger: got nil, want one that discards")
	}
	if info := db.Info(); info.Data == 0 || info.PageSize < 4096 {
		t.Errorf("Info: got %+v, want an address and a page size", *info)
	}
}

func TestOpen_ErrNotExist(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := lightning.Open(filepath.Join(missing, "test.db"), 0o600, nil)
	wantErr(t, "Open in a missing directory", err, fs.ErrNotExist)

	_, err = lightning.Open(missing, 0o600, &lightning.Options{ReadOnly: true})
	wantErr(t, "Open of a missing file, read-only", err, fs.ErrNotExist)
	if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the read-only Open: Stat gives %v, want that the file does not exist", err)
	}
	if _, err = lightning.Open("", 0o600, nil); err == nil {
		t.Error("Open of an empty path: got nil, want an error")
	}
}

func TestOpen_ErrInvalid(t *testing.T) {
	for name, content := range map[string]string{
		"text":  strings.Repeat("this is not a database. ", 4000),
		"short": "hi",
		"zeros": strings.Repeat("\x00", 1<<17),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "test.db")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := lightning.Open(path, 0o600, nil)
			wantErr(t, "Open", err, lightning.ErrInvalid)
			after, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(after) != content {
				t.Error("Open changed a file that it refused")
			}
		})
	}
}

func TestOpen_EmptyFileBecomesADatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	db := openPath(t, path, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustCreate(t, tx, "b") })
}

func TestOpen_PageSizes_FileWinsOnReopen(t *testing.T) {
	for _, size := range pageSizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			db := openDB(t, &lightning.Options{PageSize: size})
			mustUpdate(t, db, func(tx *lightning.Tx) {
				b := mustCreate(t, tx, "b")
				for i := range 500 {
					mustPut(t, b, numberedKey(i), strings.Repeat("v", i))
				}
			})
			db = reopen(t, db, &lightning.Options{PageSize: 4096})
			if got := db.Info().PageSize; got != size {
				t.Errorf("Info().PageSize after reopen: got %d, want %d", got, size)
			}
			mustView(t, db, func(tx *lightning.Tx) {
				b := mustBucket(t, tx, "b")
				for i := range 500 {
					wantValue(t, b, numberedKey(i), strings.Repeat("v", i))
				}
			})
		})
	}
}

func TestOpen_OptionsOfBbolt_AreAccepted(t *testing.T) {
	for _, freelist := range []lightning.FreelistType{lightning.FreelistArrayType, lightning.FreelistMapType} {
		db := openDB(t, &lightning.Options{
			Timeout: time.Second, NoGrowSync: true, NoFreelistSync: true, PreLoadFreelist: true,
			FreelistType: freelist, InitialMmapSize: 1 << 30, NoSync: true,
		})
		db.StrictMode = true
		mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustCreate(t, tx, "b"), "k", "v") })
		if err := db.Sync(); err != nil {
			t.Errorf("Sync: %v", err)
		}
		db = reopen(t, db, nil)
		mustView(t, db, func(tx *lightning.Tx) { wantValue(t, mustBucket(t, tx, "b"), "k", "v") })
	}
}

func TestOptions_String(t *testing.T) {
	got := (&lightning.Options{PageSize: 8192, NoSync: true}).String()
	for _, want := range []string{"8192", "NoSync: true"} {
		if !strings.Contains(got, want) {
			t.Errorf("String: got %s, want %q in it", got, want)
		}
	}
	var none *lightning.Options
	if got := none.String(); got != "{}" {
		t.Errorf("String of nil: got %s, want {}", got)
	}
}

func TestOpen_Logger_IsKept(t *testing.T) {
	logger := &lightning.DefaultLogger{Logger: log.New(io.Discard, "", 0)}
	logger.EnableDebug()
	db := openDB(t, &lightning.Options{Logger: logger})
	if got := db.Logger(); got != lightning.Logger(logger) {
		t.Errorf("Logger: got %v, want the one in the options", got)
	}
}

func TestOpen_OpenFile_NamesTheDatabase(t *testing.T) {
	dir := t.TempDir()
	calls := 0
	opts := &lightning.Options{OpenFile: func(path string, flag int, mode os.FileMode) (*os.File, error) {
		calls++
		return os.CreateTemp(dir, "defrag-*")
	}}
	db := openPath(t, filepath.Join(dir, "ignored"), opts)
	if calls == 0 {
		t.Error("OpenFile was not called")
	}
	if got := filepath.Base(db.Path()); !strings.HasPrefix(got, "defrag-") {
		t.Errorf("Path: got %s, want the name of the file that OpenFile returned", got)
	}
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustCreate(t, tx, "b"), "k", "v") })
	db = reopen(t, db, nil)
	mustView(t, db, func(tx *lightning.Tx) { wantValue(t, mustBucket(t, tx, "b"), "k", "v") })
}

func TestOpen_OpenFile_ErrorIsReturned(t *testing.T) {
	broken := errors.New("broken")
	opts := &lightning.Options{OpenFile: func(string, int, os.FileMode) (*os.File, error) { return nil, broken }}
	_, err := lightning.Open(filepath.Join(t.TempDir(), "test.db"), 0o600, opts)
	wantErr(t, "Open", err, broken)
}

func TestOpen_ErrTimeout_SameProcess(t *testing.T) {
	db := openDB(t, nil)
	short := &lightning.Options{Timeout: 20 * time.Millisecond}
	_, err := lightning.Open(db.Path(), 0o600, short)
	wantErr(t, "second Open", err, lightning.ErrTimeout)
	_, err = lightning.Open(db.Path(), 0o600, &lightning.Options{Timeout: 20 * time.Millisecond, ReadOnly: true})
	wantErr(t, "second Open, read-only", err, lightning.ErrTimeout)
	reopen(t, db, short)
}

func TestOpen_WaitsForTheLock(t *testing.T) {
	db := openDB(t, nil)
	path, done := db.Path(), make(chan struct{})
	var second *lightning.DB
	var err error
	go func() {
		defer close(done)
		second, err = lightning.Open(path, 0o600, nil)
	}()
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustCreate(t, tx, "b"), "k", "v") })
	select {
	case <-done:
		t.Fatalf("second Open returned while the first was open: %v", err)
	default:
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "second Open", done)
	if err != nil {
		t.Fatalf("second Open: %v", err)
	}
	mustView(t, second, func(tx *lightning.Tx) { wantValue(t, mustBucket(t, tx, "b"), "k", "v") })
	if err := second.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestOpen_ReadOnly_IsShared(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustCreate(t, tx, "b"), "k", "v") })
	path := db.Path()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ro := openPath(t, path, &lightning.Options{ReadOnly: true, Timeout: hangLimit})
		if !ro.IsReadOnly() {
			t.Error("IsReadOnly: got false, want true")
		}
		mustView(t, ro, func(tx *lightning.Tx) { wantValue(t, mustBucket(t, tx, "b"), "k", "v") })
		_, err := ro.Begin(true)
		wantErr(t, "Begin(true)", err, lightning.ErrDatabaseReadOnly)
		nothing := func(*lightning.Tx) error { return nil }
		wantErr(t, "Update", ro.Update(nothing), lightning.ErrDatabaseReadOnly)
		wantErr(t, "Batch", ro.Batch(nothing), lightning.ErrDatabaseReadOnly)
	}
	_, err = lightning.Open(path, 0o600, &lightning.Options{Timeout: 20 * time.Millisecond})
	wantErr(t, "read-write Open beside readers", err, lightning.ErrTimeout)
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("read-only opens changed the file")
	}
}

// etcd appends a SHA-256 to a snapshot and opens the result read-only to check it.
func TestOpen_ReadOnly_FileWithTrailer(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustCreate(t, tx, "b"), "k", "v") })
	path := filepath.Join(t.TempDir(), "snapshot.db")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	mustView(t, db, func(tx *lightning.Tx) {
		if _, err := tx.WriteTo(f); err != nil {
			t.Fatalf("WriteTo: %v", err)
		}
	})
	if _, err := f.Write(bytes.Repeat([]byte{0xA5}, 32)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	snapshot := openPath(t, path, &lightning.Options{ReadOnly: true})
	mustView(t, snapshot, func(tx *lightning.Tx) { wantValue(t, mustBucket(t, tx, "b"), "k", "v") })
	checkDB(t, snapshot)
}

func TestDB_Close_TwiceAndAfter(t *testing.T) {
	db := openDB(t, nil)
	for i := range 2 {
		if err := db.Close(); err != nil {
			t.Errorf("Close number %d: %v", i+1, err)
		}
	}
	if got := db.Path(); got != "" {
		t.Errorf("Path after Close: got %q, want none", got)
	}
	wantNotOpen(t, db)
}

func TestDB_Zero_IsNotOpen(t *testing.T) {
	var db lightning.DB
	wantNotOpen(t, &db)
	if err := db.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if got := db.Stats(); got != (lightning.Stats{}) {
		t.Errorf("Stats: got %+v, want zero", got)
	}
	if got, want := db.String(), `DB<"">`; got != want {
		t.Errorf("String: got %s, want %s", got, want)
	}
	if db.Logger() == nil {
		t.Error("Logger: got nil, want one that discards")
	}
}

func wantNotOpen(t *testing.T, db *lightning.DB) {
	t.Helper()
	ran := func(*lightning.Tx) error { t.Error("the function ran on a database that is not open"); return nil }
	for _, writable := range []bool{false, true} {
		_, err := db.Begin(writable)
		wantErr(t, fmt.Sprintf("Begin(%v)", writable), err, lightning.ErrDatabaseNotOpen)
	}
	wantErr(t, "View", db.View(ran), lightning.ErrDatabaseNotOpen)
	wantErr(t, "Update", db.Update(ran), lightning.ErrDatabaseNotOpen)
	wantErr(t, "Batch", db.Batch(ran), lightning.ErrDatabaseNotOpen)
	if err := db.Sync(); err == nil {
		t.Error("Sync: got nil, want an error")
	}
}

func TestDB_Close_WaitsForOpenTransactions(t *testing.T) {
	for _, writable := range []bool{false, true} {
		t.Run(fmt.Sprintf("writable=%v", writable), func(t *testing.T) {
			db := openDB(t, nil)
			mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustCreate(t, tx, "b"), "k", "v") })
			tx := mustBegin(t, db, writable)
			b := mustBucket(t, tx, "b")

			closed := make(chan struct{})
			go func() {
				defer close(closed)
				if err := db.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}()
			for range 100 {
				runtime.Gosched()
				wantValue(t, b, "k", "v")
			}
			select {
			case <-closed:
				t.Fatal("Close returned while a transaction was open")
			default:
			}
			if writable {
				mustPut(t, b, "k", "late")
				mustCommit(t, tx)
			} else {
				mustRollback(t, tx)
			}
			waitFor(t, "Close", closed)
			_, err := db.Begin(false)
			wantErr(t, "Begin after Close", err, lightning.ErrDatabaseNotOpen)
		})
	}
}

// A Begin that meets a waiting Close must neither hang for ever nor get a dead transaction.
func TestDB_Begin_BesideAWaitingClose(t *testing.T) {
	db := openDB(t, nil)
	tx := mustBegin(t, db, false)
	var wg sync.WaitGroup
	for _, writable := range []bool{false, true} {
		wg.Go(func() {
			for {
				other, err := db.Begin(writable)
				if err != nil {
					wantErr(t, "Begin", err, lightning.ErrDatabaseNotOpen)
					return
				}
				if err := other.Rollback(); err != nil {
					t.Errorf("Rollback: %v", err)
				}
			}
		})
	}
	wg.Go(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	runtime.Gosched()
	mustRollback(t, tx)
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	waitFor(t, "Begin or Close", done)
}

func TestDB_Update_CommitsOrRollsBack(t *testing.T) {
	db := openDB(t, nil)
	refused := errors.New("refused")
	err := db.Update(func(tx *lightning.Tx) error {
		mustCreate(t, tx, "gone")
		return refused
	})
	if err != refused {
		t.Errorf("Update: got %v, want the function's own error", err)
	}
	mustUpdate(t, db, func(tx *lightning.Tx) {
		if tx.Bucket([]byte("gone")) != nil {
			t.Error("a rolled back bucket is there")
		}
		mustCreate(t, tx, "kept")
	})
	err = db.View(func(tx *lightning.Tx) error {
		mustBucket(t, tx, "kept")
		return refused
	})
	if err != refused {
		t.Errorf("View: got %v, want the function's own error", err)
	}
}

func TestDB_UpdateAndView_PanicIsRaisedAgain(t *testing.T) {
	db := openDB(t, nil)
	value := &struct{ n int }{7}
	got := recovered(func() {
		db.Update(func(tx *lightning.Tx) error { mustCreate(t, tx, "gone"); panic(value) })
	})
	if got != value {
		t.Errorf("Update: recovered %v, want the value of the panic itself", got)
	}
	got = recovered(func() { db.View(func(*lightning.Tx) error { panic(value) }) })
	if got != value {
		t.Errorf("View: recovered %v, want the value of the panic itself", got)
	}
	got = recovered(func() { db.Update(func(*lightning.Tx) error { panic(nil) }) })
	if _, ok := got.(*runtime.PanicNilError); !ok {
		t.Errorf("Update, panic(nil): recovered %v, want a *runtime.PanicNilError", got)
	}
	var empty []int
	got = recovered(func() { db.Update(func(*lightning.Tx) error { empty[len(empty)]++; return nil }) })
	if _, ok := got.(runtime.Error); !ok {
		t.Errorf("Update, index out of range: recovered %v, want a runtime.Error", got)
	}
	wantUnlocked(t, db)
}

// wantUnlocked checks that a function that did not return normally left nothing locked and nothing behind.
func wantUnlocked(t *testing.T, db *lightning.DB) {
	t.Helper()
	mustUpdate(t, db, func(tx *lightning.Tx) {
		if tx.Bucket([]byte("gone")) != nil {
			t.Error("a change of the transaction that was not committed is there")
		}
		if _, err := tx.CreateBucketIfNotExists([]byte("next")); err != nil {
			t.Errorf("CreateBucketIfNotExists: %v", err)
		}
	})
	if got := db.Stats().OpenTxN; got != 0 {
		t.Errorf("OpenTxN: got %d, want 0", got)
	}
}

func TestDB_UpdateAndView_Goexit(t *testing.T) {
	db := openDB(t, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		db.Update(func(tx *lightning.Tx) error {
			if _, err := tx.CreateBucket([]byte("gone")); err != nil {
				t.Errorf("CreateBucket: %v", err)
			}
			runtime.Goexit()
			return nil
		})
	}()
	waitFor(t, "Update", done)
	done = make(chan struct{})
	go func() {
		defer close(done)
		db.View(func(*lightning.Tx) error { runtime.Goexit(); return nil })
	}()
	waitFor(t, "View", done)
	wantUnlocked(t, db)
}

func TestDB_UpdateAndView_ManualEndPanics(t *testing.T) {
	db := openDB(t, nil)
	runners := map[string]func(func(*lightning.Tx) error) error{"Update": db.Update, "View": db.View}
	ends := map[string]func(*lightning.Tx) error{"Commit": (*lightning.Tx).Commit, "Rollback": (*lightning.Tx).Rollback}
	for runner, run := range runners {
		for name, end := range ends {
			if recovered(func() { run(end) }) == nil {
				t.Errorf("%s by hand inside %s: got no panic, want one", name, runner)
			}
		}
	}
	wantUnlocked(t, db)
}

func TestDB_NoSync_SwitchedOnALiveHandle(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustCreate(t, tx, "b") })
	for i := range 20 {
		db.NoSync = i%3 != 0
		mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustBucket(t, tx, "b"), numberedKey(i), "v") })
	}
	db.NoSync = true
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustBucket(t, tx, "b"), "last", "v") })
	if err := db.Sync(); err != nil {
		t.Errorf("Sync: %v", err)
	}
	db = reopen(t, db, nil)
	mustView(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		wantValue(t, b, "last", "v")
		for i := range 20 {
			wantValue(t, b, numberedKey(i), "v")
		}
	})
}

func TestDB_Stats_CountsTransactions(t *testing.T) {
	db := openDB(t, nil)
	before := db.Stats()
	first, second := mustBegin(t, db, false), mustBegin(t, db, false)
	if got := db.Stats().OpenTxN; got != 2 {
		t.Errorf("OpenTxN with two readers: got %d, want 2", got)
	}
	mustRollback(t, first)
	if got := db.Stats().OpenTxN; got != 1 {
		t.Errorf("OpenTxN with one reader: got %d, want 1", got)
	}
	mustRollback(t, second)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustCreate(t, tx, "b"), "k", "v") })
	mustView(t, db, func(tx *lightning.Tx) { mustBucket(t, tx, "b").Cursor().First() })

	after := db.Stats()
	diff := after.Sub(&before)
	if after.OpenTxN != 0 || diff.TxN != 3 {
		t.Errorf("OpenTxN %d, TxN %d: want 0 open and 3 started", after.OpenTxN, diff.TxN)
	}
	if diff.TxStats.GetWrite() < 1 || diff.TxStats.GetCursorCount() < 1 {
		t.Errorf("TxStats: got %+v, want writes and cursors counted", diff.TxStats)
	}
}

func TestDB_Stats_FreePages(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		for i := range 2000 {
			mustPut(t, b, numberedKey(i), strings.Repeat("v", 200))
		}
	})
	mustUpdate(t, db, func(tx *lightning.Tx) {
		if err := tx.DeleteBucket([]byte("b")); err != nil {
			t.Fatalf("DeleteBucket: %v", err)
		}
	})
	got := db.Stats()
	if deleted := 2000 * 200 / db.Info().PageSize; got.FreePageN+got.PendingPageN < deleted/2 {
		t.Errorf("FreePageN %d + PendingPageN %d: want most of the %d deleted pages", got.FreePageN, got.PendingPageN, deleted)
	}
}

func TestDB_NoStatistics(t *testing.T) {
	db := openDB(t, &lightning.Options{NoStatistics: true})
	mustUpdate(t, db, func(tx *lightning.Tx) { mustCreate(t, tx, "b") })
	mustView(t, db, func(tx *lightning.Tx) { tx.Cursor().First() })
	if got := db.Stats(); got != (lightning.Stats{}) {
		t.Errorf("Stats: got %+v, want zero", got)
	}
}

func TestDB_MaxSize(t *testing.T) {
	const limit = 1 << 20
	fill := func(tx *lightning.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("b"))
		if err != nil {
			return err
		}
		for i := range 64 {
			if err := b.Put([]byte(numberedKey(i)), make([]byte, 100_000)); err != nil {
				return err
			}
		}
		return nil
	}
	db := openDB(t, &lightning.Options{MaxSize: limit})
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustCreate(t, tx, "small"), "k", "v") })
	for i := range 3 {
		wantErr(t, "Update beyond MaxSize", db.Update(fill), lightning.ErrMaxSizeReached)
		info, err := os.Stat(db.Path())
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > limit {
			t.Errorf("file size: got %d, want at most %d", info.Size(), limit)
		}
		mustUpdate(t, db, func(tx *lightning.Tx) {
			mustPut(t, mustBucket(t, tx, "small"), numberedKey(i), "v")
			wantValue(t, mustBucket(t, tx, "small"), "k", "v")
		})
	}
	db.MaxSize = 0
	if err := db.Update(fill); err != nil {
		t.Errorf("Update after the limit was lifted: %v", err)
	}
	mustView(t, db, func(tx *lightning.Tx) { mustBucket(t, tx, "small") })
}

// bbolt must map the file anew to grow it, and waits for the readers to do so: a reader and a growing
// writer in one goroutine never came to an end.
func TestDB_Update_GrowsBesideAnOpenReader(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) { mustPut(t, mustCreate(t, tx, "b"), "k", "old") })
	reader := mustBegin(t, db, false)
	b := mustBucket(t, reader, "b")
	old := b.Get([]byte("k"))
	for i := range 24 {
		mustUpdate(t, db, func(tx *lightning.Tx) {
			mustPut(t, mustBucket(t, tx, "b"), "k", "new")
			mustPut(t, mustBucket(t, tx, "b"), numberedKey(i), strings.Repeat("v", 1<<20))
		})
	}
	if string(old) != "old" {
		t.Errorf("slice of the reader: got %q, want old", old)
	}
	wantValue(t, b, "k", "old")
	mustRollback(t, reader)
}

func TestCompact_KeepsEverything(t *testing.T) {
	for _, txMaxSize := range []int64{0, 1, 64 << 10} {
		t.Run(fmt.Sprintf("txMaxSize=%d", txMaxSize), func(t *testing.T) {
			src, dst := openDB(t, &lightning.Options{PageSize: 8192}), openDB(t, nil)
			mustUpdate(t, src, func(tx *lightning.Tx) {
				a := mustCreate(t, tx, "a")
				if err := a.SetSequence(41); err != nil {
					t.Fatal(err)
				}
				for i := range 300 {
					mustPut(t, a, numberedKey(i), strings.Repeat("v", i*7))
				}
				mustPut(t, a, "empty", "")
				deep := mustNest(t, mustNest(t, a, "n1"), "n2")
				if err := deep.SetSequence(7); err != nil {
					t.Fatal(err)
				}
				mustPut(t, deep, "k", "deep")
				mustCreate(t, tx, "nothing in it")
			})
			if err := lightning.Compact(dst, src, txMaxSize); err != nil {
				t.Fatalf("Compact: %v", err)
			}
			want, got := dumpDB(t, src), dumpDB(t, dst)
			if got != want {
				t.Errorf("contents differ: got %d bytes, want %d bytes\ngot  %.300q\nwant %.300q", len(got), len(want), got, want)
			}
		})
	}
}

// dumpDB writes all buckets with their sequences, keys and values as one string.
func dumpDB(t *testing.T, db *lightning.DB) string {
	t.Helper()
	var out strings.Builder
	var dump func(b *lightning.Bucket)
	dump = func(b *lightning.Bucket) {
		fmt.Fprintf(&out, "{seq=%d", b.Sequence())
		err := b.ForEach(func(k, v []byte) error {
			if v != nil {
				fmt.Fprintf(&out, " %q=%q", k, v)
				return nil
			}
			fmt.Fprintf(&out, " %q:", k)
			dump(b.Bucket(k))
			return nil
		})
		if err != nil {
			t.Errorf("ForEach: %v", err)
		}
		out.WriteString("}")
	}
	mustView(t, db, func(tx *lightning.Tx) {
		err := tx.ForEach(func(name []byte, b *lightning.Bucket) error {
			fmt.Fprintf(&out, " %q:", name)
			dump(b)
			return nil
		})
		if err != nil {
			t.Errorf("Tx.ForEach: %v", err)
		}
	})
	return out.String()
}

func TestCompact_ErrBucketExists(t *testing.T) {
	src, dst := openDB(t, nil), openDB(t, nil)
	for _, db := range []*lightning.DB{src, dst} {
		mustUpdate(t, db, func(tx *lightning.Tx) { mustCreate(t, tx, "b") })
	}
	wantErr(t, "Compact", lightning.Compact(dst, src, 0), lightning.ErrBucketExists)
}
