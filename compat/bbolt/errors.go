package bbolt

import "github.com/lightning-db/lightning"

// The errors are the same values as in the packages errors and lightning, whose
// documentation says when they are returned.
var (
	ErrDatabaseNotOpen    = lightning.ErrDatabaseNotOpen
	ErrInvalid            = lightning.ErrInvalid
	ErrInvalidMapping     = lightning.ErrInvalidMapping
	ErrVersionMismatch    = lightning.ErrVersionMismatch
	ErrChecksum           = lightning.ErrChecksum
	ErrTimeout            = lightning.ErrTimeout
	ErrTxNotWritable      = lightning.ErrTxNotWritable
	ErrTxClosed           = lightning.ErrTxClosed
	ErrDatabaseReadOnly   = lightning.ErrDatabaseReadOnly
	ErrFreePagesNotLoaded = lightning.ErrFreePagesNotLoaded
	ErrBucketNotFound     = lightning.ErrBucketNotFound
	ErrBucketExists       = lightning.ErrBucketExists
	ErrBucketNameRequired = lightning.ErrBucketNameRequired
	ErrKeyRequired        = lightning.ErrKeyRequired
	ErrKeyTooLarge        = lightning.ErrKeyTooLarge
	ErrValueTooLarge      = lightning.ErrValueTooLarge
	ErrIncompatibleValue  = lightning.ErrIncompatibleValue
)
