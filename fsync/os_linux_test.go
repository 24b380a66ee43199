package fsync

import (
	"bytes"
	"errors"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lightning-db/lightning/internal/memdir"
)

// The two ways of ReadMedium; which one the file system of the other test
// takes is its own affair.
func TestFile_ReadMedium_Fallback(t *testing.T) {
	f := create(t, t.TempDir())
	f.(*osFile).medium.off.Store(true)
	testReadMedium(t, f)
}

func TestFile_ReadMedium_MemoryFileSystem(t *testing.T) {
	if memdir.Root() == "" {
		t.Skip("no file system in memory here")
	}
	testReadMedium(t, create(t, memdir.Temp(t)))
}

// A read from the medium must see the last write, synced or not.
func TestFile_ReadMedium_SeesWrites(t *testing.T) {
	f := create(t, t.TempDir())
	for i := range 5 {
		want := bytes.Repeat([]byte{byte(i + 1)}, 2*page)
		if err := f.WriteAt(OpPageWrite, want, 0); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if err := f.ReadMedium(OpPageRead, got, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("round %d: old bytes", i)
		}
	}
}

// What the page cache has as the medium does stays there.
func TestFile_ReadMedium_KeepsTheCache(t *testing.T) {
	f := create(t, t.TempDir())
	data := random(600_000)
	if err := f.WriteAt(OpPageWrite, data, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(OpSync); err != nil {
		t.Fatal(err)
	}
	cached := func() int {
		t.Helper()
		var in unix.Cachestat_t
		if err := unix.Cachestat(uint(f.OSFile().Fd()), &unix.CachestatRange{}, &in, 0); err != nil {
			if !errors.Is(err, unix.ENOSYS) {
				t.Fatal(err)
			}
			t.Skip("this kernel does not tell what is cached: ", err)
		}
		return int(in.Cache)
	}
	whole := cached()
	read := func() {
		t.Helper()
		p := make([]byte, len(data))
		if err := f.ReadMedium(OpPageRead, p, 0); err != nil || !bytes.Equal(p, data) {
			t.Fatalf("wrong bytes, or %v", err)
		}
	}
	read()
	if f.(*osFile).medium.off.Load() {
		t.Skip("no direct reads here")
	}
	if n := cached(); n != whole {
		t.Errorf("%d of %d pages are left in the cache", n, whole)
	}
	for _, hole := range []int64{0, 70 * page, 100 * page} { // the cache has part of it
		if err := unix.Fadvise(int(f.OSFile().Fd()), hole, 20*page, unix.FADV_DONTNEED); err != nil {
			t.Fatal(err)
		}
		before := cached()
		read()
		if n := cached(); n != before {
			t.Errorf("with a hole at %d: %d of %d pages are left in the cache", hole, n, before)
		}
	}
}

// Growing must take the space now, not when it is written to.
func TestFile_Grow_Allocates(t *testing.T) {
	f := create(t, t.TempDir())
	if err := f.Grow(OpGrow, 4<<20); err != nil {
		t.Fatal(err)
	}
	fi, err := f.OSFile().Stat()
	if err != nil {
		t.Fatal(err)
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(f.Name(), &st); err != nil {
		t.Fatal(err)
	}
	const ext4, xfs, tmpfs = 0xef53, 0x58465342, 0x01021994
	if st.Type != ext4 && st.Type != xfs && st.Type != tmpfs {
		t.Skipf("file system %#x need not allocate", st.Type)
	}
	if got := fi.Sys().(*syscall.Stat_t).Blocks * 512; got < 4<<20 {
		t.Errorf("%d bytes allocated, want %d", got, 4<<20)
	}
}

func TestWriteAll_ShortWrites(t *testing.T) {
	data := random(10_000)
	var bufs [][]byte
	for i, rest := 0, data; len(rest) > 0; i++ {
		n := min((i*13)%400, len(rest))
		bufs, rest = append(bufs, rest[:n]), rest[n:]
	}
	for _, most := range []int{1, 7, 399, 400, 1000, 20_000} {
		got := make([]byte, 100+len(data))
		writeAt := func(p []byte, off int64) (int, error) { return copy(got[off:], p), nil }
		writev := func(bufs [][]byte, off int64) (int, error) {
			n := 0
			for _, b := range bufs {
				n += copy(got[off+int64(n):], b[:min(len(b), most-n)])
			}
			return n, nil
		}
		if err := writeAll(bufs, 100, writev, writeAt); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[100:], data) {
			t.Errorf("at most %d bytes a call: wrong bytes", most)
		}
	}
	err := writeAll(bufs, 0,
		func([][]byte, int64) (int, error) { return 5, nil },
		func([]byte, int64) (int, error) { return 0, syscall.ENOSPC })
	if err != syscall.ENOSPC {
		t.Errorf("the error behind a short write = %v, want ENOSPC", err)
	}
}
