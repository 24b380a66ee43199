// Package etcd pins the versions of the packages whose tests are run.
package etcd

import (
	_ "go.etcd.io/bbolt"
	_ "go.etcd.io/etcd/server/v3/auth"
	_ "go.etcd.io/etcd/server/v3/etcdserver"
	_ "go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	_ "go.etcd.io/etcd/server/v3/lease"
	_ "go.etcd.io/etcd/server/v3/storage/backend"
	_ "go.etcd.io/etcd/server/v3/storage/mvcc"
	_ "go.etcd.io/etcd/server/v3/storage/schema"
	_ "go.etcd.io/etcd/tests/v3/common"
)
