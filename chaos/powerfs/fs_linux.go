//go:build amd64 || arm64

package powerfs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Lies are promises that the medium does not keep.
type Lies struct {
	Sync    bool // a sync of a file returns success and does nothing
	SyncDir bool // a sync of the directory returns success and does nothing
}

// FS is a file system with one directory. Its methods are safe for concurrent
// use, but Mount, Unmount and PowerCut, which belong to one goroutine.
type FS struct {
	// Capacity is the size of the medium in bytes: the sum of the lengths of
	// the files cannot exceed it, requests that would fail with ENOSPC. Set it
	// before Mount; 0 = no limit.
	Capacity int64
	// Lies are set before Mount.
	Lies Lies

	mu      sync.Mutex
	rng     *rand.Rand // what a failed sync loses
	dir     directory
	nextIno uint64
	due     countdown
	thawed  chan struct{} // nil = not frozen; closed by Thaw
	frozen  chan struct{} // see Frozen
	served  int           // requests, see Served

	server *fuse.Server // nil = not mounted
	path   string
}

// New returns an empty file system. The seed decides what failed syncs lose.
func New(seed uint64) *FS {
	return &FS{
		rng:     rand.New(rand.NewPCG(seed, 0)),
		dir:     newDirectory(),
		nextIno: 2, // 1 is the directory
		frozen:  make(chan struct{}),
	}
}

// Mount mounts the file system on the directory at path, which needs root and
// /dev/fuse. The kernel knows nothing of earlier mounts: no pages, no inodes.
func (m *FS) Mount(path string) error {
	// Nobody but the kernel changes files while they are mounted, so that it
	// may keep attributes and names.
	keep := time.Hour
	server, err := fs.Mount(path, &root{fs: m}, &fs.Options{
		EntryTimeout: &keep,
		AttrTimeout:  &keep,
		MountOptions: fuse.MountOptions{
			DirectMountStrict: true,
			DisableXAttrs:     true,
			FsName:            "powerfs",
			Name:              "powerfs",
		},
	})
	if err != nil {
		return fmt.Errorf("mount on %s: %w", path, err)
	}
	m.server, m.path = server, path
	return nil
}

// Unmount thaws and unmounts the file system; what is pending stays so. If
// files are still in use, the mount goes as soon as they are closed, and Unmount
// returns an error. Without a mount it does nothing.
func (m *FS) Unmount() error {
	if m.server == nil {
		return nil
	}
	m.Thaw()
	err := m.server.Unmount()
	m.server = nil
	if err != nil {
		err = fmt.Errorf("unmount %s: %w", m.path, err)
		return errors.Join(err, syscall.Unmount(m.path, syscall.MNT_DETACH))
	}
	return nil
}

// Freeze stops the file system: requests hang until Thaw. It returns when none
// is under way.
func (m *FS) Freeze() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.freezeLocked()
}

func (m *FS) freezeLocked() {
	if m.thawed == nil {
		m.thawed = make(chan struct{})
		close(m.frozen)
	}
}

// Frozen returns a channel that is closed by the next Freeze.
func (m *FS) Frozen() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.frozen
}

// Thaw ends Freeze. What hangs fails with EIO and is not done, so that a
// process can end that was killed in it. A cut or faults that have not come due
// are forgotten.
func (m *FS) Thaw() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.due = countdown{}
	if m.thawed != nil {
		close(m.thawed)
		m.thawed, m.frozen = nil, make(chan struct{})
	}
}

// FreezeAt lets Freeze come by itself.
func (m *FS) FreezeAt(c Cut) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.due.cut = &c
}

// Fail lets a request fail. A sync of a file that fails loses some of what was
// written, see the package's file_linux.go; other requests do nothing.
func (m *FS) Fail(f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.due.faults = append(m.due.faults, f)
}

// Served returns how many requests there were of the kinds that Op names.
func (m *FS) Served() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.served
}

// PowerCut replaces all files by what a cut leaves of them, chosen by rng; nil
// chooses that nothing is left but what is durable. It must not be mounted:
// what the kernel knew is lost, too.
func (m *FS) PowerCut(rng *rand.Rand) error {
	if m.server != nil {
		return errors.New("power cut while mounted")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := chances{unit: blockSize}
	if rng != nil {
		ch = newChances(rng)
	} else {
		rng = m.rng
	}
	before := m.dir
	m.dir = newDirectory()
	for _, name := range sortedNames(before.afterCut(ch, rng)) {
		f := name.file
		b := f.afterCut(ch, rng)
		m.dir.names[name.name] = &file{ino: m.newInoLocked(), mode: f.mode, links: 1, durable: b, medium: slices.Clone(b)}
	}
	m.dir.sync()
	return nil
}

func (m *FS) newInoLocked() uint64 {
	m.nextIno++
	return m.nextIno
}

// do runs one request. One that is to fail has done nothing.
func (m *FS) do(op Op, fn func() syscall.Errno) syscall.Errno {
	return m.doOr(op, fn, func() {})
}

// doSync runs a sync of f.
func (m *FS) doSync(f *file) syscall.Errno {
	return m.doOr(OpSync, func() syscall.Errno {
		if !m.Lies.Sync {
			f.sync()
		}
		return 0
	}, func() { f.failSync(m.rng) })
}

// doOr runs one request by fn, or by failed if it is to fail, both under the
// lock.
func (m *FS) doOr(op Op, fn func() syscall.Errno, failed func()) syscall.Errno {
	m.mu.Lock()
	if hung := m.thawed; hung != nil {
		m.mu.Unlock()
		<-hung
		return syscall.EIO
	}
	m.served++
	err, cut := m.due.count(op)
	switch {
	case cut != nil && !cut.After:
	case err != 0:
		failed()
	default:
		err = fn()
	}
	if cut != nil {
		m.freezeLocked()
	}
	hung := m.thawed
	m.mu.Unlock()
	if cut != nil {
		<-hung
		return syscall.EIO
	}
	return err
}

// roomLocked reports whether f may become n bytes long.
func (m *FS) roomLocked(f *file, n int64) bool {
	if m.Capacity == 0 || n <= int64(len(f.medium)) {
		return true
	}
	for _, other := range m.dir.names {
		if other != f {
			n += int64(len(other.medium))
		}
	}
	return n <= m.Capacity
}
