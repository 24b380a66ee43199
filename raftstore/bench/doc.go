// Package bench holds benchmarks of raftstore beside raft-boltdb and raft-wal,
// by the functions of github.com/hashicorp/raft/bench. It is a module of its own
// so that programs that use raftstore do not depend on the others.
//
//	go test -bench . -count 5
package bench
