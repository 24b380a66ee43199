package boltfile

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"time"

	"github.com/lightning-db/lightning/fsync"
)

const (
	magic   = 0xED0CDAED
	version = 2

	pageHeaderBytes = 16
	metaBytes       = 64
	metaSumOffset   = 56 // in the meta, behind the page header

	leastPageSize = 512
	mostPageSize  = 16 << 20
)

var le = binary.LittleEndian

// File is an open bbolt file. Its methods may be called by many goroutines at
// once, but for Close.
type File struct {
	name   string
	readAt func(p []byte, off int64) (int, error)
	close  func() error
	stat   func() (os.FileInfo, error)
	size   int64 // bytes, when it was opened
	meta   meta
}

// meta is the meta page that counts.
type meta struct {
	pageSize int64  // bytes
	root     uint64 // page
	sequence uint64 // of the root bucket
	freelist uint64 // page, or noFreelist
	end      uint64 // page after the last one
	txID     uint64
	checksum uint64
}

// Identity tells one state of one file from another, whatever its path.
type Identity struct {
	Size     int64     `json:"size"`  // bytes
	ModTime  time.Time `json:"mtime"` // of the last write
	TxID     uint64    `json:"tx"`
	Checksum uint64    `json:"checksum"` // of the meta
}

// Open opens the bbolt file at path for reading and takes bbolt's shared lock,
// which keeps writers away until Close. It waits for the lock until ctx ends
// or for timeout, 0 being for ever. It fails with ErrNotBolt, ErrVersion,
// ErrByteOrder, ErrInUse, a *DamageError or an error of the file system.
func Open(ctx context.Context, path string, timeout time.Duration) (*File, error) {
	file, err := fsync.Open(path, os.O_RDONLY, 0, nil)
	if err != nil {
		return nil, err
	}
	err = lock(ctx, file, timeout)
	if errors.Is(err, fsync.ErrLockTimeout) {
		err = fmt.Errorf("%w: %s", ErrInUse, path)
	}
	var f *File
	if err == nil {
		var size int64
		if size, err = file.Size(); err == nil {
			f, err = newFile(path, size, func(p []byte, off int64) (int, error) {
				return file.ReadAt(fsync.OpPageRead, p, off)
			})
		}
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	f.close, f.stat = file.Close, file.OSFile().Stat
	return f, nil
}

// newFile chooses the meta of a file of size bytes.
func newFile(name string, size int64, readAt func([]byte, int64) (int, error)) (*File, error) {
	f := &File{name: name, size: size, readAt: readAt}
	first, firstErr := f.readMeta(0)
	if firstErr == nil {
		f.meta = first
		if second, err := f.readMeta(first.pageSize); err == nil && second.pageSize == first.pageSize && second.txID > first.txID {
			f.meta = second
		}
		return f, f.checkMeta()
	}
	// The size of a page is in the metas only: look where the second may be.
	cause := firstErr
	for pageSize := int64(leastPageSize); pageSize <= mostPageSize; pageSize *= 2 {
		second, err := f.readMeta(pageSize)
		if err == nil && second.pageSize == pageSize {
			f.meta = second
			return f, f.checkMeta()
		}
		if errors.Is(cause, ErrNotBolt) && err != nil {
			cause = err
		}
	}
	return nil, cause
}

// readMeta reads the meta whose page begins at byte off.
func (f *File) readMeta(off int64) (m meta, err error) {
	var page [pageHeaderBytes + metaBytes]byte
	n, err := f.readAt(page[:], off)
	if err != nil && err != io.EOF {
		return m, err
	}
	if n < len(page) {
		return m, fmt.Errorf("%w: %s", ErrNotBolt, f.name)
	}
	b := page[pageHeaderBytes:]
	switch {
	case binary.BigEndian.Uint32(b) == magic:
		return m, fmt.Errorf("%w: %s", ErrByteOrder, f.name)
	case le.Uint32(b) != magic:
		return m, fmt.Errorf("%w: %s", ErrNotBolt, f.name)
	case le.Uint32(b[4:]) != version:
		return m, fmt.Errorf("%w: %s: version %d", ErrVersion, f.name, le.Uint32(b[4:]))
	}
	sum := fnv.New64a()
	sum.Write(b[:metaSumOffset]) // never fails
	if sum.Sum64() != le.Uint64(b[metaSumOffset:]) {
		return m, &DamageError{f.name, le.Uint64(page[:]), "the checksum of the meta does not match, and there is no other meta"}
	}
	m = meta{
		pageSize: int64(le.Uint32(b[8:])), root: le.Uint64(b[16:]), sequence: le.Uint64(b[24:]),
		freelist: le.Uint64(b[32:]), end: le.Uint64(b[40:]), txID: le.Uint64(b[48:]), checksum: le.Uint64(b[56:]),
	}
	if m.pageSize < leastPageSize || m.pageSize > mostPageSize {
		return m, &DamageError{f.name, le.Uint64(page[:]), fmt.Sprintf("the meta has pages of %d bytes", m.pageSize)}
	}
	return m, nil
}

// checkMeta checks that the file is as long as its meta says.
func (f *File) checkMeta() error {
	if whole := uint64(f.size / f.meta.pageSize); f.meta.end > whole {
		return f.damage(whole, "the file ends here, with %d pages, but has %d in use: it was cut short or copied in part", whole, f.meta.end)
	}
	if f.meta.root < 2 || f.meta.root >= f.meta.end {
		return f.damage(f.meta.txID%2, "the root is page %d of %d", f.meta.root, f.meta.end)
	}
	return nil
}

// Close releases the lock and the file.
func (f *File) Close() error { return f.close() }

// PageSize returns the size of the file's pages in bytes.
func (f *File) PageSize() int { return int(f.meta.pageSize) }

// Used returns how many bytes of the file its pages take, free ones included.
func (f *File) Used() int64 { return int64(f.meta.end) * f.meta.pageSize }

// Mode returns the permissions of the file.
func (f *File) Mode() (os.FileMode, error) {
	info, err := f.stat()
	if err != nil {
		return 0, err
	}
	return info.Mode().Perm(), nil
}

// Identity returns what tells this state of the file from any other. It looks
// at the file anew at each call, but for the meta.
func (f *File) Identity() (Identity, error) {
	info, err := f.stat()
	if err != nil {
		return Identity{}, err
	}
	return Identity{Size: info.Size(), ModTime: info.ModTime().UTC(), TxID: f.meta.txID, Checksum: f.meta.checksum}, nil
}

func (f *File) damage(page uint64, format string, args ...any) error {
	return &DamageError{f.name, page, fmt.Sprintf(format, args...)}
}

// Recognize reports whether a file has bbolt's magic number in one of the
// places where a meta can be, in either byte order. It fails with an error of
// readAt, but for io.EOF.
func Recognize(readAt func(p []byte, off int64) (int, error)) (bool, error) {
	var b [4]byte
	for off := int64(0); off <= mostPageSize; off = max(2*off, leastPageSize) {
		n, err := readAt(b[:], off+pageHeaderBytes)
		if err != nil && err != io.EOF {
			return false, err
		}
		if n == len(b) && (le.Uint32(b[:]) == magic || binary.BigEndian.Uint32(b[:]) == magic) {
			return true, nil
		}
	}
	return false, nil
}
