// Package kvdb pins the versions of the packages whose tests are run.
package kvdb

import (
	_ "github.com/lightningnetwork/lnd/kvdb"
	_ "go.etcd.io/bbolt"
)
