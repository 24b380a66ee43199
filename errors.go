package lightning

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/lightning-db/lightning/arch"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/mmap"
)

// Errors with bbolt's names, texts and meaning. Compare with errors.Is: what the
// engine returns usually wraps them with the path, the page and what to do.
var (
	// ErrDatabaseNotOpen is returned by a DB that was never opened or is closed.
	ErrDatabaseNotOpen = errors.New("database not open")
	// ErrInvalid is returned by Open when the file is not a Lightning DB file.
	ErrInvalid = errors.New("invalid database")
	// ErrInvalidMapping is returned by Open when the file cannot be mapped.
	ErrInvalidMapping = errors.New("database isn't correctly mapped")
	// ErrVersionMismatch is returned by Open for a file of another format version.
	ErrVersionMismatch = errors.New("version mismatch")
	// ErrChecksum is returned when bytes of the file contradict their digest.
	// Every CorruptionError wraps it.
	ErrChecksum = errors.New("checksum error")
	// ErrTimeout is returned by Open when the file stays locked by another.
	ErrTimeout = errors.New("timeout")

	// ErrTxNotWritable is returned by changes in a read-only transaction.
	ErrTxNotWritable = errors.New("tx not writable")
	// ErrTxClosed is returned by a transaction that was committed or rolled back.
	ErrTxClosed = errors.New("tx closed")
	// ErrDatabaseReadOnly is returned by a writable transaction on a database
	// that was opened read-only, or that SetReadOnly has made so.
	ErrDatabaseReadOnly = errors.New("database is in read-only mode")
	// ErrFreePagesNotLoaded exists for source compatibility: free pages are
	// always at hand here.
	ErrFreePagesNotLoaded = errors.New("free pages are not pre-loaded")

	// ErrBucketNotFound is returned for a bucket that does not exist.
	ErrBucketNotFound = errors.New("bucket not found")
	// ErrBucketExists is returned when a bucket to be created exists.
	ErrBucketExists = errors.New("bucket already exists")
	// ErrBucketNameRequired is returned for an empty bucket name.
	ErrBucketNameRequired = errors.New("bucket name required")
	// ErrKeyRequired is returned for an empty key.
	ErrKeyRequired = errors.New("key required")
	// ErrKeyTooLarge is returned for a key longer than MaxKeySize bytes.
	ErrKeyTooLarge = errors.New("key too large")
	// ErrValueTooLarge is returned for a value longer than MaxValueSize bytes.
	ErrValueTooLarge = errors.New("value too large")
	// ErrIncompatibleValue is returned when a bucket is treated as a plain key
	// or a plain key as a bucket.
	ErrIncompatibleValue = errors.New("incompatible value")
	// ErrMaxSizeReached is returned when a transaction would make the file
	// longer than Options.MaxSize. The database stays usable.
	ErrMaxSizeReached = errors.New("database reached maximum size")
	// ErrSameBuckets is returned by MoveBucket to where the bucket is.
	ErrSameBuckets = errors.New("the source and target are the same bucket")
	// ErrDifferentDB is returned by MoveBucket between databases or transactions.
	ErrDifferentDB = errors.New("the source and target buckets are in different database files")
)

// Errors that bbolt does not have.
var (
	// ErrIntegrityKey is returned by Open when Options.IntegrityKey is not the
	// key that the file was created with.
	ErrIntegrityKey = errors.New("wrong integrity key")
	// ErrNotRegular is returned by Open for a directory, FIFO, socket or device.
	ErrNotRegular = fsync.ErrNotRegular
	// ErrIncrement is returned by Open for an increment of a backup, which is a part
	// of a database.
	ErrIncrement = errors.New("not a database but an increment of a backup")
	// ErrMoveIntoSelf is returned by MoveBucket into the bucket's own descendant.
	ErrMoveIntoSelf = errors.New("a bucket cannot be moved into itself")
	// ErrBucketDepth is returned for a bucket more than MaxBucketDepth levels
	// below the root, where one is created, moved to or opened, also by what
	// walks over nested buckets: Stats, Inspect, Check, DeleteBucket, Clear and
	// Compact.
	ErrBucketDepth = errors.New("buckets are nested too deep: move one above with MoveBucket to where fewer are around it")
	// ErrNotSorted is returned by Load for a key that is not greater than the one
	// before it.
	ErrNotSorted = errors.New("keys are not in ascending order")
	// ErrCursorUnpositioned is returned by Cursor.Delete before the cursor was
	// moved to a key.
	ErrCursorUnpositioned = errors.New("cursor is not at a key")
	// ErrNestedUpdate is returned by a writable transaction begun inside a
	// function that Update runs for the same database in the same goroutine: it
	// would wait for itself.
	ErrNestedUpdate = errors.New("writable transaction begun inside Update of the same goroutine: use the transaction that Update gives, or begin after it")
	// ErrCloseInTx is returned by Close inside a function that View or Update
	// runs in the same goroutine. The database stays open.
	ErrCloseInTx = errors.New("database closed inside View or Update of the same goroutine: close it after they have returned")
	// ErrFileRemoved is returned by commits and DB.Sync when no name leads to
	// the file any more: it was deleted or replaced, and what is written to it
	// is lost when the database is closed. Nothing was written. Readers go on,
	// WriteTo saves the data. See Options.AllowRemoved.
	ErrFileRemoved = errors.New("database file was deleted or replaced: its data ends with this process; save it with CopyFile and reopen that")
	// ErrPoisoned is returned by every write after a sync or a meta write
	// failed: what reached the disk is unknown until the file is opened again.
	ErrPoisoned = errors.New("database is read-only after a failed sync")
	// ErrMapFault is wrapped when mapped memory could not be read: the file was
	// truncated by another process, or the device failed.
	ErrMapFault = errors.New("mapped file could not be read")
	// ErrTxManaged is the panic value of Commit and Rollback called by hand
	// inside View and Update.
	ErrTxManaged = errors.New("managed tx: commit and rollback are done by View and Update")
)

// Digest is the digest of a page as it appears in errors: the first 24 bytes
// of its keyed BLAKE3 hash.
type Digest = [24]byte

// CorruptionError says that an extent of the file is not what the Merkle tree
// demands. It wraps ErrChecksum, and the cause if reading failed.
type CorruptionError struct {
	Path   string // of the database
	Page   uint64 // first page of the extent
	Want   Digest // digest that the parent holds; zero if digests agree
	Got    Digest // digest of the bytes read; zero if they agree
	Reason string // what is wrong, in words
	Err    error  // cause, may be nil
}

// Error names the file, the page, the fault and what to do next.
func (e *CorruptionError) Error() string {
	s := fmt.Sprintf("%s: page %d: %s", e.Path, e.Page, e.Reason)
	if e.Want != e.Got {
		s += fmt.Sprintf(" (digest %x, want %x)", e.Got[:6], e.Want[:6])
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s + "; " + e.SuggestedAction()
}

// Unwrap makes errors.Is find ErrChecksum and the cause.
func (e *CorruptionError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrChecksum}
	}
	return []error{ErrChecksum, e.Err}
}

// SuggestedAction says what an operator should do.
func (e *CorruptionError) SuggestedAction() string {
	return "run 'lightning-cli check' to see the extent of the damage and restore these pages from a backup"
}

// OpenError is what Open returns when it fails: the path, the cause and what
// to do about it.
type OpenError struct {
	Path   string
	Err    error
	Action string
}

// Error names the path, the cause and what to do next.
func (e *OpenError) Error() string {
	s := "open " + e.Path + ": " + e.Err.Error()
	if e.Action != "" {
		s += "; " + e.Action
	}
	return s
}

// Unwrap returns the cause.
func (e *OpenError) Unwrap() error { return e.Err }

// SuggestedAction says what an operator should do.
func (e *OpenError) SuggestedAction() string { return e.Action }

var openActions = []struct {
	err    error
	action string
}{
	{ErrTimeout, "another process holds the database; stop it, open read-only beside readers, or wait longer with Options.Timeout"},
	{ErrIntegrityKey, "give the key that the file was created with in Options.IntegrityKey"},
	{ErrInvalid, "check the path; the file was left as it is"},
	{ErrVersionMismatch, "open it with the release that wrote it"},
	{ErrIncrement, "restore it on the full backup and the increments before it: 'lightning-cli restore', or package backup"},
	{ErrNotRegular, "give the path of a regular file"},
	{ErrChecksum, "keep the file and restore from a backup; 'lightning-cli check' shows the damage"},
}

func openError(path string, err error) error {
	var open *OpenError
	if errors.As(err, &open) {
		return err
	}
	e := &OpenError{Path: path, Err: err}
	for _, a := range openActions {
		if errors.Is(err, a.err) {
			e.Action = a.action
			return e
		}
	}
	e.Action = fileAction(err)
	return e
}

// fileActions say what to do about what the operating system refuses.
var fileActions = []struct {
	err    error
	action string
}{
	{syscall.ENOSPC, "free space on the device or delete data"},
	{syscall.EDQUOT, "raise the disk quota or delete data"},
	{syscall.EFBIG, "raise the limit on the size of files (ulimit -f) or delete data"},
	{syscall.EROFS, "the file system is read-only: check it and make it writable, or open read-only"},
	{syscall.EMFILE, "raise the limit on open files (ulimit -n) or close some"},
	{syscall.ENFILE, "too many files are open on this machine: close some"},
	{mmap.ErrAddressSpace, "close the database and open it again, with more address space (ulimit -v)"},
	{syscall.ENOMEM, "raise the limits on address space (ulimit -v) and locked memory (ulimit -l), or open without Mlock"},
	{fs.ErrPermission, "check the permissions of the file and its directory and, with Mlock, the limit on locked memory (ulimit -l); Options.ReadOnly needs no right to write"},
	{syscall.EIO, "check the device and the kernel's log"},
}

func fileAction(err error) string {
	for _, a := range fileActions {
		if errors.Is(err, a.err) {
			return a.action
		}
	}
	return ""
}

// advise adds to the error of a flush what to do about it.
func advise(err error) error {
	if action := fileAction(err); action != "" {
		return fmt.Errorf("%w; %s", err, action)
	}
	return err
}

func (db *DB) corrupt(id uint64, reason string, cause error) *CorruptionError {
	return &CorruptionError{Path: db.path, Page: id, Reason: reason, Err: cause}
}

func (db *DB) corruptDigest(id uint64, want, got arch.Digest) *CorruptionError {
	return &CorruptionError{Path: db.path, Page: id, Want: Digest(want), Got: Digest(got), Reason: "bytes do not match their digest"}
}
