//go:build unix

package fsync

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Opening a FIFO without its other end would wait for ever.
func TestOpen_NotRegular(t *testing.T) {
	dir, err := os.MkdirTemp("", "db") // a short path: names of sockets are bounded
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	fifo, socket, link := filepath.Join(dir, "fifo"), filepath.Join(dir, "socket"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Symlink(fifo, link); err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]string{
		fifo: "FIFO", link: "FIFO", socket: "socket", os.DevNull: "character device", dir: "directory",
	} {
		for _, flag := range []int{os.O_RDONLY, os.O_RDWR | os.O_CREATE} {
			for _, open := range []OpenFunc{nil, os.OpenFile} {
				_, err := Open(name, flag, 0o600, open)
				wantOpError(t, err, OpOpen, ErrNotRegular)
				if err == nil || !strings.Contains(err.Error(), kind) || !strings.Contains(err.Error(), name) {
					t.Errorf("error %v, want one that names %s and %q", err, name, kind)
				}
			}
		}
	}
}

// What lies under the name can change between the look and the open.
func TestOpen_BecomesFIFO(t *testing.T) {
	name := filepath.Join(t.TempDir(), "db")
	open := func(string, int, os.FileMode) (*os.File, error) {
		if err := syscall.Mkfifo(name, 0o600); err != nil {
			return nil, err
		}
		return os.OpenFile(name, os.O_RDONLY|openNonblock, 0)
	}
	_, err := Open(name, os.O_RDWR|os.O_CREATE, 0o600, open)
	wantOpError(t, err, OpOpen, ErrNotRegular)
}

func TestSyncDir_Symlink(t *testing.T) {
	f := create(t, t.TempDir())
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(f.Name(), link); err != nil {
		t.Fatal(err)
	}
	if err := SyncDir(link); err != nil {
		t.Error(err)
	}
	err := SyncDir(filepath.Join(t.TempDir(), "none"))
	wantOpError(t, err, OpDirSync, os.ErrNotExist)
}
