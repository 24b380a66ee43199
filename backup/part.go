package backup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/arch"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/atrest"
	"github.com/lightning-db/lightning/page"
)

// Options are the settings of all functions of this package. The zero value is
// good for databases without integrity key.
type Options struct {
	// IntegrityKey is lightning.Options.IntegrityKey of the database.
	IntegrityKey []byte
	// LockTimeout is how long to wait for a part that a process holds open for
	// writing; 0 = for ever.
	LockTimeout time.Duration
	// Progress is told how many bytes of how many were read, in the caller's
	// goroutine; nil = nobody.
	Progress func(done, total int64)
}

// Part is one file of a chain.
type Part struct {
	Path  string
	Size  int64            // bytes
	State lightning.State  // that the part leads to
	Since *lightning.State // that it continues; nil for a full backup
}

// Kind names the kind of the part.
func (p *Part) Kind() string {
	if p.Since == nil {
		return "full"
	}
	return "increment"
}

// ErrNotBackup is returned for a file that is neither a database nor an
// increment.
var ErrNotBackup = errors.New("neither a database nor an increment")

// Inspect reads what the file at path says of itself. It verifies that, and nothing
// else of the file: see Verify.
func Inspect(ctx context.Context, path string, o Options) (*Part, error) {
	p, err := openPart(ctx, path, &o)
	if err != nil {
		return nil, err
	}
	return &p.Part, p.file.Close()
}

// part is a Part that is open.
type part struct {
	Part
	file   fsync.File
	meta   *page.Meta // of the state that the part leads to
	hasher *arch.Hasher
}

func openPart(ctx context.Context, path string, o *Options) (_ *part, err error) {
	p, err := openFile(ctx, path, os.O_RDONLY, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.file.Close())
		}
	}()
	head, err := p.slot(0)
	if err != nil {
		return nil, err
	}
	if _, err := page.PeekIncrement(head); errors.Is(err, page.ErrIncrementMagic) {
		return p, p.readFull(o)
	}
	return p, p.readIncrement(o, head)
}

// openFile opens a file of which nothing is known.
func openFile(ctx context.Context, path string, flag int, o *Options) (*part, error) {
	f, err := atrest.Open(ctx, path, flag, o.LockTimeout)
	if err != nil {
		return nil, err
	}
	p := &part{Part: Part{Path: path}, file: f}
	if p.Size, err = f.Size(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return p, nil
}

// stream reads the extents of an increment, one after the other.
func (p *part) stream() *bufio.Reader {
	return bufio.NewReaderSize(io.NewSectionReader(fileReader{p.file}, 2*page.MetaSize, p.Size-2*page.MetaSize), readSize)
}

// slot returns MetaSize bytes at off, less at the end of the file.
func (p *part) slot(off int64) ([]byte, error) {
	b := make([]byte, page.MetaSize)
	n, err := p.file.ReadAt(fsync.OpMetaRead, b, off)
	if err == io.EOF {
		err = nil
	}
	return b[:n], err
}

// readFull reads the newest meta of a database file.
func (p *part) readFull(o *Options) error {
	metas, err := p.readMetas(o)
	if err != nil {
		return p.refuse(err)
	}
	p.meta = metas[0]
	p.State = p.name(p.meta)
	return nil
}

// readMetas returns the metas of a database file that can be read, the newest first, and at
// least one. Slot 0 says where slot 1 is. Only if slot 0 cannot be read is slot 1 looked for,
// where each page size has it; the first that is good counts, since further on there may be
// anything, values that look like a slot too (page.CheckLead).
func (p *part) readMetas(o *Options) ([]*page.Meta, error) {
	m, h, problem := p.readMeta(o, 0)
	if m != nil {
		p.hasher = h
		other, _, err := p.readMeta(o, int64(m.PageSize))
		switch {
		case err != nil || other.FileID != m.FileID || other.PageSize != m.PageSize:
			return []*page.Meta{m}, nil
		case other.Newer(m):
			return []*page.Meta{other, m}, nil
		}
		return []*page.Meta{m, other}, nil
	}
	for size := int64(page.MinSize); size <= page.MaxSize; size *= 2 {
		m, h, err := p.readMeta(o, size)
		if err == nil && len(o.IntegrityKey) == 0 { // a value cannot know the key
			lead := page.CheckLead(int(size), func(b []byte, off int64) error { return p.file.ReadMedium(fsync.OpMetaRead, b, off) })
			if errors.Is(lead, page.ErrMetaMagic) { // what cannot be read says nothing
				err = lead
			}
		}
		if err == nil && int64(m.PageSize) == size {
			p.hasher = h
			return []*page.Meta{m}, nil
		}
		if errors.Is(problem, page.ErrMetaMagic) && err != nil {
			problem = err
		}
	}
	return nil, problem
}

// readMeta reads the meta slot at the given offset of a database file.
func (p *part) readMeta(o *Options, off int64) (*page.Meta, *arch.Hasher, error) {
	b, err := p.slot(off)
	if err != nil {
		return nil, nil, err
	}
	id, err := page.PeekMeta(b)
	if err != nil {
		return nil, nil, err
	}
	h, check := page.Keys(o.IntegrityKey, id.FileID)
	m, err := page.DecodeMeta(b, h, check)
	if err != nil {
		return nil, nil, err
	}
	return m, h, nil
}

func (p *part) readIncrement(o *Options, head []byte) error {
	h, err := page.PeekIncrement(head)
	if err != nil {
		return p.refuse(err)
	}
	var check [16]byte
	p.hasher, check = page.Keys(o.IntegrityKey, h.FileID)
	if h, err = page.DecodeIncrement(head, p.hasher, check); err != nil {
		return p.refuse(err)
	}
	b, err := p.slot(page.MetaSize)
	if err != nil {
		return err
	}
	if p.meta, err = page.DecodeMeta(b, p.hasher, check); err == nil &&
		(p.meta.FileID != h.FileID || p.meta.PageSize != h.PageSize || p.meta.TxID < h.Since || p.meta.DurableTx != p.meta.TxID) {
		err = page.ErrIncrementFields
	}
	if errors.Is(err, page.ErrMetaMagic) || errors.Is(err, page.ErrMetaPageSize) {
		return &lightning.CorruptionError{Path: p.Path, Page: 1, Reason: "the increment's meta slot", Err: err}
	}
	if err != nil {
		return p.refuse(err)
	}
	p.State = p.name(p.meta)
	p.Since = &lightning.State{FileID: h.FileID, TxID: uint64(h.Since), Digest: h.SinceDigest}
	return nil
}

func (p *part) name(m *page.Meta) lightning.State {
	return lightning.State{FileID: m.FileID, TxID: uint64(m.TxID), Digest: page.StateDigest(m, p.hasher)}
}

// refuse says why the file is no part.
func (p *part) refuse(err error) error {
	switch {
	case errors.Is(err, page.ErrMetaKey):
		return fmt.Errorf("%s: %w", p.Path, lightning.ErrIntegrityKey)
	case errors.Is(err, page.ErrMetaVersion):
		return fmt.Errorf("%s: %w: %w", p.Path, lightning.ErrVersionMismatch, err)
	case errors.Is(err, page.ErrMetaMagic), errors.Is(err, page.ErrMetaPageSize):
		return fmt.Errorf("%s: %w: %w", p.Path, ErrNotBackup, err)
	}
	return &lightning.CorruptionError{Path: p.Path, Reason: "what the file says of itself", Err: err}
}
