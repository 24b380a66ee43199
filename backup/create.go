package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/newfile"
	"github.com/lightning-db/lightning/page"
)

// Create writes a backup of the newest state of the open database db to a new
// file at path, with the permission bits mode: a full one, or, if base is not
// empty, an increment on the full backup or increment at base. Readers and writers go
// on meanwhile. The file gets its name when it is whole and durable; until then the
// name goes on with ".partial-" and a number, and what has it is removed on an error: only a kill leaves
// it. It fails with fs.ErrExist if there is something at path.
func Create(ctx context.Context, db *lightning.DB, path, base string, mode os.FileMode, o Options) (*Part, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, &fs.PathError{Op: "backup", Path: path, Err: fs.ErrExist}
	}
	var since *lightning.State
	if base != "" {
		p, err := Inspect(ctx, base, o)
		if err != nil {
			return nil, err
		}
		since = &p.State
	}
	f, err := newfile.Partial(path, mode)
	if err != nil {
		return nil, err
	}
	made, err := write(ctx, db, f, since, &o)
	if err := newfile.Settle(f.Name(), path, errors.Join(err, f.Close())); err != nil {
		return nil, err
	}
	made.Path = path
	return made, nil
}

// write writes a durable part.
func write(ctx context.Context, db *lightning.DB, f *os.File, since *lightning.State, o *Options) (*Part, error) {
	made := &Part{Since: since}
	if err := db.ViewContext(ctx, func(tx *lightning.Tx) (err error) {
		if made.State, err = tx.State(); err != nil {
			return err
		}
		w := &watched{ctx: ctx, w: f, total: tx.Size(), tell: o.Progress}
		if since == nil {
			made.Size, err = tx.WriteTo(w)
		} else {
			made.Size, err = tx.WriteIncrement(w, *since)
		}
		return err
	}); err != nil {
		return nil, err
	}
	if since != nil {
		return made, f.Sync()
	}
	p, err := openPart(ctx, f.Name(), o)
	if err != nil {
		return nil, err
	}
	if p.State != made.State {
		return nil, errors.Join(fmt.Errorf("%s: written %v, read back %v", f.Name(), made.State, p.State), p.file.Close())
	}
	return made, errors.Join(seal(f, p), p.file.Close())
}

// seal makes f, which has all pages of the part's state, durable, and then its meta
// pages, which say so: whoever opens it needs not validate it.
func seal(f *os.File, p *part) error {
	if err := f.Sync(); err != nil {
		return err
	}
	m := *p.meta
	m.DurableTx = m.TxID
	var slot [page.MetaSize]byte
	page.EncodeMeta(slot[:], &m, p.hasher)
	for i := range int64(2) {
		if _, err := f.WriteAt(slot[:], i*int64(m.PageSize)); err != nil {
			return err
		}
	}
	return f.Sync()
}

// watched is a writer that tells how far it is and gives up when ctx ends.
type watched struct {
	ctx   context.Context
	w     io.Writer
	done  int64
	total int64
	tell  func(done, total int64)
}

func (w *watched) Write(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.w.Write(b)
	w.done += int64(n)
	if w.tell != nil {
		w.tell(w.done, w.total)
	}
	return n, err
}
