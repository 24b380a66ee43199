package boltfile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/seed"
)

// sealMeta computes the checksum of the meta in the page at off anew.
func sealMeta(image []byte, off int) {
	m := image[off+pageHeaderBytes:][:metaBytes]
	sum := fnv.New64a()
	sum.Write(m[:metaSumOffset])
	binary.LittleEndian.PutUint64(m[metaSumOffset:], sum.Sum64())
}

// metaImage is a file with two valid metas that tell different states: the
// newer transaction has the key "b" as well.
func metaImage(t *testing.T) []byte {
	t.Helper()
	return readFile(t, writeBolt(t, 4096,
		func(tx *bbolt.Tx) error { return tx.Cursor().Bucket().Put([]byte("a"), nil) },
		func(tx *bbolt.Tx) error { return tx.Cursor().Bucket().Put([]byte("b"), nil) },
	))
}

// newest returns the offset of the newer meta's page.
func newest(image []byte) int {
	if le.Uint64(image[64:]) > le.Uint64(image[4096+64:]) {
		return 0
	}
	return 4096
}

func TestOpen_ChoiceOfMeta(t *testing.T) {
	image := metaImage(t)
	young := newest(image)
	old := 4096 - young
	put32 := func(off int, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[off:], v) } }
	sealed := func(off int, change func([]byte)) func([]byte) {
		return func(b []byte) { change(b); sealMeta(b, off) }
	}
	for _, c := range []struct {
		name   string
		change func(b []byte)
		keys   int // 0 for an error
		want   error
	}{
		{"both valid", func([]byte) {}, 2, nil},
		{"newer damaged", func(b []byte) { b[young+30] ^= 1 }, 1, nil},
		{"newer zeroed", func(b []byte) { clear(b[young:][:4096]) }, 1, nil},
		{"older damaged", func(b []byte) { b[old+70] ^= 1 }, 2, nil},
		{"older zeroed", func(b []byte) { clear(b[old:][:4096]) }, 2, nil},
		{"newer of another version", sealed(young, put32(young+20, 3)), 1, nil},
		{"other page size in page 1", sealed(4096, put32(4096+24, 8192)), 1, nil},
		{"both damaged", func(b []byte) { b[30] ^= 1; b[4096+30] ^= 1 }, 0, &DamageError{}},
		{"both zeroed", func(b []byte) { clear(b[:8192]) }, 0, ErrNotBolt},
		{"both of another version", func(b []byte) {
			sealed(0, put32(20, 1))(b)
			sealed(4096, put32(4096+20, 1))(b)
		}, 0, ErrVersion},
		{"big-endian", func(b []byte) {
			binary.BigEndian.PutUint32(b[16:], magic)
			binary.BigEndian.PutUint32(b[4096+16:], magic)
		}, 0, ErrByteOrder},
		{"tiny pages", func(b []byte) {
			sealed(0, put32(24, 16))(b)
			sealed(4096, put32(4096+24, 16))(b)
		}, 0, &DamageError{}},
		{"huge pages", func(b []byte) {
			sealed(0, put32(24, 1<<31))(b)
			sealed(4096, put32(4096+24, 1<<31))(b)
		}, 0, &DamageError{}},
		{"root beyond the end", sealed(young, put32(young+32, 1<<20)), 0, &DamageError{}},
		{"root is a meta", sealed(young, put32(young+32, 1)), 0, &DamageError{}},
		{"more pages than the file", sealed(young, put32(young+56+4, 1<<30)), 0, &DamageError{}},
	} {
		changed := bytes.Clone(image)
		c.change(changed)
		f, err := openBytes(changed)
		if c.keys == 0 {
			wantError(t, c.name, err, c.want)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		entries, err := walkAll(f, nil)
		if err != nil || len(entries) != c.keys+1 {
			t.Errorf("%s: %d entries, want %d; %v", c.name, len(entries), c.keys+1, err)
		}
	}
}

func wantError(t *testing.T, name string, err, want error) {
	t.Helper()
	var damage *DamageError
	if _, ok := want.(*DamageError); ok {
		if !errors.As(err, &damage) {
			t.Errorf("%s: %v, want damage", name, err)
		}
	} else if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", name, err, want)
	}
}

// TestOpen_CutShort cuts the file at every page and inside of each.
func TestOpen_CutShort(t *testing.T) {
	image := metaImage(t)
	end := int(openImage(t, image).Used())
	for n := 0; n < end; n += 512 {
		_, err := openBytes(image[:n])
		var damage *DamageError
		switch {
		case n <= 16 && !errors.Is(err, ErrNotBolt):
			t.Errorf("%d bytes: %v", n, err)
		case n > 16 && (!errors.As(err, &damage) || !strings.Contains(err.Error(), "cut short")):
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	trailer := append(image[:end:end], make([]byte, 32)...) // as etcd's snapshots have
	if _, err := openBytes(trailer); err != nil {
		t.Error(err)
	}
}

func openImage(t *testing.T, image []byte) *File {
	t.Helper()
	f, err := openBytes(image)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestWalk_CutWhileOpen cuts the file under an open handle.
func TestWalk_CutWhileOpen(t *testing.T) {
	r := seed.Rand(t)
	path := writeBolt(t, 4096, func(tx *bbolt.Tx) error { return fillRandom(r, tx.Cursor().Bucket(), 1, 1000) })
	f := openFile(t, path)
	w, err := f.Walk(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = w.Next()
	}
	wantError(t, "cut", err, &DamageError{})
	if _, again := w.Next(); again != err {
		t.Errorf("after an error: %v", again)
	}
}

func TestOpen_InUse(t *testing.T) {
	path := writeBolt(t, 0)
	writer, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path, 20*time.Millisecond); !errors.Is(err, ErrInUse) {
		t.Errorf("beside a writer: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, path, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	reader, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(t.Context(), path, time.Second)
	if err != nil {
		t.Fatalf("beside a reader: %v", err)
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 60 * time.Millisecond}); err == nil {
		t.Error("a writer got in beside the reader")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpen_NotAFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(t.Context(), dir, time.Second); !errors.Is(err, fsync.ErrNotRegular) {
		t.Errorf("directory: %v", err)
	}
	if _, err := Open(t.Context(), filepath.Join(dir, "no"), time.Second); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestRecognize(t *testing.T) {
	image := metaImage(t)
	headless := bytes.Clone(image)
	clear(headless[:4096])
	other := bytes.Clone(headless)
	binary.BigEndian.PutUint32(other[4096+16:], magic)
	nothing := bytes.Clone(headless)
	clear(nothing[4096:8192])
	for _, c := range []struct {
		name  string
		image []byte
		want  bool
	}{{"whole", image, true}, {"second meta", headless, true}, {"big-endian", other, true}, {"nothing", nothing, false}, {"empty", nil, false}} {
		if got, err := Recognize(bytes.NewReader(c.image).ReadAt); err != nil || got != c.want {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
	broken := errors.New("broken")
	if _, err := Recognize(func([]byte, int64) (int, error) { return 0, broken }); err != broken {
		t.Errorf("error of the device: %v", err)
	}
}

func TestFile_Identity(t *testing.T) {
	path := writeBolt(t, 0, func(tx *bbolt.Tx) error { return tx.Cursor().Bucket().Put([]byte("a"), nil) })
	identity := func() Identity {
		f, err := Open(t.Context(), path, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		id, err := f.Identity()
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		return id
	}
	first := identity()
	if again := identity(); again != first {
		t.Errorf("%+v, then %+v", first, again)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err == nil {
		err = db.Update(func(tx *bbolt.Tx) error { return tx.Cursor().Bucket().Put([]byte("b"), nil) })
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if now := identity(); now.TxID == first.TxID || now.Checksum == first.Checksum {
		t.Errorf("after a commit: %+v, before: %+v", now, first)
	}
}

// readFails checks that errors of the device come back as they are.
func TestWalk_ReadError(t *testing.T) {
	image := metaImage(t)
	broken := errors.New("broken")
	reads := 0
	f, err := newFile("image", int64(len(image)), func(p []byte, off int64) (int, error) {
		if off >= 8192 {
			reads++
			return 0, broken
		}
		return bytes.NewReader(image).ReadAt(p, off)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Walk(nil); err != broken || reads != 1 {
		t.Errorf("%v after %d reads", err, reads)
	}
	if _, err := newFile("image", 0, func([]byte, int64) (int, error) { return 0, io.EOF }); !errors.Is(err, ErrNotBolt) {
		t.Error(err)
	}
}
