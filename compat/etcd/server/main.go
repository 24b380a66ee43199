// Command server is the etcd server, on Lightning DB by the replacement of bbolt
// in this module's go.mod. It takes etcd's flags.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
