package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/lightning-db/lightning/fsync"
)

// place gives the whole copy at temp its mode and its name.
func place(temp, name string, mode fs.FileMode) error {
	f, err := fsync.Open(temp, os.O_RDWR, 0, nil)
	if err != nil {
		return err
	}
	if err := errors.Join(f.OSFile().Chmod(mode|privateMode), f.SyncFull(fsync.OpCloseSync), f.Close()); err != nil {
		return err
	}
	if err := Move(temp, name); err != nil {
		return fmt.Errorf("the copy is whole, but cannot have its name: %w", err)
	}
	return nil
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
