//go:build amd64 || arm64

package powerfs

import (
	"cmp"
	"context"
	"os"
	"slices"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const blockSize = 4096

// What the kernel may ask for. Locks are not among it: it keeps them itself,
// and they go with the mount.
var (
	_ fs.NodeLookuper  = (*root)(nil)
	_ fs.NodeReaddirer = (*root)(nil)
	_ fs.NodeGetattrer = (*root)(nil)
	_ fs.NodeCreater   = (*root)(nil)
	_ fs.NodeUnlinker  = (*root)(nil)
	_ fs.NodeRenamer   = (*root)(nil)
	_ fs.NodeFsyncer   = (*root)(nil)
	_ fs.NodeStatfser  = (*root)(nil)

	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeAllocater = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)

	_ fs.FilePassthroughFder = handle{}
)

// root is the directory of one mount.
type root struct {
	fs.Inode
	fs *FS
}

// node is a file in one mount.
type node struct {
	fs.Inode
	fs *FS
	f  *file
}

// handle is an open file. There is nothing behind it that the kernel could
// write to itself, around the handlers here.
type handle struct{}

func (handle) PassthroughFd() (int, bool) { return 0, false }

type namedFile struct {
	name string
	file *file
}

func sortedNames(names map[string]*file) []namedFile {
	all := make([]namedFile, 0, len(names))
	for name, f := range names {
		all = append(all, namedFile{name, f})
	}
	slices.SortFunc(all, func(a, b namedFile) int { return cmp.Compare(a.name, b.name) })
	return all
}

// attrLocked fills in what stat shows. Times stay 0: were they to change, the
// kernel would drop its pages, and with them what a failed sync left there.
func (f *file) attrLocked(out *fuse.Attr) {
	out.Ino = f.ino
	out.Mode = syscall.S_IFREG | f.mode
	out.Nlink = f.links
	out.Size = uint64(len(f.medium))
	out.Blksize = blockSize
	out.Blocks = (out.Size + 511) / 512
	out.Uid, out.Gid = uint32(os.Geteuid()), uint32(os.Getegid())
}

func (r *root) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode = syscall.S_IFDIR | 0o700
	out.Nlink = 2
	out.Uid, out.Gid = uint32(os.Geteuid()), uint32(os.Getegid())
	return fs.OK
}

// childLocked returns the inode of f; there is one for all its requests.
func (r *root) childLocked(ctx context.Context, f *file, out *fuse.EntryOut) *fs.Inode {
	f.attrLocked(&out.Attr)
	return r.NewInode(ctx, &node{fs: r.fs, f: f}, fs.StableAttr{Mode: syscall.S_IFREG, Ino: f.ino})
}

func (r *root) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	r.fs.mu.Lock()
	defer r.fs.mu.Unlock()
	f := r.fs.dir.names[name]
	if f == nil {
		return nil, syscall.ENOENT
	}
	return r.childLocked(ctx, f, out), fs.OK
}

func (r *root) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	r.fs.mu.Lock()
	defer r.fs.mu.Unlock()
	var list []fuse.DirEntry
	for _, n := range sortedNames(r.fs.dir.names) {
		list = append(list, fuse.DirEntry{Name: n.name, Mode: syscall.S_IFREG, Ino: n.file.ino})
	}
	return fs.NewListDirStream(list), fs.OK
}

func (r *root) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (in *fs.Inode, fh fs.FileHandle, flags uint32, errno syscall.Errno) {
	errno = r.fs.do(OpOpen, func() syscall.Errno {
		f := &file{ino: r.fs.newInoLocked(), mode: mode & 0o777, links: 1}
		r.fs.dir.do(entryChange{add: name, file: f})
		in = r.childLocked(ctx, f, out)
		return fs.OK
	})
	return in, handle{}, fuse.FOPEN_KEEP_CACHE, errno
}

func (r *root) Unlink(_ context.Context, name string) syscall.Errno {
	return r.fs.do(OpNames, func() syscall.Errno {
		if r.fs.dir.names[name] == nil {
			return syscall.ENOENT
		}
		r.fs.dir.do(entryChange{remove: name})
		return fs.OK
	})
}

func (r *root) Rename(_ context.Context, name string, _ fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	return r.fs.do(OpNames, func() syscall.Errno {
		f := r.fs.dir.names[name]
		switch {
		case f == nil:
			return syscall.ENOENT
		case flags&^unix.RENAME_NOREPLACE != 0:
			return syscall.EINVAL
		case flags != 0 && r.fs.dir.names[newName] != nil:
			return syscall.EEXIST
		case f != r.fs.dir.names[newName]:
			r.fs.dir.do(entryChange{remove: name, add: newName, file: f})
		}
		return fs.OK
	})
}

func (r *root) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	return r.fs.do(OpSyncDir, func() syscall.Errno {
		if !r.fs.Lies.SyncDir {
			r.fs.dir.sync()
		}
		return fs.OK
	})
}

func (r *root) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	r.fs.mu.Lock()
	defer r.fs.mu.Unlock()
	var used int64
	for _, f := range r.fs.dir.names {
		used += int64(len(f.medium))
	}
	size := cmp.Or(r.fs.Capacity, 1<<40)
	out.Bsize, out.Frsize, out.NameLen = blockSize, blockSize, 255
	out.Blocks = uint64(size / blockSize)
	out.Bfree = uint64(max(size-used, 0) / blockSize)
	out.Bavail = out.Bfree
	return fs.OK
}

// Open keeps the pages that the kernel has of the file.
func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return handle{}, fuse.FOPEN_KEEP_CACHE, n.fs.do(OpOpen, func() syscall.Errno { return fs.OK })
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	n.f.attrLocked(&out.Attr)
	return fs.OK
}

func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	size, resize := in.GetSize()
	if resize {
		err := n.fs.do(OpResize, func() syscall.Errno { return n.resizeLocked(size) })
		if err != 0 {
			return err
		}
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	if mode, ok := in.GetMode(); ok {
		n.f.mode = mode & 0o777
	}
	n.f.attrLocked(&out.Attr)
	return fs.OK
}

func (n *node) resizeLocked(size uint64) syscall.Errno {
	if size > 1<<40 {
		return syscall.EFBIG
	}
	if !n.fs.roomLocked(n.f, int64(size)) {
		return syscall.ENOSPC
	}
	n.f.resize(int64(size))
	return fs.OK
}

func (n *node) Allocate(_ context.Context, _ fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	if mode&^unix.FALLOC_FL_KEEP_SIZE != 0 {
		return syscall.EOPNOTSUPP
	}
	return n.fs.do(OpResize, func() syscall.Errno {
		end := off + size
		if end < off {
			return syscall.EFBIG
		}
		if mode != 0 { // nothing but room is asked for
			if !n.fs.roomLocked(n.f, int64(end)) {
				return syscall.ENOSPC
			}
			return fs.OK
		}
		return n.resizeLocked(max(end, uint64(len(n.f.medium))))
	})
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	var got []byte
	err := n.fs.do(OpRead, func() syscall.Errno {
		if off < int64(len(n.f.medium)) {
			got = dest[:copy(dest, n.f.medium[off:])]
		}
		return fs.OK
	})
	return fuse.ReadResultData(got), err
}

func (n *node) Write(_ context.Context, _ fs.FileHandle, p []byte, off int64) (uint32, syscall.Errno) {
	err := n.fs.do(OpWrite, func() syscall.Errno {
		if !n.fs.roomLocked(n.f, off+int64(len(p))) {
			return syscall.ENOSPC
		}
		n.f.write(p, off)
		return fs.OK
	})
	if err != 0 {
		return 0, err
	}
	return uint32(len(p)), fs.OK
}

func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	return n.fs.doSync(n.f)
}
