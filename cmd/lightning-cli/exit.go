package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	lightning "github.com/lightning-db/lightning"
)

// Exit codes. Scripts rely on them: never give a number a second meaning.
const (
	exitOK          = 0
	exitGeneral     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitCorrupt     = 4
	exitLocked      = 5
	exitNotDatabase = 6
	exitIO          = 7
	exitInterrupted = 130
)

// exitTable is what --help prints and where machine-readable errors take their kind from.
var exitTable = []struct {
	code    int
	kind    string
	meaning string
}{
	{exitOK, "ok", "success"},
	{exitGeneral, "general", "any other error, a missing or unreadable file among them"},
	{exitUsage, "usage", "wrong arguments or flags"},
	{exitNotFound, "not-found", "the key, bucket or page does not exist"},
	{exitCorrupt, "corrupt", "the database is damaged"},
	{exitLocked, "locked", "another process holds the database (see --timeout)"},
	{exitNotDatabase, "not-a-database", "not a database, another format version, or the wrong integrity key"},
	{exitIO, "io", "no space left, or an I/O error"},
	{exitInterrupted, "interrupted", "stopped by SIGINT or SIGTERM"},
}

// codedError gives err the exit code code, whatever err wraps.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &codedError{exitUsage, fmt.Errorf(format, args...)}
}

func notFoundf(format string, args ...any) error {
	return &codedError{exitNotFound, fmt.Errorf(format, args...)}
}

// exitCode returns the exit code for err.
func exitCode(err error) int {
	var coded *codedError
	var damage *lightning.CorruptionError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, lightning.ErrTimeout):
		return exitLocked
	case errors.Is(err, lightning.ErrIntegrityKey),
		errors.Is(err, lightning.ErrInvalid),
		errors.Is(err, lightning.ErrIncrement),
		errors.Is(err, lightning.ErrVersionMismatch):
		return exitNotDatabase
	case errors.As(err, &damage), errors.Is(err, lightning.ErrChecksum):
		return exitCorrupt
	case errors.Is(err, lightning.ErrBucketNotFound):
		return exitNotFound
	case isIOError(err):
		return exitIO
	}
	return exitGeneral
}

// isIOError tells a failing device or a full disk from a path that is wrong or forbidden.
func isIOError(err error) bool {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrPermission) {
		return false
	}
	var (
		pathErr *fs.PathError
		linkErr *os.LinkError
		sysErr  *os.SyscallError
		errno   syscall.Errno
	)
	return errors.As(err, &pathErr) || errors.As(err, &linkErr) || errors.As(err, &sysErr) || errors.As(err, &errno)
}

func exitKind(code int) string {
	for _, row := range exitTable {
		if row.code == code {
			return row.kind
		}
	}
	return "general"
}

func exitHelp() string {
	var b strings.Builder
	for _, row := range exitTable {
		fmt.Fprintf(&b, "  %3d  %-15s %s\n", row.code, row.kind, row.meaning)
	}
	return b.String()
}

// suggestion returns what the operator can do about err, or "".
func suggestion(err error) string {
	var damage *lightning.CorruptionError
	if errors.As(err, &damage) {
		return damage.SuggestedAction()
	}
	if errors.Is(err, lightning.ErrTimeout) {
		return "stop the process that has the database open, or wait longer with --timeout"
	}
	return ""
}

// errorReport is the object written to stderr for an error with -o json.
type errorReport struct {
	Error struct {
		Code    int    `json:"code"`
		Kind    string `json:"kind"`
		Message string `json:"message"`
		Action  string `json:"action,omitempty"`
	} `json:"error"`
}

func newErrorReport(err error) errorReport {
	var r errorReport
	r.Error.Code = exitCode(err)
	r.Error.Kind = exitKind(r.Error.Code)
	r.Error.Message = err.Error()
	r.Error.Action = suggestion(err)
	return r
}
