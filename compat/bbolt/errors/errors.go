// Package errors has the errors of bbolt under the names of its package of errors.
package errors

import "github.com/lightning-db/lightning"

// The errors are the values of the package lightning, whose documentation says
// when they are returned.
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
	ErrMaxSizeReached     = lightning.ErrMaxSizeReached
	ErrSameBuckets        = lightning.ErrSameBuckets
	ErrDifferentDB        = lightning.ErrDifferentDB
)
