//go:build !linux

package newfile

// move renames oldName to newName, unless that is taken.
func move(oldName, newName string) error { return link(oldName, newName) }
