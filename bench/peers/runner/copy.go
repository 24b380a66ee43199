package runner

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// copyDir copies a database and waits until the copy is on the medium, so that
// nobody's commit pays for it.
func copyDir(to, from string) error {
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, 0o700)
		case entry.Type().IsRegular():
			return copyFile(target, path)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	return nil
}

// copyFile copies a file with its holes, and with its blocks that are allocated
// but not written, which the engine counts on.
func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && info.Size() > 0 && stat.Blocks*512 >= info.Size() {
		if err := unix.Fallocate(int(out.Fd()), 0, 0, info.Size()); err != nil {
			return fmt.Errorf("allocate: %w", err)
		}
	}
	if err := copyData(out, in, info.Size()); err != nil {
		return err
	}
	return out.Sync()
}

// copyData copies what is not a hole.
func copyData(out, in *os.File, size int64) error {
	for end := int64(0); end < size; {
		begin, err := in.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		if end, err = in.Seek(begin, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := in.Seek(begin, io.SeekStart); err != nil {
			return err
		}
		if _, err := out.Seek(begin, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(out, in, end-begin); err != nil {
			return err
		}
	}
	return nil
}

// syncDir waits until the files of a database are on the medium.
func syncDir(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
