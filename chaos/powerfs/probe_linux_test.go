//go:build amd64 || arm64

package powerfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lightning-db/lightning/chaos/powerfs"
	"github.com/lightning-db/lightning/fsync"
)

// TestProbe looks at the file system through the kernel, from a child: what
// TestPower relies on.
func TestProbe(t *testing.T) {
	b := newBench(t, 1, powerfs.Lies{})
	b.fs.Fail(powerfs.Fault{Op: powerfs.OpSync, N: 2, Err: syscall.EIO})
	c := b.start(job{Probe: true, Path: filepath.Join(b.dir, "probe")})
	defer b.watch(c.cmd)()
	for line := range c.lines {
		t.Error(line)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

const probeSize = 256 << 10

// probe is the child of TestProbe; the second sync of a file fails.
func probe(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, probeSize); err != nil {
		return fmt.Errorf("fallocate: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("flock: %w", err)
	}
	shown, err := unix.Mmap(int(f.Fd()), 0, probeSize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	before := shown[5000] // a page that the kernel has from now on
	if err := probeMap(f, shown); err != nil {
		return err
	}
	if err := f.Sync(); err != nil || before != 0 {
		return fmt.Errorf("byte %d, sync: %w", before, err)
	}
	if err := probeLies(f, path, shown); err != nil {
		return err
	}
	return errors.Join(f.Close(), probeNames(path))
}

// probeMap: the map shows what is written beside it.
func probeMap(f *os.File, shown []byte) error {
	for i, off := range []int64{0, 5000, 70001, probeSize - 4096} {
		text := bytes.Repeat([]byte{byte(i + 1)}, 4096)
		if _, err := f.WriteAt(text, off); err != nil {
			return err
		}
		if !bytes.Equal(shown[off:off+4096], text) {
			return fmt.Errorf("the map does not show what was written at %d", off)
		}
	}
	return nil
}

// probeLies: after a sync that failed the page cache shows what is lost, and
// a direct read, or the cache after it was dropped, what the medium has. It
// unmaps shown.
func probeLies(f *os.File, path string, shown []byte) error {
	text := bytes.Repeat([]byte{9}, probeSize)
	if _, err := f.WriteAt(text, 0); err != nil {
		return err
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		return fmt.Errorf("sync: got %v, want EIO", err)
	}
	if !bytes.Equal(shown, text) {
		return errors.New("the map has changed after a failed sync")
	}
	d, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	direct, err := unix.Mmap(-1, 0, probeSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	if n, err := unix.Pread(int(d.Fd()), direct, 0); err != nil || n != probeSize {
		return fmt.Errorf("direct read: %d, %v", n, err)
	}
	if kept := bytes.Count(direct, []byte{9}); kept == 0 || kept == probeSize {
		return fmt.Errorf("a failed sync left %d of %d bytes on the medium", kept, probeSize)
	}
	if err := unix.Munmap(shown); err != nil { // mapped pages are not dropped
		return err
	}
	if err := probeMedium(path, direct); err != nil {
		return err
	}
	cached := make([]byte, probeSize)
	if _, err := f.ReadAt(cached, 0); err != nil {
		return err
	}
	if !bytes.Equal(cached, direct) {
		return errors.New("the page cache shows after it was dropped what the medium has not")
	}
	again, err := unix.Mmap(int(f.Fd()), 0, probeSize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, direct) {
		return errors.New("a new map shows what the medium has not")
	}
	return errors.Join(unix.Munmap(again), unix.Munmap(direct), d.Close())
}

// probeMedium: ReadMedium returns what the medium has, and drops from the page
// cache what is otherwise there.
func probeMedium(path string, medium []byte) (err error) {
	f, err := fsync.Open(path, os.O_RDWR, 0, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	got := make([]byte, len(medium))
	if err := f.ReadMedium(fsync.OpPageRead, got, 0); err != nil {
		return err
	}
	if !bytes.Equal(got, medium) {
		return errors.New("ReadMedium returns what the medium has not")
	}
	return nil
}

// probeNames: names change at once for the process, and the directory lists
// them and can be synced.
func probeNames(path string) error {
	if err := os.Rename(path, path+"2"); err != nil {
		return err
	}
	list, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(list) != 1 || list[0].Name() != "probe2" {
		return fmt.Errorf("directory has %v, %v", list, err)
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close(), os.Truncate(path+"2", 10), os.Remove(path+"2"))
}
