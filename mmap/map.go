package mmap

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	mmapgo "github.com/edsrzf/mmap-go"

	"github.com/lightning-db/lightning/arch"
)

// ErrLockUnsupported reports a platform where mapped pages cannot be locked.
// It is an errors.ErrUnsupported.
var ErrLockUnsupported = fmt.Errorf("lock mapped pages: %w", errors.ErrUnsupported)

// errClosed is returned for the use of a closed Map.
var errClosed = fmt.Errorf("mmap: %w", os.ErrClosed)

// ErrAddressSpace reports that no address space is left for the file: it is
// longer than addresses of this word size reach, or has outgrown what could
// be reserved when it was opened. It is a syscall.ENOMEM. Opening the file
// anew reserves anew.
var ErrAddressSpace = fmt.Errorf("address space used up: %w", syscall.ENOMEM)

// maxRegion is the length of the longest mapping that a slice can have.
const maxRegion = int64(math.MaxInt) &^ (granularity - 1)

// hasChunks tells that mappings outside the first are in use: where nothing
// can be reserved, or not much. Elsewhere At can be inlined without them.
const hasChunks = !canReserve || bits.UintSize == 32

// granularity is what mappings start at multiples of: the largest page of
// the supported processors, and the allocation granularity of Windows.
const granularity = 64 << 10

// Options are the options of New. The zero value is useful.
type Options struct {
	// Populate reads the file ahead into memory, as far as the platform
	// takes such advice.
	Populate bool

	// Lock keeps the file's pages in memory, new ones of a growing file
	// included.
	Lock bool

	// Reserve is how many bytes of address space to ask for, where the
	// platform can reserve any; 0 stands for arch.MaxReserve. The kernel
	// may agree to less, and it is enough that it agrees to the file's size;
	// then no more is taken beyond that than is left for the heap.
	Reserve int64
}

// Map is a file mapped for reading. Its methods are safe for concurrent use,
// except that Close must come last.
type Map struct {
	// first is the mapping from offset 0: the reservation, or the file as
	// it was at New. It is set once, so that At can read it without a lock.
	first mmapgo.MMap
	f     *os.File

	chunked bool // the file may grow past first

	// more holds what is mapped outside first. It is replaced, never
	// changed, so that readers need no lock.
	more atomic.Pointer[mappings]

	mu     sync.Mutex // held to map, lock and advise
	size   int64      // of the file, as last told
	locked bool
	random bool
	closed bool
}

// New maps f, which is fileSize bytes long. The file must stay open until
// Close.
func New(f *os.File, fileSize int64, o Options) (*Map, error) {
	return open(f, fileSize, o, canReserve)
}

// open is New with the choice whether to reserve address space.
func open(f *os.File, fileSize int64, o Options, reserve bool) (*Map, error) {
	m := &Map{f: f, size: fileSize, chunked: hasChunks || !reserve}
	length := fileSize
	if reserve {
		length = o.Reserve
		if length <= 0 {
			length = arch.MaxReserve
		}
	}
	var err error
	if m.first, err = mapFirst(f, length, fileSize); err != nil {
		return nil, fmt.Errorf("map %d bytes of %s: %w", fileSize, f.Name(), err)
	}
	m.more.Store(&mappings{end: max(fileSize, int64(len(m.first)))})
	if o.Populate {
		err = m.eachLocked(0, fileSize, populate)
	}
	if err == nil && o.Lock {
		err = m.Lock()
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// mapFirst maps length bytes from offset 0, or fewer, halving until the
// kernel agrees, but no fewer than need. Where it has to halve there is little
// address space, and what is left over must hold the growing heap of the
// process, which dies when it cannot grow: no more is taken than is left, and
// minLeft is left.
func mapFirst(f *os.File, length, need int64) (mmapgo.MMap, error) {
	if length > need {
		length = max(min(length, maxRegion)&^(granularity-1), need)
	}
	length = max(length, need)
	if length == 0 {
		return nil, nil
	}
	least := max(need, granularity)
	for scarce := false; ; scarce = true {
		b, err := mapRegion(f, 0, length)
		if length <= least {
			return b, err
		}
		if err == nil {
			if !scarce || isLeft(f, max(length, minLeft)) {
				return b, nil
			}
			if err := b.Unmap(); err != nil {
				return nil, err
			}
		}
		length = max(length/2&^(granularity-1), need)
	}
}

// minLeft is two of the arenas, of 64 MiB, by which Go's heap grows.
const minLeft = 128 << 20

// isLeft tells whether length more bytes of address space can be mapped.
func isLeft(f *os.File, length int64) bool {
	b, err := mapRegion(f, 0, length)
	return err == nil && b.Unmap() == nil
}

// mapRegion maps length bytes from off, which is a multiple of granularity.
func mapRegion(f *os.File, off, length int64) (mmapgo.MMap, error) {
	if length > maxRegion {
		return nil, ErrAddressSpace
	}
	return mmapgo.MapRegion(f, int(length), mmapgo.RDONLY, 0, off)
}

// At returns the n bytes of the file at off. The slice is read-only and
// stays valid until Close, whatever the file grows by. At reports false if
// the range is not mapped. Within the reservation it does not look at the
// file's size: touching bytes past the end of the file is a memory fault
// with an address for which Contains holds.
//
// Where chunks are mapped (on 32 bits and on Windows), false can also mean
// that there was no address space for a range that crosses two mappings;
// such a range can still be read from the file.
func (m *Map) At(off int64, n int) ([]byte, bool) {
	if uint64(off)+uint64(n) <= uint64(len(m.first)) && off|int64(n) >= 0 {
		return m.first[off:][:n:n], true
	}
	if hasChunks {
		return m.atMore(off, n)
	}
	return nil, false
}

// Extend tells the map that the file is now fileSize bytes long. Nothing
// that is mapped moves. The error is or wraps ErrAddressSpace where the
// reservation is too short and nothing can be mapped beside it. On an error the map is as it was, and Extend can be
// called again.
func (m *Map) Extend(fileSize int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	if err := m.mapToLocked(fileSize); err != nil {
		return fmt.Errorf("extend the map to %d bytes: %w", fileSize, err)
	}
	if m.locked && fileSize > m.size {
		if err := m.eachLocked(m.size, fileSize, lockPages); err != nil {
			return err
		}
	}
	m.size = fileSize
	return nil
}

// Contains tells whether addr lies in mapped memory of m. It is meant for
// the handler of a memory fault and takes no lock.
func (m *Map) Contains(addr uintptr) bool {
	return within(m.first, addr) || m.more.Load().contains(addr)
}

// Base returns the address of the file's first byte, or 0 if nothing is
// mapped.
func (m *Map) Base() uintptr {
	return base(m.first)
}

// Lock keeps the file's pages in memory, those that Extend will add
// included. The error wraps syscall.ENOMEM or syscall.EPERM where the
// process may not lock as much, and is ErrLockUnsupported where the platform
// has no such thing.
func (m *Map) Lock() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	if err := m.eachLocked(0, m.size, lockPages); err != nil {
		return err
	}
	m.locked = true
	return nil
}

// Unlock reverses Lock.
func (m *Map) Unlock() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	if err := m.eachLocked(0, m.size, unlockPages); err != nil {
		return err
	}
	m.locked = false
	return nil
}

// Advise tells the kernel whether the pages will be read in random order,
// so that it does not read ahead. It does nothing on Windows.
func (m *Map) Advise(random bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	if err := m.eachLocked(0, math.MaxInt64, func(b []byte) error { return advise(b, random) }); err != nil {
		return err
	}
	m.random = random
	return nil
}

// WillNeed asks the kernel to read n bytes from offset off on, as far as they are
// mapped, into memory, and does not wait. It is a hint: errors are not reported.
// It does nothing on Windows.
func (m *Map) WillNeed(off int64, n int) {
	start := off &^ int64(os.Getpagesize()-1)
	if b, ok := m.At(start, n+int(off-start)); ok {
		willNeed(b)
	}
}

// Close unmaps everything. Slices returned by At must not be used any more,
// and no other method may run at the same time; afterwards At finds nothing.
// Further calls do nothing and return nil.
func (m *Map) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	var errs []error
	if m.first != nil {
		errs = append(errs, m.first.Unmap())
	}
	for _, c := range m.more.Swap(&mappings{}).all() {
		errs = append(errs, c.data.Unmap())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("unmap %s: %w", m.f.Name(), err)
	}
	return nil
}

// eachLocked runs do on the mapped memory of the file's range [from, to).
func (m *Map) eachLocked(from, to int64, do func([]byte) error) error {
	all := append([]mapping{{data: m.first}}, m.more.Load().all()...)
	for _, c := range all {
		lo := max(from-c.off, 0) &^ (granularity - 1)
		hi := min(to-c.off, int64(len(c.data)))
		if lo >= hi {
			continue
		}
		if err := do(c.data[lo:hi]); err != nil {
			return err
		}
	}
	return nil
}

// within tells whether addr is that of a byte of b.
func within(b []byte, addr uintptr) bool {
	return addr-base(b) < uintptr(len(b))
}

// base returns the address of b's first byte. It is a number only: nothing
// is ever reached through it, and mapped memory does not move.
func base(b []byte) uintptr {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}
