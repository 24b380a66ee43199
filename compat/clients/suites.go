package main

// suite is the tests of one package.
type suite struct {
	dir    string // with the go.mod that pins the versions
	pkg    string
	fast   bool
	apart  bool              // no test of the package reaches the engine
	args   []string          // of go test
	except map[string]string // tests that look into bbolt's file format, with the reason
}

var suites = []suite{
	{dir: "storm", pkg: "github.com/asdine/storm/v3", fast: true},
	{dir: "storm", pkg: "github.com/asdine/storm/v3/index", fast: true},
	{dir: "bolthold", pkg: "github.com/timshannon/bolthold", fast: true},
	{dir: "kvdb", pkg: "github.com/lightningnetwork/lnd/kvdb", fast: true},
	{dir: "walletdb", pkg: "github.com/btcsuite/btcwallet/walletdb/bdb", fast: true},
	{dir: "raftboltdb", pkg: "github.com/hashicorp/raft-boltdb/v2", fast: true},
	{dir: "containerd", pkg: "github.com/containerd/containerd/v2/core/metadata", fast: true},
	{dir: "containerd", pkg: "github.com/containerd/containerd/v2/core/snapshots/storage", fast: true},
	{dir: "containerd", pkg: "github.com/containerd/containerd/v2/core/mount/manager", fast: true},
	{dir: "buildkit", pkg: "github.com/moby/buildkit/solver/bboltcachestorage", fast: true},
	{dir: "buildkit", pkg: "github.com/moby/buildkit/cache/metadata", fast: true},
	{dir: "etcd", pkg: "go.etcd.io/etcd/server/v3/storage/backend", fast: true},
	{dir: "etcd", pkg: "go.etcd.io/etcd/server/v3/storage/schema", fast: true},
	{dir: "etcd", pkg: "go.etcd.io/etcd/server/v3/storage/mvcc"},
	{dir: "etcd", pkg: "go.etcd.io/etcd/server/v3/lease"},
	{dir: "etcd", pkg: "go.etcd.io/etcd/server/v3/auth", apart: true, args: []string{"-skip=JWT"}},
	{dir: "etcd", pkg: "go.etcd.io/etcd/server/v3/etcdserver"},
	{dir: "etcd", pkg: "go.etcd.io/etcd/server/v3/etcdserver/api/membership", apart: true},
	{dir: "etcd", pkg: "go.etcd.io/etcd/tests/v3/common", args: []string{"-tags=integration"}},
	{dir: "raftwal", pkg: "github.com/hashicorp/raft-wal"},
	{dir: "raftwal", pkg: "github.com/hashicorp/raft-wal/metadb"},
	{dir: "bleve", pkg: "github.com/blevesearch/bleve/v2/index/upsidedown/store/boltdb"},
	{dir: "bleve", pkg: "github.com/blevesearch/bleve/v2/index/scorch"},
	{dir: "rclone", pkg: "github.com/rclone/rclone/lib/kv"},
}
