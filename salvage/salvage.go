package salvage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

// Options are the settings of Run. The zero value is good for databases without
// integrity key.
type Options struct {
	// IntegrityKey is lightning.Options.IntegrityKey of the database; the new one has it, too.
	IntegrityKey []byte
	// LockTimeout is how long to wait for the source if a process holds it open for
	// writing; 0 = for ever.
	LockTimeout time.Duration
	// Mode is the permission bits of the new database; 0 = 0600.
	Mode os.FileMode
	// Orphans adds what nothing vouches for, with the grade Orphan: pages that
	// look whole and hold keys of a range that is lost. Some of it may have been
	// overwritten or deleted before the newest transaction.
	Orphans bool
	// Lost is told of each loss as it is found, in the caller's goroutine, before anything
	// else is put in its place; nil = nobody. The Report lists the first MaxListed.
	Lost func(*Loss)
	// Progress is told how many pages of how many were read, in the caller's
	// goroutine; nil = nobody. What is read twice counts once.
	Progress func(done, total int64)
}

// Run saves what can be saved of the database at src to a new database at dst, with its page
// size and integrity key, and returns what it saved and what is lost. The source is
// locked against writers and read, never written. dst gets its name when it is
// whole and durable; until then the name goes on with ".partial-" and a number, and what has
// it is removed on an error: only a kill leaves it.
//
// It fails with fs.ErrExist if there is something at dst, with lightning.ErrInvalid if
// src is no database or has lost both meta pages and Options.Orphans is not set, with
// lightning.ErrIntegrityKey for a wrong key, with the error of ctx. Damage is no error: the Report tells of it.
//
// It takes about 40 bytes of memory for each page of the source, 40 MiB for the pages
// that it works on, and once more the largest value.
func Run(ctx context.Context, src, dst string, o Options) (r *Report, err error) {
	if _, err := os.Lstat(dst); err == nil {
		return nil, &fs.PathError{Op: "salvage", Path: dst, Err: fs.ErrExist}
	}
	r = &Report{Lost: []*Loss{}, Damaged: []*Bucket{}, Unreadable: []PageRange{}}
	s, err := openSource(ctx, src, &o, r)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.file.Close()) }()
	newest, older, err := s.states()
	if err != nil {
		return nil, err
	}
	out, err := newOutput(dst, s.pageSize, o.IntegrityKey)
	if err != nil {
		return nil, err
	}
	run := &run{s: s, out: out, o: &o, newest: newest, older: older}
	if err := run.all(); err != nil {
		return nil, out.discard(err)
	}
	mode := o.Mode
	if mode == 0 {
		mode = 0o600
	}
	if err := out.finish(dst, mode); err != nil {
		return nil, err
	}
	return r, nil
}

// run is a salvage under way.
type run struct {
	s      *source
	out    *output
	o      *Options
	newest state
	older  *page.Meta
	seen   walk.PageSet // reached from the newest root
	bad    walk.PageSet // known not to be what their parents say

	losses []*loss // those that can be filled
	kept   int     // bytes of keys that they hold
	budget int64   // pages that may still be read to fill gaps
}

// all saves what is reachable, and then fills the gaps from what else there is.
func (u *run) all() error {
	r, m := u.s.report, u.newest.meta
	r.Root, r.TxID = u.newest.grade, uint64(m.TxID)
	if u.older != nil {
		r.OlderTxID = uint64(u.older.TxID)
	}
	w := &walker{s: u.s, out: u.out, grade: u.newest.grade, seen: walk.PageSet{}, bad: walk.PageSet{}, lost: u.lose}
	u.seen, u.bad = w.seen, w.bad
	if err := u.out.sequence(m.Root.Sequence); err != nil {
		return err
	}
	w.bucket(&Path{}, m.Root, nil)
	if w.err != nil {
		return w.err
	}
	if err := u.fill(); err != nil {
		return err
	}
	for _, b := range r.Damaged {
		b.Missing = b.Keys - min(b.Keys, b.Saved.Sum())
	}
	return nil
}

const (
	// maxKept bounds the keys of losses that are kept to be filled.
	maxKept = 32 << 20
	// lossBytes is about what a loss takes beside its keys.
	lossBytes = 256
)

// lose notes a loss of the newest state.
func (u *run) lose(l *loss) error {
	r := u.s.report
	r.Losses++
	if len(r.Lost) < MaxListed {
		r.Lost = append(r.Lost, &l.Loss)
	}
	if u.o.Lost != nil {
		u.o.Lost(&l.Loss)
	}
	if size := len(l.Lower) + len(l.Upper) + lossBytes; !l.in.loose && u.kept+size <= maxKept {
		u.kept += size
		u.losses = append(u.losses, l)
	}
	return nil
}
