package workloads

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// cached returns how many pages of a file are in the page cache.
func cachedPages(t *testing.T, f *os.File) int {
	t.Helper()
	var stat unix.Cachestat_t
	if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &stat, 0); err != nil {
		t.Skipf("the kernel does not count cached pages: %v", err)
	}
	return int(stat.Cache)
}

// TestDropper drops pages that are dirty and mapped, and only above the limit.
func TestDropper(t *testing.T) {
	const size = 1 << 20
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type == unix.TMPFS_MAGIC {
		t.Skip("files in memory have nowhere to be dropped to")
	}
	f, err := os.Create(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(newValuePool(size)); err != nil {
		t.Fatal(err)
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Munmap(mapped); err != nil {
			t.Error(err)
		}
	}()
	sumLines(mapped)
	before := cachedPages(t, f)
	if err := (&dropper{dir: dir, limit: 2 * size}).relieve(); err != nil {
		t.Fatal(err)
	}
	if after := cachedPages(t, f); after != before {
		t.Errorf("below the limit: %d pages, then %d", before, after)
	}
	if err := (&dropper{dir: dir, limit: size / 2}).relieve(); err != nil {
		t.Fatal(err)
	}
	if after := cachedPages(t, f); after > before/10 {
		t.Errorf("above the limit: %d pages, then still %d", before, after)
	}
	if want := newValuePool(size); string(mapped) != string(want) {
		t.Error("the mapping shows other bytes than before")
	}
}
