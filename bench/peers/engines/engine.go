// Package engines puts the databases that are compared behind one set of
// interfaces, each with the settings that its own documentation recommends.
// The adapters add no allocation to an operation, so that what is measured is
// the engine's.
package engines

import (
	"fmt"
	"slices"
	"strings"
)

// bucketName names the one bucket, table or named database that is used.
var bucketName = []byte("bench")

// Options say how a database is opened.
type Options struct {
	// Durable commits are on the medium when Update returns. Others reach it
	// when the kernel likes; Sync waits for that.
	Durable bool
	// Writers is the number of goroutines that will commit at the same time.
	// Only engines that ask for such a number use it.
	Writers int
	// Memory is what the machine has for the database, in bytes, caches of the
	// engine's own included; 0 = plenty.
	Memory int64
}

// cache returns the size in bytes of the cache of an engine that keeps its own
// beside the page cache: half of the memory where that is limited, else 256 MiB.
func (o Options) cache() int64 {
	if o.Memory > 0 {
		return o.Memory / 2
	}
	return 256 << 20
}

// Engine is a database system.
type Engine struct {
	Name     string
	Settings string // for the report
	// Variant, if set, is the engine whose files this one uses. It differs from
	// it with many writers only.
	Variant string
	// WritesMapped engines write through a mapping, where no call tells how much.
	WritesMapped bool
	Open         func(dir string, o Options) (DB, error)
}

// DB is an open database. Its methods may be called from many goroutines.
type DB interface {
	// Update runs fn in a write transaction and commits it.
	Update(fn func(Writer) error) error
	// NewSession returns a reader for one goroutine.
	NewSession() (Session, error)
	// Sync waits until what was committed without Durable is on the medium.
	Sync() error
	// Close closes the database; its sessions must have been closed.
	Close() error
}

// Writer writes in one transaction. The slices may be changed when the
// transaction has ended, not before.
type Writer interface {
	Put(key, value []byte) error
	Delete(key []byte) error
}

// Appender is a Writer that is quicker when the keys ascend and lie behind all
// that the database holds.
type Appender interface {
	Append(fill Fill) error
}

// Fill hands entries to put until there are no more or put fails, and returns its
// error.
type Fill func(put func(key, value []byte) error) error

// Session reads, in one goroutine. What it hands to a use function is valid
// until that function returns.
type Session interface {
	// ViewGet gets in a transaction of its own, as the engine's users would.
	ViewGet(key []byte, use func(value []byte)) (found bool, err error)
	// Begin starts the transaction of Get and Scan, End ends it.
	Begin() error
	End() error
	Get(key []byte, use func(value []byte)) (found bool, err error)
	// Scan visits n entries from the first whose key is at least from, fewer
	// at the end, and says how many.
	Scan(from []byte, n int, use func(key, value []byte)) (visited int, err error)
	// Close frees what the session holds. There must be no transaction.
	Close() error
}

// all is in the order of the report's columns.
var all = []Engine{lightningEngine, bboltEngine, bboltBatchEngine, lmdbEngine, mdbxEngine, pebbleEngine, badgerEngine, sqliteEngine}

// All returns the engines.
func All() []Engine {
	return slices.Clone(all)
}

// ByName returns the engines with the given names, in the order of All.
func ByName(names []string) ([]Engine, error) {
	var found []Engine
	for _, e := range all {
		if slices.Contains(names, e.Name) {
			found = append(found, e)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(e Engine) bool { return e.Name == name }) {
			return nil, fmt.Errorf("no engine %q; there are %s", name, Names(all))
		}
	}
	return found, nil
}

// Names joins the names of the engines.
func Names(engines []Engine) string {
	names := make([]string, len(engines))
	for i, e := range engines {
		names[i] = e.Name
	}
	return strings.Join(names, ",")
}
