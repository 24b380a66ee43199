package fsync

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const page = 4096

func create(t *testing.T, dir string) File {
	t.Helper()
	f, err := Open(filepath.Join(dir, "db"), os.O_RDWR|os.O_CREATE, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return f
}

// random returns n bytes that are the same in every run.
func random(n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func wantContent(t *testing.T, f File, want []byte) {
	t.Helper()
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("the file has %d bytes that differ from the %d wanted", len(got), len(want))
	}
}

func wantOpError(t *testing.T, err error, op Op, cause error) {
	t.Helper()
	var oe *OpError
	if !errors.As(err, &oe) || oe.Op != op || !errors.Is(err, cause) {
		t.Errorf("error %v, want an OpError of %q that wraps %v", err, op, cause)
	}
}

func TestOp_String(t *testing.T) {
	seen := map[string]bool{}
	for op := range numOps {
		if s := op.String(); s == "" || seen[s] {
			t.Errorf("operation %d has the name %q", op, s)
		} else {
			seen[s] = true
		}
	}
	if got := (numOps + 3).String(); !strings.HasPrefix(got, "operation ") {
		t.Errorf("an unknown operation is called %q", got)
	}
}

func TestOpen_Errors(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(filepath.Join(dir, "none"), os.O_RDWR, 0, nil)
	wantOpError(t, err, OpOpen, os.ErrNotExist)
	_, err = Open(dir, os.O_RDONLY, 0, nil)
	wantOpError(t, err, OpOpen, ErrNotRegular)
	if !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "directory") {
		t.Errorf("error %q names neither path nor kind", err)
	}
}

func TestOpen_Custom(t *testing.T) {
	name := filepath.Join(t.TempDir(), "other")
	open := func(_ string, flag int, perm os.FileMode) (*os.File, error) {
		return os.OpenFile(name, flag, perm)
	}
	f, err := Open(filepath.Join(t.TempDir(), "db"), os.O_RDWR|os.O_CREATE, 0o600, open)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := f.OSFile().Name(); got != name {
		t.Errorf("opened %s, want %s", got, name)
	}
	if err := f.WriteAt(OpPageWrite, []byte("x"), 0); err != nil {
		t.Error(err)
	}
	dir := t.TempDir()
	_, err = Open(name, os.O_RDONLY, 0, func(string, int, os.FileMode) (*os.File, error) { return os.Open(dir) })
	wantOpError(t, err, OpOpen, ErrNotRegular)
}

func TestFile_WriteAtv(t *testing.T) {
	f := create(t, t.TempDir())
	var bufs [][]byte
	want := make([]byte, 100)
	data := random(3 << 20)
	for i := 0; len(data) > 0; i++ { // more buffers than one call takes, of many lengths
		n := min((i*37)%1500, len(data))
		bufs = append(bufs, data[:n])
		want = append(want, data[:n]...)
		data = data[n:]
	}
	if len(bufs) < 2*1024 {
		t.Fatalf("only %d buffers", len(bufs))
	}
	if err := f.WriteAtv(OpPageWrite, bufs, 100); err != nil {
		t.Fatal(err)
	}
	wantContent(t, f, want)
	if err := f.WriteAtv(OpPageWrite, nil, 0); err != nil {
		t.Error(err)
	}
	if err := f.WriteAtv(OpPageWrite, [][]byte{nil, {}}, 0); err != nil {
		t.Error(err)
	}
	wantContent(t, f, want)
	if err := f.WriteAtv(OpPageWrite, [][]byte{{1}}, -1); err == nil {
		t.Error("a negative offset was taken")
	}
}

func TestFile_ReadAt(t *testing.T) {
	f := create(t, t.TempDir())
	if err := f.WriteAt(OpPageWrite, []byte("hello"), 3); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 5)
	if n, err := f.ReadAt(OpPageRead, p, 3); n != 5 || (err != nil && err != io.EOF) || string(p) != "hello" {
		t.Errorf("ReadAt = %d, %v, %q", n, err, p)
	}
	if n, err := f.ReadAt(OpPageRead, p, 5); n != 3 || err != io.EOF {
		t.Errorf("ReadAt past the end = %d, %v, want 3, EOF", n, err)
	}
}

func testReadMedium(t *testing.T, f File) {
	t.Helper()
	data := random(700_001)
	if err := f.WriteAt(OpPageWrite, data, 0); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct{ off, n int }{
		{0, page}, {page, page}, {0, 700_001}, {1, 1}, {4095, 2}, {100, 600_000}, {page, 256 << 10}, {700_000, 1}, {698_000, 2001}, {5, 0},
	} {
		p := make([]byte, r.n)
		if err := f.ReadMedium(OpPageRead, p, int64(r.off)); err != nil {
			t.Errorf("[%d, +%d): %v", r.off, r.n, err)
		} else if !bytes.Equal(p, data[r.off:r.off+r.n]) {
			t.Errorf("[%d, +%d): wrong bytes", r.off, r.n)
		}
	}
	for _, off := range []int64{700_000, 700_001, 800_000, 699_000} {
		err := f.ReadMedium(OpMetaRead, make([]byte, page), off)
		wantOpError(t, err, OpMetaRead, io.ErrUnexpectedEOF)
	}
	if err := f.Truncate(OpTruncate, 2*page); err != nil {
		t.Fatal(err)
	}
	err := f.ReadMedium(OpMetaRead, make([]byte, 3*page), 0) // ends on a block border
	wantOpError(t, err, OpMetaRead, io.ErrUnexpectedEOF)
	if err := f.ReadMedium(OpMetaRead, make([]byte, 1), -1); err == nil {
		t.Error("a negative offset was taken")
	}
}

func TestFile_ReadMedium(t *testing.T) {
	testReadMedium(t, create(t, t.TempDir()))
}

func TestFile_GrowTruncateSync(t *testing.T) {
	f := create(t, t.TempDir())
	size := func() int64 {
		t.Helper()
		n, err := f.Size()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := f.WriteAt(OpPageWrite, []byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Grow(OpGrow, 1<<20); err != nil || size() != 1<<20 {
		t.Fatalf("Grow = %v, size %d", err, size())
	}
	if err := f.Grow(OpGrow, page); err != nil || size() != 1<<20 {
		t.Fatalf("Grow to less = %v, size %d: it must not shrink", err, size())
	}
	if err := f.SyncFull(OpGrowSync); err != nil {
		t.Error(err)
	}
	if err := f.Grow(OpGrow, 1<<62); err == nil || size() != 1<<20 {
		t.Errorf("Grow beyond all measure = %v, size %d", err, size())
	}
	if err := f.Truncate(OpTruncate, 4); err != nil || size() != 4 {
		t.Errorf("Truncate = %v, size %d", err, size())
	}
	if err := f.Sync(OpSync); err != nil {
		t.Error(err)
	}
	wantContent(t, f, []byte("kept"))
	if err := SyncDir(f.Name()); err != nil {
		t.Error(err)
	}
}

func TestFile_Closed(t *testing.T) {
	f := create(t, t.TempDir())
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, readErr := f.ReadAt(OpPageRead, make([]byte, 1), 0)
	_, sizeErr := f.Size()
	for _, tt := range []struct {
		op  Op
		err error
	}{
		{OpPageRead, readErr},
		{OpStat, sizeErr},
		{OpMetaRead, f.ReadMedium(OpMetaRead, make([]byte, 1), 0)},
		{OpPageWrite, f.WriteAt(OpPageWrite, []byte{1}, 0)},
		{OpPageWrite, f.WriteAtv(OpPageWrite, [][]byte{{1}}, 0)},
		{OpSync, f.Sync(OpSync)},
		{OpGrowSync, f.SyncFull(OpGrowSync)},
		{OpGrow, f.Grow(OpGrow, page)},
		{OpTruncate, f.Truncate(OpTruncate, 0)},
		{OpUnlock, Unlock(f)},
		{OpClose, f.Close()},
	} {
		wantOpError(t, tt.err, tt.op, os.ErrClosed)
	}
}
