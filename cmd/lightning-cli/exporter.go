package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	lightning "github.com/lightning-db/lightning"
)

const (
	// privateDir is the mode of a directory until its entries are written: the mode it will have
	// may forbid writing.
	privateDir     = 0o700
	privateFile    = 0o600
	defaultDirMode = 0o755
)

// exporter writes buckets out as directories. Nothing in the database is trusted, and every name is
// resolved under one os.Root a directory, so that a link in the way is never followed.
type exporter struct {
	ctx   context.Context
	force bool
	sum   exportSummary
}

// directory writes the entries of b to root, then sets root's mode. full is its path for messages.
func (ex *exporter) directory(root *os.Root, b *lightning.Bucket, full string) error {
	ex.sum.Dirs++
	for k, v := range b.All() {
		if err := ex.ctx.Err(); err != nil {
			return err
		}
		name, path := string(k), joinPath(full, string(k))
		err := checkName(name)
		if err == nil && v == nil {
			err = ex.enter(root, b, name, path)
		} else if err == nil {
			err = ex.entry(root, name, v)
		}
		if err != nil {
			return exportError(path, err)
		}
	}
	if err := b.Tx().Err(); err != nil {
		return err
	}
	mode, known := directoryMode(b.Sequence())
	if !known {
		mode = defaultDirMode
	}
	return root.Chmod(".", mode)
}

// pathError names the entry that could not be exported, once however deep it lies.
type pathError struct {
	path string
	err  error
}

func (e *pathError) Error() string { return "export " + showPath(e.path) + ": " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }

func exportError(path string, err error) error {
	var named *pathError
	if errors.As(err, &named) || errors.Is(err, context.Canceled) {
		return err
	}
	return &pathError{path, err}
}

// checkName refuses names that would lead out of the directory they are in.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") ||
		strings.ContainsRune(name, filepath.Separator) || !filepath.IsLocal(name) {
		return errors.New("the name is not safe as a file name")
	}
	return nil
}

// enter writes the bucket name in b to a directory of that name.
func (ex *exporter) enter(parent *os.Root, b *lightning.Bucket, name, full string) (err error) {
	child := b.Bucket([]byte(name))
	if child == nil {
		if err := b.Tx().Err(); err != nil {
			return err
		}
		return errors.New("the entry has no value and is no bucket")
	}
	info, err := ex.makeDirectory(parent, name)
	if err != nil {
		return err
	}
	root, err := parent.OpenRoot(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	// OpenRoot follows links that stay inside: make sure it opened what was just looked at.
	opened, err := root.Stat(".")
	if err != nil {
		return err
	}
	if !os.SameFile(info, opened) {
		return errReplaced
	}
	return ex.directory(root, child, full)
}

// makeDirectory creates the directory name, or with force makes an existing one writable.
func (ex *exporter) makeDirectory(parent *os.Root, name string) (fs.FileInfo, error) {
	err := parent.Mkdir(name, privateDir)
	if err != nil && (!ex.force || !errors.Is(err, fs.ErrExist)) {
		return nil, err
	}
	info, statErr := parent.Lstat(name)
	switch {
	case statErr != nil:
		return nil, statErr
	case err == nil:
		return info, nil
	case info.IsDir():
		return info, parent.Chmod(name, privateDir)
	}
	if err := parent.Remove(name); err != nil {
		return nil, err
	}
	if err := parent.Mkdir(name, privateDir); err != nil {
		return nil, err
	}
	return parent.Lstat(name)
}

// entry writes the file or link name. What has that name is replaced with force, never written to.
func (ex *exporter) entry(root *os.Root, name string, value []byte) error {
	mode, content, err := splitEntry(value)
	if err != nil {
		return err
	}
	if ex.force {
		if err := removeFile(root, name); err != nil {
			return err
		}
	}
	if mode&fs.ModeSymlink != 0 {
		err = writeLink(root, name, content)
	} else {
		err = writeFile(root, name, mode.Perm(), content)
	}
	if err != nil {
		return err
	}
	ex.sum.Files++
	ex.sum.Bytes += int64(len(content))
	return nil
}

// removeFile removes name unless it is missing; a directory of that name is an error.
func removeFile(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errors.New("a directory of this name is in the way")
	}
	return root.Remove(name)
}

func writeLink(root *os.Root, name string, target []byte) error {
	if len(target) == 0 || bytes.IndexByte(target, 0) >= 0 {
		return fmt.Errorf("the target %q is not a valid link target", target)
	}
	return root.Symlink(string(target), name)
}

func writeFile(root *os.Root, name string, mode fs.FileMode, content []byte) (err error) {
	// O_EXCL: a link that somebody puts there meanwhile is an error, not a way out.
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, privateFile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Chmod(mode)
}
