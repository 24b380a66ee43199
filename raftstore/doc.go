// Package raftstore replicates a Lightning DB database with
// github.com/hashicorp/raft.
//
// Store keeps what raft must not forget: the log and the vote. FSM is the
// replicated database itself: commands are Batches of changes, and every node
// applies the same ones in the same order. They live in two files, because
// restoring a snapshot replaces the whole file of the FSM.
//
//	store, err := raftstore.Open("raft.ldb", nil)
//	...
//	fsm, err := raftstore.OpenFSM("data.ldb", nil)
//	...
//	node, err := raft.NewRaft(config, fsm, store, store, snapshots, transport)
//	...
//	var b raftstore.Batch
//	b.CreateBucketIfNotExists(raftstore.Path{"users"})
//	b.Put(raftstore.Path{"users"}, []byte("alice"), []byte("admin"))
//	err = raftstore.Apply(node, &b, 5*time.Second)
//
// # Reading the source
//
// store.go is the log and the stable values, entry.go the layout of a log
// entry. batch.go is the layout of a command, execute.go what it does to a
// database. fsm.go applies commands, snapshot.go writes and restores snapshots.
// wire.go has the numbers and strings that both layouts are made of.
package raftstore
