// Package rclone pins the versions of the packages whose tests are run.
package rclone

import (
	_ "github.com/rclone/rclone/lib/kv"
	_ "go.etcd.io/bbolt"
)
