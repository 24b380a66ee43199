// Package raftwal pins the versions of the packages whose tests are run.
package raftwal

import (
	_ "github.com/hashicorp/raft-wal"
	_ "github.com/hashicorp/raft-wal/metadb"
	_ "go.etcd.io/bbolt"
)
