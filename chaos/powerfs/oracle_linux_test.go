//go:build amd64 || arm64

package powerfs_test

import (
	"errors"
	"fmt"
	"strings"
)

var (
	errLost   = errors.New("acknowledged data is lost")
	errAbsent = errors.New("the file is absent")
)

// entry is one transaction: number n of writer w.
type entry struct{ w, n uint64 }

// oracle knows from what the children say which states of a database are
// right.
type oracle struct {
	claims string // mode by which acknowledgements count
	faults bool   // errors are to be expected

	opened bool             // an Open has returned
	floor  uint64           // the medium must have the transactions up to this one
	kept   uint64           // the file must have those up to this one, as long as the power is on
	unsure bool             // no child has told since the power cut what is left
	top    uint64           // the last that is known to have been committed
	log    map[uint64]entry // the transactions up to top, as far as acknowledged
	found  map[uint64]entry // what a child that opens the database tells of it

	opens, acks, fails int
	recent             []string // the last lines that were heard, but for the log
}

func newOracle() *oracle {
	return &oracle{log: map[uint64]entry{}, found: map[uint64]entry{}}
}

// hear judges a line of a child.
func (o *oracle) hear(line string) error {
	kind, rest, _ := strings.Cut(line, " ")
	var w, n, g uint64
	var err error
	switch kind {
	case "ack", "log":
		_, err = fmt.Sscan(rest, &w, &n, &g)
	case "open", "sync":
		_, err = fmt.Sscan(rest, &g)
	}
	if err != nil {
		return fmt.Errorf("line %q of a child: %w", line, err)
	}
	if kind != "log" {
		o.recent = append(o.recent[max(0, len(o.recent)-9):], line)
	}
	switch kind {
	case "log":
		o.found[g] = entry{w, n}
		return nil
	case "open":
		return o.judge(g)
	case "ack":
		return o.ack(g, entry{w, n})
	case "sync":
		o.floor = max(o.floor, g)
		return nil
	case "fail":
		if o.fails++; o.faults {
			return nil
		}
	case "bad":
		if rest == errAbsent.Error() {
			return errAbsent
		}
	}
	return fmt.Errorf("child: %s", line)
}

func (o *oracle) ack(g uint64, e entry) error {
	if was, ok := o.log[g]; ok && was != e {
		return fmt.Errorf("transaction %d is acknowledged as %v and as %v", g, was, e)
	}
	o.acks++
	o.log[g] = e
	o.top = max(o.top, g)
	if o.claims == "sync" {
		o.floor = max(o.floor, g)
	}
	return nil
}

// judge compares the state after transaction g, which a child has found, with
// what it may be. From now on it is the only one: Open has made it durable.
func (o *oracle) judge(g uint64) error {
	if want := max(o.floor, o.kept); g < want {
		return fmt.Errorf("%w: the database ends with transaction %d, want %d or more", errLost, g, want)
	}
	// Of each writer one transaction can be there that was not acknowledged.
	if g > o.top+writers {
		return fmt.Errorf("the database has transaction %d, acknowledged were %d", g, o.top)
	}
	for i, e := range o.found {
		if was, ok := o.log[i]; ok && was != e {
			return fmt.Errorf("transaction %d is %v, acknowledged was %v", i, e, was)
		}
	}
	o.log, o.found = o.found, map[uint64]entry{}
	o.floor, o.top, o.opened = g, g, true
	o.unsure = false
	o.opens++
	return nil
}

// begin is told that a child starts. The mode is the one that its
// acknowledgements are to be judged by. Requests may fail: then errors are to be
// expected, and what no sync made durable can be lost also without a power cut.
func (o *oracle) begin(claims string, faults bool) {
	o.claims, o.faults = claims, faults
	if faults {
		o.kept = 0
	}
	clear(o.found)
}

// killed is told that the child was killed, all of whose lines were heard.
func (o *oracle) killed(powerCut bool) {
	o.unsure = o.unsure || powerCut
	o.kept = o.top
	if o.unsure {
		o.kept = 0
	}
}
