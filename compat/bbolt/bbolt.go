package bbolt

import (
	"github.com/lightning-db/lightning"
)

// Limits of keys and values in bytes.
const (
	MaxKeySize   = lightning.MaxKeySize
	MaxValueSize = lightning.MaxValueSize
)

// DefaultFillPercent is the initial Bucket.FillPercent.
const DefaultFillPercent = lightning.DefaultFillPercent

// Freelist types, without effect.
const (
	FreelistArrayType = lightning.FreelistArrayType
	FreelistMapType   = lightning.FreelistMapType
)

// The types are those of the package lightning.
type (
	Bucket          = lightning.Bucket
	BucketStats     = lightning.BucketStats
	BucketStructure = lightning.BucketStructure
	CheckOption     = lightning.CheckOption
	Cursor          = lightning.Cursor
	DB              = lightning.DB
	DefaultLogger   = lightning.DefaultLogger
	FreelistType    = lightning.FreelistType
	Info            = lightning.Info
	KVStringer      = lightning.KVStringer
	Logger          = lightning.Logger
	Options         = lightning.Options
	Stats           = lightning.Stats
	Tx              = lightning.Tx
	TxStats         = lightning.TxStats
)

// Compact copies all of src into dst, see lightning.Compact.
func Compact(dst, src *DB, txMaxSize int64) error {
	return lightning.Compact(dst, src, txMaxSize)
}

// HexKVStringer shows keys and values in hexadecimal.
func HexKVStringer() KVStringer { return lightning.HexKVStringer() }

// WithKVStringer makes Tx.Check show keys and values by kvStringer.
func WithKVStringer(kvStringer KVStringer) CheckOption { return lightning.WithKVStringer(kvStringer) }

// WithPageId makes Tx.Check begin at a page.
func WithPageId(pageId uint64) CheckOption { return lightning.WithPageId(pageId) }
