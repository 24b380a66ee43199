// Package migrate copies a bbolt file into a Lightning DB file or the other
// way round, and compares the copy with its source entry by entry.
//
// The source is locked against writers and never written. The copy grows under
// its name with Suffix behind it, in durable transactions of bounded size. In
// it, until the copy is whole, lies a bucket with the identity of the source
// and the position reached, written in the same transaction as the data: a run
// that was stopped in any way is taken up by the next one where the last
// transaction left it. A whole copy is compared, and only then gets its name,
// in one step and never in place of another file.
//
// # Reading the source
//
// migrate.go has the order of the steps; source.go and target.go the two ends,
// each in both formats; copy.go and compare.go what is done between them;
// place.go the names of the files.
package migrate
