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
	was := db.frozen.Load()
	tx, err := db.newWrite(context.Background())
	if err != nil {
		return err
	}
	db.flusher.lock()
	flags := db.flags
	db.flags = flags &^ page.MetaReadOnly
	if on {
		db.flags |= page.MetaReadOnly
	}
	db.flusher.unlock()
	db.frozen.Store(on) // before the writer lock is released
	err = tx.commit()
	if err == nil {
		err = db.Sync()
	}
	if err != nil {
		// What is in the file is unknown at worst, and then the handle is poisoned.
		db.flusher.lock()
		db.flags = flags
		db.flusher.unlock()
		db.frozen.Store(was)
	}
	return err
}
