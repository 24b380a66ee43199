package fsync

import "fmt"

// Op says what a call on a file is done for.
type Op uint8

// The operations of a database on its file.
const (
	OpOpen        Op = iota // opening the file
	OpLock                  // taking the lock between processes
	OpUnlock                // giving it back
	OpStat                  // asking for the size
	OpMetaRead              // reading a meta slot
	OpPageRead              // reading pages
	OpPageWrite             // writing pages
	OpMetaWrite             // writing a meta slot
	OpCreateSync            // syncing a new file
	OpOpenSync              // syncing what an earlier process left, before trusting it
	OpPageSync              // syncing pages before the meta that refers to them
	OpSync                  // syncing commits
	OpCloseSync             // syncing the meta slot that Close writes
	OpGrow                  // making the file longer
	OpGrowSync              // syncing the new length
	OpTruncate              // making the file shorter
	OpErase                 // overwriting a rejected meta slot
	OpEraseSync             // syncing that
	OpRepairWrite           // replacing damaged pages
	OpRepairSync            // syncing that
	OpDirSync               // syncing the directory that holds the file
	OpClose                 // closing the file
	numOps
)

var opNames = [numOps]string{
	"open", "lock", "unlock", "stat", "meta read", "page read", "page write", "meta write",
	"create sync", "open sync", "page sync", "sync", "close sync", "grow", "grow sync", "truncate", "erase", "erase sync",
	"repair write", "repair sync",
	"directory sync", "close",
}

// String returns the operation in words.
func (op Op) String() string {
	if op < numOps {
		return opNames[op]
	}
	return fmt.Sprintf("operation %d", uint8(op))
}
