// Package buildkit pins the versions of the packages whose tests are run.
package buildkit

import (
	_ "github.com/moby/buildkit/cache/metadata"
	_ "github.com/moby/buildkit/solver/bboltcachestorage"
	_ "go.etcd.io/bbolt"
)
