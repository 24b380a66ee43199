//go:build amd64 || arm64

package powerfs

import (
	"slices"
	"syscall"
)

// Op is a kind of request. What the page cache answers makes no request.
type Op uint8

// The kinds of requests that can fail, and at which the power can be cut.
const (
	OpAny     Op = iota // in a Cut or a Fault: whichever
	OpOpen              // open or create
	OpRead              // read, also by a page fault
	OpWrite             // write, in the pieces that the kernel sends
	OpResize            // truncate and fallocate
	OpSync              // fsync and fdatasync of a file
	OpSyncDir           // fsync of the directory
	OpNames             // rename and unlink
	opKinds             // their number
)

var opNames = [opKinds]string{"any", "open", "read", "write", "resize", "sync", "sync of the directory", "rename or unlink"}

// String names the kind.
func (o Op) String() string { return opNames[o] }

// Fault lets one request fail.
type Fault struct {
	Op  Op
	N   int // the Nth of its kind from now, from 1
	Err syscall.Errno
}

// Cut is a moment for Freeze to come of itself.
type Cut struct {
	Op    Op
	N     int  // the Nth of its kind from now, from 1
	After bool // when the request is done, but not answered; otherwise before it is done
}

// countdown lets Faults and Cuts come due.
type countdown struct {
	faults []Fault
	cut    *Cut // nil = none
}

// matches counts a request of kind op and tells whether n has come to its end.
func matches(op, want Op, n *int) bool {
	if want != OpAny && want != op {
		return false
	}
	*n--
	return *n == 0
}

// count is told of each request. It returns the error that is due, and
// the cut.
func (c *countdown) count(op Op) (err syscall.Errno, cut *Cut) {
	for i := range c.faults {
		if f := &c.faults[i]; matches(op, f.Op, &f.N) {
			err = f.Err
		}
	}
	c.faults = slices.DeleteFunc(c.faults, func(f Fault) bool { return f.N <= 0 })
	if c.cut != nil && matches(op, c.cut.Op, &c.cut.N) {
		cut, c.cut = c.cut, nil
	}
	return err, cut
}
