// Package backup makes, verifies and restores backups of Lightning DB files, and repairs files from them.
//
// A full backup is a database file: a copy of one state, as Tx.CopyFile and Tx.WriteTo
// write it. An increment has what a later state has and an earlier one has not
// (Tx.WriteIncrement). A full backup with increments that continue each other is a chain; any
// state that one of its parts leads to can be restored.
//
// No manifest stands beside the parts that could be lost or mixed up: each increment says by
// number and digest which state it continues and which it leads to, and the
// digest of a state vouches for all its pages. Verify and Restore accept nothing but the
// bytes that were backed up, in the order in which they were made, and name the part
// and the page that is not.
//
// Reading order: part.go (one file), chain.go and overlay.go (what holds the parts together),
// create.go, verify.go, restore.go; copies.go and repair.go (damaged pages from any copy).
package backup
