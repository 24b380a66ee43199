// Package boltfile reads the files of go.etcd.io/bbolt, and writes nothing.
//
// The file is trusted in nothing: every number in it is checked before it is
// used, a page is read at most once in a walk, and what does not fit is a
// *DamageError with the number of the page. The file is read with ReadAt and
// not mapped, so that a file that is cut short under the reader is an error
// and not a signal. bbolt keeps no digests of its pages: a changed byte inside
// a key or a value cannot be known, unless it changes the order of the keys.
//
// # The format
//
// A file is a row of pages of one size. All integers are in the byte order of
// the machine that wrote the file; this package reads little-endian ones.
//
// A page begins with its number (8 bytes), its flags (2), a count (2) and the
// number of pages behind it that belong to it (4). Pages 0 and 1 are metas:
//
//	16 magic 0xED0CDAED   32 root page      56 page after the last
//	20 version 2          40 root sequence  64 transaction
//	24 page size          48 freelist page  72 FNV-1a of bytes 16 to 72
//	28 flags
//
// The valid meta with the greater transaction counts. The other pages in use
// are branches (flag 1) and leaves (flag 2): a table of 16 bytes an element,
// then the keys and values, in the order of the table. Offsets in an element
// count from where the element begins:
//
//	branch  0 offset of the key, 4 its length, 8 child page
//	leaf    0 flags, 4 offset of key and value, 8 length of the key, 12 of the value
//
// The freelist (flag 16) has the numbers of the free pages behind its header;
// if their count is 65,535 the first 8 bytes are the count. A file may be
// without one: then its page is the greatest number there is.
//
// The flag 1 of a leaf's element makes the value a bucket: its root page (8
// bytes) and its sequence (8), and if the root page is 0 a leaf behind them,
// the bucket's only page.
//
// # Reading the source
//
// file.go opens a file and chooses the meta; node.go takes a page apart and
// checks it; walk.go goes over all entries in order; space.go accounts for the
// pages.
package boltfile
