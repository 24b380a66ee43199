// Package etcd runs the etcd server on Lightning DB: the program in server/ is
// etcd itself, built with bbolt replaced, and the tests put a cluster of three of
// them through what operators do with etcd, and measure it beside the same
// program on bbolt. docs/SCALE.md has the commands and the figures.
package etcd
