package backup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

// ErrChain is returned for parts that do not continue each other.
var ErrChain = errors.New("backups do not continue each other")

// sink is told of every extent of a part, verified; nil = nobody.
type sink func(d walk.Demand, b []byte) error

// chain goes through parts, from the full backup on, and holds that each state
// is whole: what a part does not bring is as a part before it brought it.
type chain struct {
	ctx   context.Context
	o     *Options
	parts []*part
	laid  *overlay // the state reached so far
	done  int64    // bytes read
	total int64
}

// openChain opens the parts and looks whether they continue each other. The
// caller closes the chain, after an error too.
func openChain(ctx context.Context, paths []string, o *Options) (*chain, error) {
	c := &chain{ctx: ctx, o: o, laid: newOverlay()}
	if len(paths) == 0 {
		return c, fmt.Errorf("%w: no part is given", ErrChain)
	}
	for i, path := range paths {
		p, err := openPart(ctx, path, o)
		if err != nil {
			return c, err
		}
		c.parts = append(c.parts, p)
		c.total += p.Size
		switch {
		case i == 0 && p.Since != nil:
			return c, fmt.Errorf("%w: %s is an increment on %v; the full backup comes first, then its increments in their order", ErrChain, path, *p.Since)
		case i > 0 && p.Since == nil:
			return c, fmt.Errorf("%w: %s is a full backup; only the first part is", ErrChain, path)
		case i > 0 && *p.Since != c.parts[i-1].State:
			before := c.parts[i-1]
			if p.Since.FileID != before.State.FileID {
				return c, fmt.Errorf("%w: %s is of another database than %s", ErrChain, path, before.Path)
			}
			return c, fmt.Errorf("%w: %s continues %v, but %s before it leads to %v", ErrChain, path, *p.Since, before.Path, before.State)
		case p.meta.PageSize != c.parts[0].meta.PageSize:
			return c, fmt.Errorf("%w: %s has pages of %d bytes, %s of %d", ErrChain, path, p.meta.PageSize, c.parts[0].Path, c.parts[0].meta.PageSize)
		}
	}
	return c, nil
}

func (c *chain) close() (err error) {
	for _, p := range c.parts {
		err = errors.Join(err, p.file.Close())
	}
	return err
}

// run goes through a part and gives its extents to out.
func (c *chain) run(p *part, out sink) error {
	end := c.done + p.Size
	r := &reader{chain: c, part: p}
	w := walk.Walk{
		Meta: p.meta, PageSize: p.meta.PageSize, Hasher: p.hasher,
		Read: r.full,
	}
	if p.Since != nil {
		w.Since = page.TxID(p.Since.TxID)
		w.Read = r.increment
		r.stream = p.stream()
		c.advance(2 * page.MetaSize)
	}
	c.laid.next()
	var older []walk.Demand
	w.Older = func(d walk.Demand) error {
		older = append(older, d)
		return nil
	}
	w.Visit = func(d walk.Demand, b []byte) error {
		if err := c.laid.bring(d, b); err != nil || out == nil {
			return err
		}
		return out(d, b)
	}
	err := w.Run()
	if err == nil {
		err = c.hold(older)
	}
	if err == nil && p.Since != nil {
		err = r.atEnd()
	}
	c.advance(end - c.done) // free pages are not read
	return p.damage(err)
}

// hold looks whether the extents that the part does not bring are what the
// parts before it brought.
func (c *chain) hold(older []walk.Demand) error {
	for i, d := range older {
		if i%1024 == 0 && c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		if err := c.laid.keep(d); err != nil {
			return err
		}
	}
	return nil
}

// advance counts n bytes as read.
func (c *chain) advance(n int64) {
	c.done += n
	if c.o.Progress != nil {
		c.o.Progress(c.done, c.total)
	}
}

// damage turns a fault found in the part into a *lightning.CorruptionError.
func (p *part) damage(err error) error {
	var f *walk.Fault
	if errors.As(err, &f) {
		return &lightning.CorruptionError{
			Path: p.Path, Page: uint64(f.Page), Want: lightning.Digest(f.Want), Got: lightning.Digest(f.Got), Reason: f.Problem, Err: f.Err,
		}
	}
	return err
}

// readSize is how many bytes of an increment are read at once.
const readSize = 1 << 20

// reader reads the extents of a part as a walk asks for them.
type reader struct {
	*chain
	part   *part
	stream *bufio.Reader // of an increment
	buf    []byte
}

// full reads pages from their place in a database file.
func (r *reader) full(start page.ID, pages int) ([]byte, error) {
	size := int64(r.part.meta.PageSize)
	if (int64(start)+int64(pages))*size > r.part.Size {
		return nil, &walk.Fault{Page: start, Problem: "the file ends before it"}
	}
	b := r.room(pages * int(size))
	_, err := r.part.file.ReadAt(fsync.OpPageRead, b, int64(start)*size)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // cut meanwhile
	}
	return b, r.after(len(b), err)
}

// increment reads the next pages of the stream.
func (r *reader) increment(start page.ID, pages int) ([]byte, error) {
	n := pages * r.part.meta.PageSize
	if left := r.part.Size - 2*page.MetaSize; int64(n) > left {
		return nil, &walk.Fault{Page: start, Problem: "the increment ends before it"}
	}
	b := r.room(n)
	_, err := io.ReadFull(r.stream, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, &walk.Fault{Page: start, Problem: "the increment ends before it"}
	}
	return b, r.after(n, err)
}

// after counts what was read and looks whether to go on.
func (r *reader) after(n int, err error) error {
	if err != nil {
		return err
	}
	r.advance(int64(n))
	return r.ctx.Err()
}

// atEnd fails if the increment has more than its state asks for.
func (r *reader) atEnd() error {
	_, err := r.stream.ReadByte()
	if err == io.EOF {
		return nil
	}
	if err == nil {
		err = &walk.Fault{Problem: "the increment goes on behind its last page"}
	}
	return err
}

func (r *reader) room(n int) []byte {
	if cap(r.buf) < n {
		r.buf = make([]byte, n)
	}
	return r.buf[:n]
}

// fileReader makes a file an io.ReaderAt.
type fileReader struct{ fsync.File }

func (f fileReader) ReadAt(b []byte, off int64) (int, error) {
	return f.File.ReadAt(fsync.OpPageRead, b, off)
}
