// Package page knows the byte layouts of a Lightning DB file and nothing
// else: it takes and returns byte slices and never does I/O.
//
// Reading order: page.go (identifiers, the common header), ref.go (Merkle
// references), meta.go (the two meta slots), node.go and cell.go (slotted
// branch and leaf pages, searched in place), edit.go (changing them in place),
// bucket.go (bucket headers), extent.go (big values and long keys), space.go
// (the map of free pages) and validate.go (what must hold before a page is
// trusted). docs/FORMAT.md describes the same byte by byte.
//
// All integers are little-endian and read with encoding/binary, so a file is
// the same on every platform.
package page
