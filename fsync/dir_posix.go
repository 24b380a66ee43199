//go:build !windows

package fsync

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// SyncDir makes the directory entry of path durable, by a sync of the
// directory that holds the file; where path is a symbolic link, of the one
// that holds its target. On file systems that cannot sync a directory, and
// on Windows, it does nothing.
func SyncDir(path string) error {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return opError(OpDirSync, path, noOffset, err)
	}
	dir := filepath.Dir(target)
	d, err := os.Open(dir)
	if err != nil {
		return opError(OpDirSync, dir, noOffset, err)
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return opError(OpDirSync, dir, noOffset, errors.Join(err, d.Close()))
}
