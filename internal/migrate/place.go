package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/newfile"
)

// place gives the whole copy at temp its mode and its name.
func place(temp, name string, mode fs.FileMode) error {
	f, err := fsync.Open(temp, os.O_RDWR, 0, nil)
	if err != nil {
		return err
	}
	if err := errors.Join(f.OSFile().Chmod(mode|privateMode), f.SyncFull(fsync.OpCloseSync), f.Close()); err != nil {
		return err
	}
	if err := newfile.Move(temp, name); err != nil {
		return fmt.Errorf("the copy is whole, but cannot have its name: %w", err)
	}
	return nil
}
