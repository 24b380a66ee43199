package lightning

import (
	"context"

	"github.com/lightning-db/lightning/page"
)

// SetReadOnly makes the database read-only, or writable again, durably and whatever the
// Durability: the file says so, and every Open honours it. Writable
// transactions then fail with ErrDatabaseReadOnly; readers notice nothing. It waits for
// the writable transaction that is open, and fails with ErrDatabaseReadOnly if the
// database was opened with Options.ReadOnly, with ErrNestedUpdate inside Update. A copy or backup of a read-only state is read-only, too.
func (db *DB) SetReadOnly(on bool) error {
	switch {
	case !db.isOpen():
		return ErrDatabaseNotOpen
	case db.readOnly:
		return ErrDatabaseReadOnly
	}
	checkRank(rankWriter)
	if err := db.lockWriter(context.Background()); err != nil {
		return err
	}
	if db.closing.Load() {
		db.writer.unlock()
		return ErrDatabaseNotOpen
	}
	tx, err := db.newWrite(context.Background())
	if err != nil {
		return err
	}
	tx.flags &^= page.MetaReadOnly
	if on {
		tx.flags |= page.MetaReadOnly
	}
	if err := tx.commit(); err != nil {
		return err
	}
	return db.Sync()
}
