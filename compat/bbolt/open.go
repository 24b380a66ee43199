package bbolt

import (
	stderrors "errors"
	"os"

	"github.com/lightning-db/lightning"
)

// DefaultOptions are used by Open when its options are nil. Setting the variable
// changes what Open does.
var DefaultOptions = lightning.DefaultOptions

// Open opens or creates a database, see lightning.Open. As in bbolt, commits go on
// when the file is deleted while it is open: Options.AllowRemoved is set.
//
// The errors that programs compare with == are returned bare, as bbolt returns
// them. Everything else that is known of them, such as the path, the page and
// what to do, goes to Options.Logger; callers of lightning.Open get it in a
// lightning.OpenError.
func Open(path string, mode os.FileMode, options *Options) (db *DB, err error) {
	if options == nil {
		options = DefaultOptions
	}
	var own Options
	if options != nil {
		own = *options
	}
	own.AllowRemoved = true
	db, err = lightning.Open(path, mode, &own)
	for _, bare := range []error{ErrTimeout, ErrInvalid, ErrVersionMismatch, ErrChecksum} {
		if stderrors.Is(err, bare) {
			if own.Logger != nil {
				own.Logger.Errorf("%v", err)
			}
			return nil, bare
		}
	}
	return db, err
}
