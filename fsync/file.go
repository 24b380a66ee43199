package fsync

import (
	"os"
)

// File is a database file. Its methods are safe for concurrent use, except
// that Close must come last. Every error is or wraps an *OpError, but for
// the bare io.EOF of ReadAt. Offsets and sizes are in bytes.
type File interface {
	// Name returns the name that the file was opened by.
	Name() string

	// ReadAt reads like io.ReaderAt, through the page cache.
	ReadAt(op Op, p []byte, off int64) (int, error)

	// ReadMedium fills p from the medium, where the platform can, and not
	// from a page cache that a failed sync may have left in doubt. It
	// returns an error that wraps io.ErrUnexpectedEOF if the file ends
	// before p is full.
	ReadMedium(op Op, p []byte, off int64) error

	// WriteAt writes all of p or returns an error. After an error any part
	// of the range may have been written.
	WriteAt(op Op, p []byte, off int64) error

	// WriteAtv writes the buffers one after the other from off on, like
	// WriteAt of their concatenation.
	WriteAtv(op Op, bufs [][]byte, off int64) error

	// Sync makes what was written durable, with as much of the metadata as
	// reading it back takes. After an error the state of every write since
	// the last Sync is unknown, and a later success proves nothing.
	Sync(op Op) error

	// SyncFull is Sync with all metadata, the size included.
	SyncFull(op Op) error

	// Grow makes the file at least size bytes long and reserves the space
	// where the platform can, so that a full disk is met here and not by a
	// later write. It never shrinks the file: after an error the length is
	// what it was.
	Grow(op Op, size int64) error

	// Truncate cuts the file to size bytes.
	Truncate(op Op, size int64) error

	// Size returns the file's length.
	Size() (int64, error)

	// Named reports whether a name leads to the file. A file without one, deleted
	// or replaced by another, ends with its last descriptor. Where that cannot
	// be told it is true.
	Named() (bool, error)

	// OSFile returns the file to map, or nil if there is none beneath. It
	// stays owned by the File.
	OSFile() *os.File

	// Close releases the lock, if one is held, and the file. Later calls
	// fail with an error that wraps os.ErrClosed.
	Close() error
}

// OpenFunc opens a file as os.OpenFile does.
type OpenFunc = func(name string, flag int, perm os.FileMode) (*os.File, error)

// Open opens a regular file, by os.OpenFile if open is nil. For anything
// else it returns an error that wraps ErrNotRegular and says what it found;
// it does not wait for the other end of a FIFO. Where a custom open function
// is given, what it returns is judged, and what lies under name as well.
func Open(name string, flag int, perm os.FileMode, open OpenFunc) (File, error) {
	// Look first: opening a FIFO can wait, opening a device can do things.
	if fi, err := os.Stat(name); err == nil {
		if err := checkRegular(name, fi); err != nil {
			return nil, err
		}
	}
	if open == nil {
		// What lies there may have changed since; do not wait for it.
		open, flag = os.OpenFile, flag|openNonblock
	}
	f, err := open(name, flag, perm)
	if err != nil {
		return nil, opError(OpOpen, name, noOffset, err)
	}
	file, err := newOSFile(name, f)
	if err != nil {
		return nil, err
	}
	return intercepted(name, file), nil
}

// checkRegular returns nil for a regular file.
func checkRegular(name string, fi os.FileInfo) error {
	if fi.Mode().IsRegular() {
		return nil
	}
	return &OpError{Op: OpOpen, Path: name, Off: noOffset, Err: &notRegularError{kind(fi.Mode())}}
}

// notRegularError is ErrNotRegular with what was found instead.
type notRegularError struct{ kind string }

func (e *notRegularError) Error() string { return ErrNotRegular.Error() + " but a " + e.kind }
func (e *notRegularError) Unwrap() error { return ErrNotRegular }

func kind(m os.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&os.ModeNamedPipe != 0:
		return "FIFO"
	case m&os.ModeSocket != 0:
		return "socket"
	case m&os.ModeCharDevice != 0:
		return "character device"
	case m&os.ModeDevice != 0:
		return "block device"
	}
	return "special file"
}
