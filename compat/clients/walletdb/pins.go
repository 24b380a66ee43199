// Package walletdb pins the versions of the packages whose tests are run.
package walletdb

import (
	_ "github.com/btcsuite/btcwallet/walletdb/bdb"
	_ "go.etcd.io/bbolt"
)
