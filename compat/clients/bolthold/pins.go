// Package bolthold pins the versions of the packages whose tests are run.
package bolthold

import (
	_ "github.com/timshannon/bolthold"
	_ "go.etcd.io/bbolt"
)
