package fsync

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	directAlign = 4096      // alignment that direct reads keep; no device in use wants more
	bounceBytes = 256 << 10 // bytes that one direct read takes at most

	largestFolio = 2 << 20 // bytes that the page cache keeps in one piece at most
)

// medium reads past the page cache through a second descriptor with
// O_DIRECT, opened by the first read; file systems without direct reads get a
// plain one. What the cache has otherwise than the medium is dropped from it, so that a
// map, too, shows what the medium has and not what a failed sync left lying. Pages
// that are dirty, or mapped and in use, stay in the cache.
type medium struct {
	once sync.Once
	file *os.File    // nil if there is no direct way
	off  atomic.Bool // a direct read was refused
}

func (m *medium) read(f *osFile, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	m.once.Do(func() { m.file = openDirect(f) })
	if m.file != nil && !m.off.Load() {
		switch err := m.readDirect(p, off); err {
		case nil:
			return f.reconcile(p, off)
		case unix.EINVAL:
			m.off.Store(true)
		default:
			return errors.Join(err, f.dropCached(off, len(p)))
		}
	}
	if err := f.dropCached(off, len(p)); err != nil {
		return err
	}
	return f.readFull(p, off)
}

// reconcile drops from the page cache what is not as in p, which the medium has at
// off. What is the same stays: its next use costs no read. Where the
// kernel does not tell what is cached (before 6.5, or a file of somebody else) all is dropped.
func (f *osFile) reconcile(p []byte, off int64) error {
	var in unix.Cachestat_t
	err := f.control(func(fd uintptr) error {
		return unix.Cachestat(uint(fd), &unix.CachestatRange{Off: uint64(off), Len: uint64(len(p))}, &in, 0)
	})
	granule := int64(os.Getpagesize())
	first, end := off/granule, (off+int64(len(p))+granule-1)/granule
	switch {
	case err != nil:
		return f.dropCached(off, len(p))
	case in.Cache == 0 || in.Cache == uint64(end-first) && f.hasCached(p, off):
		return nil
	case in.Cache < uint64(end-first) && end-first > 1: // some of them
		half := int((first+end)/2*granule - off)
		return errors.Join(f.reconcile(p[:half], off), f.reconcile(p[half:], off+int64(half)))
	}
	// The cache drops a folio as a whole or not at all.
	start := off &^ (largestFolio - 1)
	return f.dropCached(start, int((off+int64(len(p))-start+largestFolio-1)&^(largestFolio-1)))
}

// hasCached reports whether the page cache has p at off.
func (f *osFile) hasCached(p []byte, off int64) bool {
	b := bouncePool.Get().(*bounce)
	defer bouncePool.Put(b)
	for len(p) > 0 {
		n := min(len(p), bounceBytes)
		if f.readFull(b.aligned[:n], off) != nil || !bytes.Equal(b.aligned[:n], p[:n]) {
			return false
		}
		p, off = p[n:], off+int64(n)
	}
	return true
}

func (f *osFile) dropCached(off int64, n int) error {
	err := f.control(func(fd uintptr) error {
		start := off &^ (directAlign - 1)
		return unix.Fadvise(int(fd), start, off+int64(n)-start, unix.FADV_DONTNEED)
	})
	if err != nil {
		return fmt.Errorf("drop cached pages: %w", err)
	}
	return nil
}

func (m *medium) close() error {
	m.once.Do(func() {}) // from now on nothing opens it
	if m.file == nil {
		return nil
	}
	return opError(OpClose, m.file.Name(), noOffset, m.file.Close())
}

// openDirect opens f's file again, for direct reads. It returns nil where
// that cannot be had: the caller has another way.
func openDirect(f *osFile) *os.File {
	var d *os.File
	err := f.control(func(fd uintptr) (err error) {
		d, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDONLY|unix.O_DIRECT, 0)
		return err
	})
	if err != nil {
		return nil
	}
	return d
}

// readDirect fills p by aligned reads into a bounce buffer.
func (m *medium) readDirect(p []byte, off int64) error {
	b := bouncePool.Get().(*bounce)
	defer bouncePool.Put(b)
	for len(p) > 0 {
		start := off &^ (directAlign - 1)
		skip := int(off - start)
		want := min(skip+len(p), bounceBytes)
		buf := b.aligned[:(want+directAlign-1)&^(directAlign-1)]
		n, err := m.pread(buf, start)
		if err != nil {
			return err
		}
		got := min(n, want) - skip
		if got > 0 {
			copy(p, buf[skip:skip+got])
			p, off = p[got:], off+int64(got)
		}
		// A read that ends off a block boundary, or brings nothing, has met
		// the end of the file.
		if len(p) > 0 && (got <= 0 || n%directAlign != 0) {
			return io.ErrUnexpectedEOF
		}
	}
	return nil
}

// pread is one system call: os.File would follow a read that the end of the
// file cut short with one that is not aligned.
func (m *medium) pread(buf []byte, off int64) (n int, err error) {
	raw, err := m.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = control(raw, func(fd uintptr) error {
		return retryEINTR(func() (err error) {
			n, err = unix.Pread(int(fd), buf, off)
			return err
		})
	})
	return n, err
}

// bounce is a buffer for direct reads. Heap memory does not move, so the
// aligned part stays aligned.
type bounce struct{ aligned []byte }

var bouncePool = sync.Pool{New: func() any {
	b := make([]byte, bounceBytes+directAlign)
	addr := reflect.ValueOf(b).Pointer()
	pad := int(-addr & (directAlign - 1))
	return &bounce{b[pad : pad+bounceBytes]}
}}
