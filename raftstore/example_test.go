package raftstore_test

import (
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/raftstore"
)

// A cluster of one node. More nodes differ in the transport, raft.NewTCPTransport,
// and in the list of servers.
func Example() {
	dir, err := os.MkdirTemp("", "raftstore")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	// README begin
	store, err := raftstore.Open(filepath.Join(dir, "raft.ldb"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	// raft's log is durable, so the database need not be with each command.
	fsm, err := raftstore.OpenFSM(filepath.Join(dir, "data.ldb"), &raftstore.FSMOptions{
		DB: &lightning.Options{Durability: lightning.Periodic(time.Second)},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer fsm.Close()
	snapshots, err := raft.NewFileSnapshotStore(dir, 2, io.Discard)
	if err != nil {
		log.Fatal(err)
	}

	config := raft.DefaultConfig()
	config.LocalID = "node1"
	config.LogOutput = io.Discard
	config.NoSnapshotRestoreOnStart = true               // start from data.ldb as it is,
	if err := fsm.RestoreNewest(snapshots); err != nil { // unless it is behind
		log.Fatal(err)
	}
	address, transport := raft.NewInmemTransport("")
	node, err := raft.NewRaft(config, fsm, store, store, snapshots, transport)
	if err != nil {
		log.Fatal(err)
	}
	defer node.Shutdown()
	servers := []raft.Server{{ID: config.LocalID, Address: address}}
	if err := node.BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
		log.Fatal(err)
	}
	<-node.LeaderCh()

	users := raftstore.Path{"users"}
	var b raftstore.Batch
	b.CreateBucketIfNotExists(users)
	b.Put(users, []byte("alice"), []byte("admin"))
	if err := raftstore.Apply(node, &b, time.Second); err != nil {
		log.Fatal(err)
	}

	// What Update would do with what it reads, a batch does with what it expects:
	// if another was faster it fails with ErrExpectation, and one reads again.
	var role []byte
	err = fsm.View(func(tx *lightning.Tx) error {
		role = append(role, tx.Bucket([]byte("users")).Get([]byte("alice"))...)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	var change raftstore.Batch
	change.Expect(users, []byte("alice"), role)
	change.Put(users, []byte("alice"), append(role, ", owner"...))
	fmt.Println(raftstore.Apply(node, &change, time.Second))
	fmt.Println(raftstore.Apply(node, &change, time.Second))
	// README end

	// Output:
	// <nil>
	// operation 0 (expect): key does not have the expected value
}

// TestReadme holds the code in README.md to Example.
func TestReadme(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, found := strings.Cut(string(source), "\t// README begin\n")
	code, _, ended := strings.Cut(code, "\t// README end\n")
	if !found || !ended {
		t.Fatal("marks not found")
	}
	lines := strings.Split(code, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, "\t")
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := "```go\n" + strings.Join(lines, "\n") + "```\n"; !strings.Contains(string(readme), want) {
		t.Errorf("README.md lacks the code of Example:\n%s", want)
	}
}
