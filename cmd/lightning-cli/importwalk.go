package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// errReplaced means that a name led to another file than a moment before.
var errReplaced = errors.New("replaced while it was read")

// measure adds up the sizes of the files in tree for the progress bar. What cannot be read counts
// nothing: the import itself meets it again and reports it.
func (im *importer) measure(tree fs.FS) error {
	return fs.WalkDir(tree, ".", func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return im.ctx.Err()
		}
		if info, err := entry.Info(); err == nil {
			im.total += info.Size()
		}
		return nil
	})
}

// directory imports d, whose bucket is there, depth first in the order of the names.
func (im *importer) directory(d *directory, info fs.FileInfo) error {
	entries, err := list(d.root)
	if err != nil {
		return im.problem(d.name, err)
	}
	im.sum.Dirs++
	if err := im.storeMode(d, info.Mode()); err != nil {
		return err
	}
	kept := make(map[string]bool)
	for _, entry := range entries {
		if err := im.ctx.Err(); err != nil {
			return err
		}
		keep, err := im.entry(d, entry.Name())
		if err != nil {
			return err
		}
		if keep && im.opts.mirror {
			kept[entry.Name()] = true
		}
	}
	if !im.opts.mirror {
		return nil
	}
	return im.removeOthers(d, kept)
}

// list returns the entries of a directory in the order of their names.
func list(root *os.Root) (entries []fs.DirEntry, err error) {
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if entries, err = f.ReadDir(-1); err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// entry imports one entry of d and reports whether the database keeps something of that name.
func (im *importer) entry(d *directory, name string) (keep bool, err error) {
	full := joinPath(d.name, name)
	info, err := d.root.Lstat(name)
	if err != nil {
		return true, im.problem(full, err)
	}
	switch {
	case os.SameFile(info, im.self):
		return false, im.special(full, "it is the database")
	case info.IsDir():
		return true, im.enter(d, name, full, info)
	case info.Mode().IsRegular():
		return true, im.file(d, name, full, info)
	case info.Mode()&fs.ModeSymlink != 0:
		return true, im.link(d, name, full, info)
	}
	return false, im.special(full, "it is neither a file, a directory nor a symbolic link")
}

// enter imports the directory name in d.
func (im *importer) enter(d *directory, name, full string, info fs.FileInfo) (err error) {
	root, err := d.root.OpenRoot(name)
	if err != nil {
		return im.problem(full, err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	// Somebody may have put a link in place of the directory since Lstat.
	opened, err := root.Stat(".")
	if err == nil && !os.SameFile(info, opened) {
		err = errReplaced
	}
	if err != nil {
		return im.problem(full, err)
	}
	if err := im.storeDirectory(d, name, full); err != nil {
		return err
	}
	child := &directory{root: root, name: full, path: append(slices.Clip(d.path), []byte(name))}
	return im.directory(child, info)
}

// file imports the regular file name in d.
func (im *importer) file(d *directory, name, full string, info fs.FileInfo) error {
	value, err := readFile(d.root, name, info)
	if err != nil {
		return im.problem(full, err)
	}
	if err := im.storeFile(d, name, full, value); err != nil {
		return err
	}
	im.done += info.Size()
	im.progress.set(im.done, max(im.done, im.total))
	return nil
}

// readFile returns the entry for a file as long as it was when it was opened.
func readFile(root *os.Root, name string, expected fs.FileInfo) (value []byte, err error) {
	if err := checkContentSize(expected.Size()); err != nil {
		return nil, err
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !os.SameFile(expected, info) {
		return nil, errReplaced
	}
	if err := checkContentSize(info.Size()); err != nil {
		return nil, err
	}
	value = newEntry(info.Mode(), int(info.Size()))
	n, err := io.ReadFull(f, value[modeBytes:])
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil // the file became shorter
	}
	return value[:modeBytes+n], err
}

func checkContentSize(size int64) error {
	if size > maxContentBytes {
		return fmt.Errorf("size %d is over the largest that can be stored, %d", size, maxContentBytes)
	}
	return nil
}

// link imports the symbolic link name in d: its target is content and is not followed.
func (im *importer) link(d *directory, name, full string, info fs.FileInfo) error {
	target, err := d.root.Readlink(name)
	if err != nil {
		return im.problem(full, err)
	}
	value := newEntry(info.Mode(), len(target))
	copy(value[modeBytes:], target)
	return im.storeFile(d, name, full, value)
}

func (im *importer) special(name, why string) error {
	im.sum.Special++
	return im.app.warn("%s left out: %s", showPath(name), why)
}

// problem decides about something in the tree that cannot be read: the end, or a warning.
func (im *importer) problem(name string, err error) error {
	err = fmt.Errorf("import %s: %w", showPath(name), err)
	if !im.opts.skipErrors {
		return err
	}
	im.sum.Errors++
	return im.app.warn("%v", err)
}

// joinPath is path.Join without its cleaning: names are kept byte for byte.
func joinPath(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// showPath is how messages spell a path in the tree.
func showPath(name string) string {
	if name == "" {
		return "."
	}
	return escape([]byte(name), "")
}
