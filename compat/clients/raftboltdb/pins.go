// Package raftboltdb pins the versions of the packages whose tests are run.
package raftboltdb

import (
	_ "github.com/hashicorp/raft-boltdb/v2"
	_ "go.etcd.io/bbolt"
)
