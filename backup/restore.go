package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/newfile"
	"github.com/lightning-db/lightning/internal/walk"
)

// Restore makes a database file at path, with the permission bits mode, from a
// chain: the state that the last of the parts leads to. To restore an earlier one,
// leave out the parts behind it. Everything is verified before it is written, with
// the errors of Verify, and the restored file is checked again as a whole by
// Tx.Check. The database gets its name when it is whole and durable; until
// then the name goes on with ".partial-" and a number, and what has it is removed on an error: only a
// kill leaves it. It fails with fs.ErrExist if there is something at path.
//
// The restored database goes on from its state under new transaction numbers of its own: what the
// backed-up database did after that state is another past, and increments on it are
// rejected when they meet this one's.
func Restore(ctx context.Context, path string, mode os.FileMode, parts []string, o Options) (state lightning.State, err error) {
	if _, err := os.Lstat(path); err == nil {
		return state, &fs.PathError{Op: "restore", Path: path, Err: fs.ErrExist}
	}
	c, err := openChain(ctx, parts, &o)
	defer func() { err = errors.Join(err, c.close()) }()
	if err != nil {
		return state, err
	}
	last := c.parts[len(c.parts)-1]
	f, err := newfile.Partial(path, mode)
	if err != nil {
		return state, err
	}
	err = c.fill(f)
	if err == nil {
		err = checkWhole(ctx, f.Name(), last.State, &o)
	}
	if err := newfile.Settle(f.Name(), path, errors.Join(err, f.Close())); err != nil {
		return state, err
	}
	return last.State, nil
}

// fill writes the chain's last state to a new file.
func (c *chain) fill(f *os.File) error {
	size := int64(c.parts[0].meta.PageSize)
	for _, p := range c.parts {
		if err := c.run(p, func(d walk.Demand, b []byte) error {
			_, err := f.WriteAt(b, int64(d.Ref.ID)*size)
			return err
		}); err != nil {
			return err
		}
	}
	last := c.parts[len(c.parts)-1]
	if err := f.Truncate(int64(last.meta.End) * size); err != nil {
		return err
	}
	return seal(f, last)
}

// checkWhole opens the restored file and checks all of it.
func checkWhole(ctx context.Context, path string, want lightning.State, o *Options) (err error) {
	db, err := lightning.Open(path, 0, &lightning.Options{ReadOnly: true, IntegrityKey: o.IntegrityKey})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.ViewContext(ctx, func(tx *lightning.Tx) error {
		got, err := tx.State()
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%s: restored %v, want %v", path, got, want)
		}
		var found []error
		for err := range tx.Check(lightning.WithCheckContext(ctx)) {
			found = append(found, err)
		}
		return errors.Join(found...)
	})
}
