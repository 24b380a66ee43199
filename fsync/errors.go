package fsync

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
)

// ErrNotRegular reports that what was to be opened is not a regular file.
// The error that wraps it says what it is.
var ErrNotRegular = errors.New("not a regular file")

// ErrLockTimeout reports that another handle held the lock until the time
// given to Lock was over.
var ErrLockTimeout = errors.New("timeout: the file is locked by another handle or process")

// noOffset stands in OpError.Off for calls that have no offset.
const noOffset = -1

// OpError is the error of every call in this package. It unwraps to its
// cause: errors.Is(err, syscall.ENOSPC) works.
type OpError struct {
	Op   Op     // what was done
	Path string // the file's name
	Off  int64  // byte offset of the call; -1 where it has none
	Err  error  // the cause
}

// Error names the operation, the file, the offset and the cause.
func (e *OpError) Error() string {
	s := e.Op.String() + " " + e.Path
	if e.Off >= 0 {
		s += " at " + strconv.FormatInt(e.Off, 10)
	}
	return s + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

// opError wraps err, or returns nil for nil. The path is in the OpError, so
// the wrapping that package os adds is taken off.
func opError(op Op, path string, off int64, err error) error {
	if err == nil {
		return nil
	}
	switch e := err.(type) {
	case *OpError:
		return err
	case *fs.PathError:
		err = e.Err
	case *os.SyscallError:
		err = e.Err
	}
	return &OpError{Op: op, Path: path, Off: off, Err: err}
}
