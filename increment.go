package lightning

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

// State names one committed state of a database, in whatever file it is: the
// database itself, a copy or a backup. Two states are the same exactly if their
// digests are.
type State struct {
	FileID [16]byte // of the database; its copies and backups have the same
	TxID   uint64   // number of the newest transaction in it
	// Digest is the digest of the meta page. All pages hang below it, so it
	// vouches for every byte. Under Options.IntegrityKey it is keyed: whoever
	// knows the digest and the key can tell any change.
	Digest [32]byte
}

// String shows the number and the start of the digest.
func (s State) String() string { return fmt.Sprintf("transaction %d (%x)", s.TxID, s.Digest[:6]) }

// ErrForeignState is returned by WriteIncrement for a state that is not one
// of the database's own past.
var ErrForeignState = errors.New("not an earlier state of this database")

// State returns the state that the transaction sees; for a writable one the
// newest committed state.
func (tx *Tx) State() (State, error) {
	snap, release, err := tx.pin()
	if err != nil {
		return State{}, err
	}
	defer release()
	return tx.db.stateName(&snap.meta), nil
}

func (db *DB) stateName(m *page.Meta) State {
	return State{FileID: m.FileID, TxID: uint64(m.TxID), Digest: page.StateDigest(m, db.hasher)}
}

// WriteIncrement writes to w what the state that the transaction sees has and
// the state since has not: an incremental backup, which package backup verifies
// and restores. It reads and writes the extents born after since and nothing else: references
// to older ones are not followed. Every extent is verified first. Readers and
// writers go on meanwhile. It returns the number of bytes written.
//
// since comes from Tx.State, or from the backup that the increment is to
// continue. It fails with ErrForeignState for a state of another database, or one newer
// than the transaction's. A state of a past that the file does not share any
// more, because it was itself restored from a backup, cannot be told here; backup.Verify
// and backup.Restore reject the increment.
func (tx *Tx) WriteIncrement(w io.Writer, since State) (n int64, err error) {
	snap, release, err := tx.pin()
	if err != nil {
		return 0, err
	}
	defer release()
	db, m := tx.db, snap.meta
	now := db.stateName(&m)
	if since.FileID != now.FileID || since.TxID > now.TxID || since.TxID == now.TxID && since != now {
		return 0, fmt.Errorf("%w: the increment is to begin at %v, the database is at %v", ErrForeignState, since, now)
	}
	m.DurableTx = m.TxID
	i := &increment{copier: copier{db: db, w: w, medium: tx.WriteFlag != 0}}
	err = db.guarded(func() error { return i.run(&m, since) })
	return i.n, err
}

// increment writes extents in the order of a walk.
type increment struct {
	copier
	buf []byte
}

func (i *increment) run(m *page.Meta, since State) error {
	db := i.db
	var b [page.MetaSize]byte
	page.EncodeIncrement(b[:], &page.Increment{
		FileID: m.FileID, KeyCheck: m.KeyCheck, PageSize: m.PageSize, Since: page.TxID(since.TxID), SinceDigest: since.Digest,
	}, db.hasher)
	if err := i.write(b[:]); err != nil {
		return err
	}
	page.EncodeMeta(b[:], m, db.hasher)
	if err := i.write(b[:]); err != nil {
		return err
	}
	// What is hashed is what is written: a copy.
	w := walk.Walk{
		Meta: m, Since: page.TxID(since.TxID), PageSize: db.pageSize, Hasher: db.hasher,
		Read:  i.read,
		Visit: func(_ walk.Demand, b []byte) error { return i.write(b) },
	}
	return db.fault(w.Run())
}

func (i *increment) read(start page.ID, pages int) ([]byte, error) {
	n := pages * i.db.pageSize
	i.buf = slices.Grow(i.buf[:0], n)[:n]
	return i.buf, i.fetch(i.buf, start)
}
