package backup

import (
	"context"
	"errors"
	"os"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

// donor is a file that may have pages of a database: a full backup, an increment, an old copy of the
// file, damaged itself perhaps. Nothing that it says is believed: what it
// gives is held against a digest.
type donor struct {
	part *part
	size int               // of a page
	at   map[page.ID]int64 // where the extents of an increment begin; nil for a file whose pages are in their place
}

// openDonor opens the copy at path for a database with pages of the given size.
func openDonor(ctx context.Context, path string, size int, o *Options) (_ *donor, err error) {
	p, err := openPart(ctx, path, o)
	var damage *lightning.CorruptionError
	if errors.Is(err, ErrNotBackup) || errors.As(err, &damage) {
		p, err = openFile(ctx, path, os.O_RDONLY, o) // its slots are damaged; its pages may be good
	}
	if err != nil {
		return nil, err
	}
	d := &donor{part: p, size: size}
	if p.Since == nil {
		return d, nil
	}
	if err := d.index(ctx); err != nil {
		return nil, errors.Join(err, p.file.Close())
	}
	return d, nil
}

// index finds out where the extents of an increment begin. Behind damage that cannot
// be told.
func (d *donor) index(ctx context.Context) error {
	p := d.part
	d.at = make(map[page.ID]int64)
	r := &reader{chain: &chain{ctx: ctx, o: &Options{}}, part: p, stream: p.stream()}
	off := int64(2 * page.MetaSize)
	w := walk.Walk{
		Meta: p.meta, Since: page.TxID(p.Since.TxID), PageSize: p.meta.PageSize, Hasher: p.hasher, Read: r.increment,
		Visit: func(e walk.Demand, b []byte) error {
			d.at[e.Ref.ID] = off
			off += int64(len(b))
			return nil
		},
	}
	var fault *walk.Fault
	if err := w.Run(); !errors.As(err, &fault) {
		return err
	}
	return nil
}

// find returns the extent that w asks for, or nil.
func (d *donor) find(w walk.Demand, good func([]byte) bool) []byte {
	n := int64(w.Pages) * int64(d.size)
	off := int64(w.Ref.ID) * int64(d.size)
	if d.at != nil {
		var ok bool
		if off, ok = d.at[w.Ref.ID]; !ok {
			return nil
		}
	}
	if n > d.part.Size || off > d.part.Size-n {
		return nil
	}
	b := make([]byte, n)
	if _, err := d.part.file.ReadAt(fsync.OpPageRead, b, off); err != nil || !good(b) {
		return nil
	}
	return b
}
