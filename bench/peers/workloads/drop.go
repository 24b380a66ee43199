package workloads

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// dropper keeps the page cache of the files in dir below a limit in bytes: once
// there is more, all of it goes. That is harder on an engine than a real
// shortage of memory, which takes the pages that were not used for long.
type dropper struct {
	dir   string
	limit int64
}

// relieve drops the page cache of the files if it is over the limit.
func (d *dropper) relieve() error {
	cached := int64(0)
	err := d.each(func(f *os.File) error {
		var stat unix.Cachestat_t
		if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &stat, 0); err != nil {
			return fmt.Errorf("cachestat: %w", err)
		}
		cached += int64(stat.Cache) * int64(os.Getpagesize())
		return nil
	})
	if err != nil || cached <= d.limit {
		return err
	}
	if err := d.unmap(); err != nil {
		return err
	}
	return d.each(func(f *os.File) error {
		if err := f.Sync(); err != nil { // dirty pages cannot be dropped
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

// each calls fn with every file in the directory.
func (d *dropper) each(fn func(*os.File) error) error {
	return filepath.WalkDir(d.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) { // a background task of the engine was quicker
			return nil
		}
		if err != nil {
			return err
		}
		return errors.Join(fn(f), f.Close())
	})
}

// unmap takes the files' pages out of this process's page tables, since the
// kernel drops no page that is mapped. The mappings stay; a shared one has
// nothing that the file does not have.
func (d *dropper) unmap() error {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	scanner := bufio.NewScanner(f)
	for scanner.Scan() && err == nil {
		var low, high uintptr
		var flags string
		if !strings.Contains(scanner.Text(), d.dir+"/") {
			continue
		}
		if _, err = fmt.Sscanf(scanner.Text(), "%x-%x %s", &low, &high, &flags); err != nil || !strings.HasSuffix(flags, "s") {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, low, high-low, unix.MADV_DONTNEED); errno != 0 {
			err = fmt.Errorf("madvise: %w", errno)
		}
	}
	return errors.Join(err, scanner.Err(), f.Close())
}
