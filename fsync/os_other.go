//go:build !linux

package fsync

// syncData is a full sync here; on macOS package os asks for F_FULLFSYNC,
// without which the drive's cache would keep the data.
func (f *osFile) syncData() error { return f.f.Sync() }

// extend makes the file size bytes long.
func (f *osFile) extend(_, size int64) error { return f.f.Truncate(size) }

func (f *osFile) writev(bufs [][]byte, off int64) error {
	for _, b := range bufs {
		if _, err := f.f.WriteAt(b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

// medium reads through the page cache: there is no portable way past it.
type medium struct{}

func (*medium) read(f *osFile, p []byte, off int64) error { return f.readFull(p, off) }

func (*medium) close() error { return nil }
