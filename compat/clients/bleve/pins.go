// Package bleve pins the versions of the packages whose tests are run.
package bleve

import (
	_ "github.com/blevesearch/bleve/v2/index/scorch"
	_ "github.com/blevesearch/bleve/v2/index/upsidedown/store/boltdb"
	_ "go.etcd.io/bbolt"
)
