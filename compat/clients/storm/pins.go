// Package storm pins the versions of the packages whose tests are run.
package storm

import (
	_ "github.com/asdine/storm/v3"
	_ "github.com/asdine/storm/v3/index"
	_ "go.etcd.io/bbolt"
)
