package migrate

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// mountSmall mounts a file system of the given size until the test ends.
func mountSmall(t *testing.T, size string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skipf("this process may not mount a file system: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestRun_FullDisk fills a small file system in the middle, makes it larger and
// goes on.
func TestRun_FullDisk(t *testing.T) {
	for _, from := range bothWays {
		t.Run(string(from), func(t *testing.T) {
			src, _ := setup(t, from, 2, 2000)
			before := takeFingerprint(t, src)
			disk := mountSmall(t, "2m")
			dst := filepath.Join(disk, "destination")
			opts := Options{Source: src, Destination: dst, BatchEntries: 100}
			for range 2 {
				if _, err := run(t, opts); !errors.Is(err, unix.ENOSPC) {
					t.Fatalf("got %v, want %v", err, unix.ENOSPC)
				}
				if got := names(t, disk); !slices.Equal(got, []string{"destination.migrating"}) {
					t.Errorf("on the full disk: %q", got)
				}
			}
			if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=512m"); err != nil {
				t.Fatal(err)
			}
			result, err := run(t, opts)
			if err != nil || !result.Resumed || !result.Verified {
				t.Fatalf("%+v, %v", result, err)
			}
			wantSame(t, dump(t, dst, from.Other())[1:], dump(t, src, from)[1:])
			wantUntouched(t, src, before)
			if err := os.Remove(dst); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestRun_FullFromTheStart has no room for the first page.
func TestRun_FullFromTheStart(t *testing.T) {
	for _, from := range bothWays {
		src, _ := setup(t, from, 1, 10)
		disk := mountSmall(t, "4k")
		_, err := run(t, Options{Source: src, Destination: filepath.Join(disk, "destination")})
		if !errors.Is(err, unix.ENOSPC) {
			t.Errorf("from %s: got %v, want %v", from, err, unix.ENOSPC)
		}
		if got := names(t, disk); len(got) != 0 {
			t.Errorf("from %s: left behind: %q", from, got)
		}
	}
}
