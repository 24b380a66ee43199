// Package newfile gives a file that is whole its name, durably and in one step.
package newfile

import (
	"os"

	"github.com/lightning-db/lightning/fsync"
)

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
