package backup

import (
	"context"
	"errors"

	lightning "github.com/lightning-db/lightning"
)

// Verify proves a chain good without restoring it: the parts continue each
// other, and each of the states that they lead to, which it returns, could be restored to
// the last byte. It reads every part once and takes 44 bytes of memory a page of the
// database and 16 for each reference in the parts.
//
// An extent that a part does not bring must be what an earlier part brought, and all that
// it leads to must still be there: a database that was itself restored from the full backup, and backed
// up further as if nothing had happened, is found out where its pages are missed.
//
// It fails with ErrChain for parts that do not belong together or come in another
// order, with ErrNotBackup, lightning.ErrIntegrityKey or
// lightning.ErrVersionMismatch for what cannot be read at all, and with
// a *lightning.CorruptionError, which names the part and the page, for damage: a byte
// changed, pages missing at the end, or too much. The states before the part that is at fault are
// returned with the error, and can be restored.
func Verify(ctx context.Context, parts []string, o Options) (good []lightning.State, err error) {
	c, err := openChain(ctx, parts, &o)
	defer func() { err = errors.Join(err, c.close()) }()
	if err != nil {
		return nil, err
	}
	for _, p := range c.parts {
		if err := c.run(p, nil); err != nil {
			return good, err
		}
		good = append(good, p.State)
	}
	return good, nil
}
