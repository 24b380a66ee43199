//go:build unix

package lightning

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/decoy"
	"github.com/lightning-db/lightning/page"
)

// goodFile is a closed database with one key.
func goodFile(t *testing.T, o Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "good.db")
	db, err := Open(path, 0o600, &o)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("bucket"))
		if err != nil {
			return err
		}
		return b.Put([]byte("key"), []byte("value"))
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// badOpen expects that Open fails as want says, tells the path and what to do,
// leaves the file as it is and holds no lock.
func badOpen(t *testing.T, path string, o Options, want error, action string) {
	t.Helper()
	content, readErr := os.ReadFile(path)
	before, statErr := os.Stat(path)
	for _, readOnly := range []bool{false, true} {
		o.ReadOnly = readOnly
		watch(t, "Open")
		db, err := Open(path, 0o600, &o)
		if err == nil {
			db.Close()
			t.Fatalf("Open (read-only %v) succeeds, want %v", readOnly, want)
		}
		var open *OpenError
		if !errors.Is(err, want) || !errors.As(err, &open) || open.Path != path {
			t.Errorf("Open (read-only %v): %v, want an OpenError that wraps %v", readOnly, err, want)
		}
		if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), action) || open.SuggestedAction() == "" {
			t.Errorf("Open (read-only %v) says %q, want the path and what to do (%q)", readOnly, err, action)
		}
	}
	after, err := os.Stat(path)
	if (err == nil) != (statErr == nil) {
		t.Fatalf("Stat: %v, before %v", err, statErr)
	}
	if err != nil || readErr != nil {
		return
	}
	if !after.ModTime().Equal(before.ModTime()) || after.Size() != before.Size() {
		t.Errorf("the file was touched: %v, %d bytes, before %v, %d bytes", after.ModTime(), after.Size(), before.ModTime(), before.Size())
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, content) {
		t.Errorf("the file's content was changed: %v", err)
	}
	if !lockFree(t, path) {
		t.Error("the lock is still held")
	}
}

// lockFree tries the file's lock.
func lockFree(t *testing.T, path string) bool {
	t.Helper()
	f, err := fsync.Open(path, os.O_RDWR, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return fsync.Lock(t.Context(), f, true, time.Millisecond) == nil
}

// change edits a file and puts its times back into the past.
func change(t *testing.T, path string, fn func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, fn(b), 0o600); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, past, past); err != nil {
		t.Fatal(err)
	}
}

func TestBadInput_NotADatabase(t *testing.T) {
	for name, content := range map[string][]byte{
		"text":           bytes.Repeat([]byte("not a database\n"), 2000),
		"short":          []byte("x"),
		"one page short": make([]byte, 4095),
		"zeros":          make([]byte, 100000),
		"bbolt":          append(append(make([]byte, 16), 0xED, 0xDA, 0x0C, 0xED, 2, 0, 0, 0), make([]byte, 32<<10)...),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "other.db")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			change(t, path, func(b []byte) []byte { return b })
			badOpen(t, path, Options{}, ErrInvalid, "check the path")
		})
	}
}

func TestBadInput_EmptyFileReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "empty.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path, 0o600, &Options{ReadOnly: true})
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), path) {
		t.Errorf("Open: %v, want ErrInvalid and the path", err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Size() != 0 {
		t.Errorf("the file was changed: %v %v", fi, err)
	}
}

func TestBadInput_WrongVersion(t *testing.T) {
	path := goodFile(t, Options{})
	change(t, path, func(b []byte) []byte {
		for slot := range 2 {
			binary.LittleEndian.PutUint32(b[slot*4096+16:], 999)
		}
		return b
	})
	badOpen(t, path, Options{}, ErrVersionMismatch, "release that wrote it")
}

func TestBadInput_IntegrityKey(t *testing.T) {
	path := goodFile(t, Options{IntegrityKey: []byte("right")})
	change(t, path, func(b []byte) []byte { return b })
	for name, key := range map[string][]byte{"wrong": []byte("wrong"), "missing": nil} {
		t.Run(name, func(t *testing.T) {
			badOpen(t, path, Options{IntegrityKey: key}, ErrIntegrityKey, "Options.IntegrityKey")
		})
	}
	plain := goodFile(t, Options{})
	change(t, plain, func(b []byte) []byte { return b })
	badOpen(t, plain, Options{IntegrityKey: []byte("none wanted")}, ErrIntegrityKey, "Options.IntegrityKey")
	db, err := Open(path, 0o600, &Options{IntegrityKey: []byte("right")})
	if err != nil {
		t.Fatalf("Open with the right key: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestBadInput_Truncated(t *testing.T) {
	for _, size := range []int{page.MetaSize, 2 * page.MetaSize, 2*page.MetaSize + 100} {
		path := goodFile(t, Options{NoSync: true})
		change(t, path, func(b []byte) []byte { return b[:size] })
		badOpen(t, path, Options{}, ErrChecksum, "restore from a backup")
	}
}

func TestBadInput_BothMetasDamaged(t *testing.T) {
	path := goodFile(t, Options{})
	change(t, path, func(b []byte) []byte {
		for slot := range 2 {
			b[slot*4096+2000] ^= 1
		}
		return b
	})
	badOpen(t, path, Options{}, ErrChecksum, "restore from a backup")
}

// A value that looks like the meta slot of larger pages does not become the database
// when both slots are gone.
func TestBadInput_ValueThatLooksLikeASlot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "value.db")
	put := func(value []byte) []byte {
		t.Helper()
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		db := mustOpen(t, path, Options{})
		putOne(t, db, "k", value)
		mustClose(t, db)
		return mustRead(t, path)
	}
	value := bytes.Repeat([]byte("v"), 200<<10)
	copy(value, "here it begins")
	decoy.Slots(t, value, bytes.Index(put(value), value[:14]))
	image := put(value)
	for _, garbage := range []byte{0, 'x'} {
		copy(image, bytes.Repeat([]byte{garbage}, 2*page.MetaSize))
		overwriteAt(t, path, 0, image)
		badOpen(t, path, Options{}, ErrInvalid, "check the path")
	}
}

// An increment is told from a damaged database.
func TestBadInput_Increment(t *testing.T) {
	dir := t.TempDir()
	db := mustOpen(t, filepath.Join(dir, "db"), Options{})
	defer mustClose(t, db)
	path := filepath.Join(dir, "increment")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	var before State
	if err := db.View(func(tx *Tx) (err error) { before, err = tx.State(); return err }); err != nil {
		t.Fatal(err)
	}
	putOne(t, db, "k", []byte("v"))
	if err := db.View(func(tx *Tx) error { _, err := tx.WriteIncrement(f, before); return err }); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		badOpen(t, path, Options{ReadOnly: readOnly}, ErrIncrement, "lightning-cli restore")
	}
}

func TestBadInput_NotRegular(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	sock := filepath.Join(dir, "s")
	t.Chdir(dir) // the path of a socket may have some 100 bytes
	l, err := net.Listen("unix", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct{ path, kind string }{{dir, "directory"}, {fifo, "FIFO"}, {sock, "socket"}, {"/dev/null", "device"}} {
		t.Run(c.kind, func(t *testing.T) {
			watch(t, "Open of a "+c.kind)
			for _, readOnly := range []bool{false, true} {
				_, err := Open(c.path, 0o600, &Options{ReadOnly: readOnly})
				if !errors.Is(err, ErrNotRegular) || !strings.Contains(err.Error(), c.path) || !strings.Contains(err.Error(), c.kind) || !strings.Contains(err.Error(), "regular file") {
					t.Errorf("Open: %v", err)
				}
			}
		})
	}
}

func TestBadInput_PageSize(t *testing.T) {
	for _, size := range []int{1, 1024, 4097, 12288, 131072, -4096} {
		path := filepath.Join(t.TempDir(), "new.db")
		_, err := Open(path, 0o600, &Options{PageSize: size})
		var open *OpenError
		if !errors.As(err, &open) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "power of two") {
			t.Errorf("page size %d: %v", size, err)
		}
		if fi, err := os.Stat(path); err == nil && fi.Size() > 0 {
			t.Errorf("page size %d: a file of %d bytes was left", size, fi.Size())
		}
	}
}

func TestBadInput_MissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing.db")
	_, err := Open(path, 0o600, &Options{ReadOnly: true})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("Open: %v, want fs.ErrNotExist and the path", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a read-only open made the file: %v", err)
	}
	path = filepath.Join(t.TempDir(), "no", "such", "directory", "x.db")
	if _, err := Open(path, 0o600, nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("Open in a missing directory: %v", err)
	}
}

// Root may open everything, so the opener is a child process of another user.
func TestBadInput_NoPermission(t *testing.T) {
	if path := os.Getenv(childEnv); path != "" {
		for _, readOnly := range []bool{false, true} {
			_, err := Open(path, 0o600, &Options{ReadOnly: readOnly})
			if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), path) {
				t.Errorf("Open (read-only %v): %v, want fs.ErrPermission and the path", readOnly, err)
			}
		}
		return
	}
	// Not t.TempDir, which only its owner may enter.
	dir, err := os.MkdirTemp("", "lightning-permission")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "private.db")
	b, err := os.ReadFile(goodFile(t, Options{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(dir, "test")
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, program, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := child(t, "TestBadInput_NoPermission", path)
	cmd.Path, cmd.Dir = binary, dir
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.Output()
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("cannot become another user here: %v", err)
	}
	if err != nil || !bytes.Contains(out, []byte("PASS")) {
		t.Errorf("%v\n%s", err, out)
	}
	if now, err := os.ReadFile(path); os.Geteuid() == 0 && (err != nil || !bytes.Equal(now, b)) {
		t.Errorf("the file was changed: %v", err)
	}
}

// Another process holds the file; afterwards it can be opened.
func TestBadInput_LockedByAnotherProcess(t *testing.T) {
	if path := os.Getenv(childEnv); path != "" {
		db, err := Open(path, 0o600, &Options{ReadOnly: os.Getenv("READONLY") != ""})
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("open\n")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the parent lets go
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, readOnly := range []bool{false, true} {
		path := goodFile(t, Options{})
		cmd := child(t, "TestBadInput_LockedByAnotherProcess", path)
		if readOnly {
			cmd.Env = append(cmd.Env, "READONLY=1")
		}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "open\n" {
			t.Fatalf("the child says %q: %v", line, err)
		}
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(path, 0o600, &Options{Timeout: 20 * time.Millisecond})
		if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "another process") {
			t.Errorf("Open of a locked file: %v", err)
		}
		db, err := Open(path, 0o600, &Options{ReadOnly: true, Timeout: 20 * time.Millisecond})
		if readOnly && err != nil || !readOnly && !errors.Is(err, ErrTimeout) {
			t.Errorf("Open for reading, locked for reading %v: %v", readOnly, err)
		}
		if err == nil {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
		if after, err := os.Stat(path); err != nil || !after.ModTime().Equal(before.ModTime()) {
			t.Errorf("the file was touched: %v", err)
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		if db, err = Open(path, 0o600, &Options{Timeout: time.Minute}); err != nil {
			t.Fatalf("Open after the other process ended: %v", err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}
