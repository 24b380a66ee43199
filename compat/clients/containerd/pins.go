// Package containerd pins the versions of the packages whose tests are run.
package containerd

import (
	_ "github.com/containerd/containerd/v2/core/metadata"
	_ "github.com/containerd/containerd/v2/core/mount/manager"
	_ "github.com/containerd/containerd/v2/core/snapshots/storage"
	_ "go.etcd.io/bbolt"
)
