package lightning

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

// WriteTo writes the database as the transaction sees it to w, exactly
// tx.Size() bytes; a writable transaction writes the newest committed state
// without its own changes. Every page is verified first; pages not in use are
// written as zeros. Readers and writers go on meanwhile.
//
// A stream cannot be synced, so the copy says that none of its pages is known
// durable, and whoever opens it validates all of them. CopyFile does better.
func (tx *Tx) WriteTo(w io.Writer) (n int64, err error) {
	snap, release, err := tx.pin()
	if err != nil {
		return 0, err
	}
	defer release()
	used, err := tx.db.usedPages(&snap.meta)
	if err != nil {
		return 0, err
	}
	m := snap.meta
	m.DurableTx = 0
	c := &copier{db: tx.db, w: w, medium: tx.WriteFlag != 0}
	err = tx.db.guarded(func() error { return c.run(&m, used) })
	return c.n, err
}

// usedPages verifies the state m and returns which of its pages are in use.
func (db *DB) usedPages(m *page.Meta) (used func(page.ID) bool, err error) {
	w := &walk.Walk{
		Meta: m, PageSize: db.pageSize, Hasher: db.hasher,
		Read: db.mapped,
		Older: func(d walk.Demand) error {
			return &walk.Fault{Page: d.Ref.ID, Problem: "born before the first transaction"}
		},
	}
	err = db.guarded(w.Run)
	return w.Visited, db.fault(err)
}

// mapped returns pages as the map has them.
func (db *DB) mapped(start page.ID, pages int) ([]byte, error) {
	b, ok := db.data.At(db.offset(start), pages*db.pageSize)
	if !ok {
		return nil, db.corrupt(uint64(start), "pages are not mapped", ErrInvalidMapping)
	}
	if pages > 1 && db.sparing.Load() {
		db.willNeed(start, start+page.ID(pages))
	}
	return b, nil
}

// copier reads verified pages and writes them.
type copier struct {
	db     *DB
	w      io.Writer
	medium bool // read past the page cache
	n      int64
}

// copyChunk is how many bytes are written at once.
const copyChunk = 1 << 20

func (c *copier) run(m *page.Meta, used func(page.ID) bool) error {
	size := c.db.pageSize
	slot := make([]byte, size)
	page.EncodeMeta(slot, m, c.db.hasher)
	for range 2 {
		if err := c.write(slot); err != nil {
			return err
		}
	}
	buf := make([]byte, 0, copyChunk)
	for id := page.ID(2); id < m.End; id++ {
		buf = buf[:len(buf)+size]
		if err := c.read(buf[len(buf)-size:], id, used); err != nil {
			return err
		}
		if len(buf)+size > cap(buf) || id+1 == m.End {
			if err := c.write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	return nil
}

// read fills b with page id, or with zeros if it is not in use.
func (c *copier) read(b []byte, id page.ID, used func(page.ID) bool) error {
	if !used(id) {
		clear(b)
		return nil
	}
	return c.fetch(b, id)
}

// fetch fills b with pages from start on.
func (c *copier) fetch(b []byte, start page.ID) error {
	if c.medium {
		return c.db.file.ReadMedium(fsync.OpPageRead, b, c.db.offset(start))
	}
	p, err := c.db.mapped(start, len(b)/c.db.pageSize)
	copy(b, p)
	return err
}

func (c *copier) write(b []byte) error {
	n, err := c.w.Write(b)
	c.n += int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// CopyFile writes the database as WriteTo does to a new file at path, syncs it
// and gives it its name only then, replacing a file that is there. The copy
// opens without further validation.
func (tx *Tx) CopyFile(path string, mode os.FileMode) error {
	open := tx.db.options.OpenFile
	if open == nil {
		open = os.OpenFile
	}
	part := path + ".partial"
	f, err := open(part, os.O_RDWR|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	part = f.Name() // OpenFile may have chosen another place
	if err := tx.fill(f); err != nil {
		return errors.Join(err, f.Close(), os.Remove(part))
	}
	if err := f.Close(); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	if err := os.Rename(part, path); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return fsync.SyncDir(path)
}

// fill writes the copy to f: pages first, and when they are durable the metas
// that say so.
func (tx *Tx) fill(f *os.File) error {
	if _, err := tx.WriteTo(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	var slot [page.MetaSize]byte
	if _, err := f.ReadAt(slot[:], 0); err != nil {
		return err
	}
	m, err := page.DecodeMeta(slot[:], tx.db.hasher, tx.snap.meta.KeyCheck)
	if err != nil {
		return fmt.Errorf("read back the copy: %w", err)
	}
	m.DurableTx = m.TxID
	page.EncodeMeta(slot[:], m, tx.db.hasher)
	for i := range int64(2) {
		if _, err := f.WriteAt(slot[:], i*int64(tx.db.pageSize)); err != nil {
			return err
		}
	}
	return f.Sync()
}
