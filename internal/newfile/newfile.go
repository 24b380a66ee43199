// Package newfile makes files under a temporary name and gives them theirs when they are whole, durably and in one step.
package newfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lightning-db/lightning/fsync"
)

// Partial makes the file that is to be given the name path when it is whole: path with
// ".partial-" and a number. Each has a name of its own, so that two that write to path at once cannot
// spoil each other's; one of them is then told that path exists.
func Partial(path string, mode os.FileMode) (*os.File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".partial-*")
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(mode); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return f, nil
}

// Settle moves the closed file partial to path, or removes it if err is not nil or
// moving it fails; it returns why.
func Settle(partial, path string, err error) error {
	if err == nil {
		err = Move(partial, path)
	}
	if err == nil {
		return nil
	}
	if gone := os.Remove(partial); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// Move gives the file oldName the name newName and makes that durable. It fails
// with fs.ErrExist if something has that name: nothing is ever replaced.
func Move(oldName, newName string) error {
	if err := move(oldName, newName); err != nil {
		return err
	}
	return fsync.SyncDir(newName)
}

// Replace is Move that replaces the file newName, in one step.
func Replace(oldName, newName string) error {
	if err := os.Rename(oldName, newName); err != nil {
		return err
	}
	return fsync.SyncDir(newName)
}

// link gives the file at oldName the name newName, unless that is taken, and
// takes the old one away. A run that is stopped in between finds both.
func link(oldName, newName string) error {
	if err := os.Link(oldName, newName); err != nil {
		return err
	}
	if err := fsync.SyncDir(newName); err != nil {
		return err
	}
	return os.Remove(oldName)
}
