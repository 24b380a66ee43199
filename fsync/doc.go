// Package fsync is the seam between the database and its file. Each call
// carries an Op that says what it is done for, so that an error tells which
// step failed and a test can aim a fault at one kind of call.
//
// Reading order: file.go for the interface, os.go for the implementation on
// an operating-system file, lock.go for the lock between processes, and
// faults.go for the fault injection that tests use. What the platforms do
// differently is in the files with their names.
package fsync
