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
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
)

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
