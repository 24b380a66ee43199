// Command example is one node of a replicated key-value store. Three terminals
// make a cluster:
//
//	go run ./example -id 1 -dir /tmp/node1
//	go run ./example -id 2 -dir /tmp/node2
//	go run ./example -id 3 -dir /tmp/node3
//
// Type "put KEY VALUE" or "delete KEY" at the leader, "get KEY" and "state" at
// any. Kill the leader, and another takes over; start it again, and it catches
// up.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/raftstore"
)

var data = raftstore.Path{"data"}

func main() {
	id := flag.Int("id", 1, "number of this node, from 1")
	dir := flag.String("dir", "", "directory of this node's files")
	peers := flag.String("peers", "127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003", "addresses of all nodes, by number")
	flag.Parse()
	addresses := strings.Split(*peers, ",")
	if *dir == "" || *id < 1 || *id > len(addresses) {
		fmt.Fprintln(os.Stderr, "example: -dir and an -id of one of the peers are needed")
		os.Exit(2)
	}
	if err := run(*id, *dir, addresses); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

func run(id int, dir string, addresses []string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	store, err := raftstore.Open(filepath.Join(dir, "raft.ldb"), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	fsm, err := raftstore.OpenFSM(filepath.Join(dir, "data.ldb"), &raftstore.FSMOptions{
		DB:        &lightning.Options{Durability: lightning.Periodic(time.Second)},
		OnFailure: func(err error) { fmt.Fprintln(os.Stderr, "example: this node is out of step:", err) },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fsm.Close()) }()
	node, err := join(id, dir, addresses, store, fsm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Shutdown().Error()) }()
	return serve(os.Stdin, os.Stdout, node, fsm)
}

// join starts raft. All nodes of a new cluster begin with the same list of
// servers; one that has a log already goes on from it.
func join(id int, dir string, addresses []string, store *raftstore.Store, fsm *raftstore.FSM) (*raft.Raft, error) {
	snapshots, err := raft.NewFileSnapshotStore(dir, 2, io.Discard)
	if err != nil {
		return nil, err
	}
	if err := fsm.RestoreNewest(snapshots); err != nil {
		return nil, err
	}
	transport, err := raft.NewTCPTransport(addresses[id-1], nil, 3, 10*time.Second, io.Discard)
	if err != nil {
		return nil, err
	}
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(fmt.Sprint(id))
	config.LogLevel = "WARN"
	config.NoSnapshotRestoreOnStart = true // RestoreNewest has seen to it
	node, err := raft.NewRaft(config, fsm, store, store, snapshots, transport)
	if err != nil {
		return nil, errors.Join(err, transport.Close())
	}
	var all raft.Configuration
	for i, address := range addresses {
		all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(fmt.Sprint(i + 1)), Address: raft.ServerAddress(address)})
	}
	if err := node.BootstrapCluster(all).Error(); err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return nil, errors.Join(err, node.Shutdown().Error())
	}
	return node, nil
}

// serve answers lines until in ends.
func serve(in io.Reader, out io.Writer, node *raft.Raft, fsm *raftstore.FSM) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		words := strings.SplitN(lines.Text(), " ", 3)
		answer, err := command(words, node, fsm)
		if err != nil {
			answer = err.Error()
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

func command(words []string, node *raft.Raft, fsm *raftstore.FSM) (answer string, err error) {
	var b raftstore.Batch
	b.CreateBucketIfNotExists(data)
	switch {
	case words[0] == "put" && len(words) == 3:
		b.Put(data, []byte(words[1]), []byte(words[2]))
		return "ok", raftstore.Apply(node, &b, 5*time.Second)
	case words[0] == "delete" && len(words) == 2:
		b.Delete(data, []byte(words[1]))
		return "ok", raftstore.Apply(node, &b, 5*time.Second)
	case words[0] == "get" && len(words) == 2:
		answer = "not found"
		err = fsm.View(func(tx *lightning.Tx) error {
			if bucket := tx.Bucket([]byte(data[0])); bucket != nil {
				if value := bucket.Get([]byte(words[1])); value != nil {
					answer = string(value)
				}
			}
			return nil
		})
		return answer, err
	case words[0] == "state" && len(words) == 1:
		address, leader := node.LeaderWithID()
		return fmt.Sprintf("%v, leader is %s at %s, applied %d", node.State(), leader, address, fsm.AppliedIndex()), nil
	}
	return "", errors.New("put KEY VALUE, delete KEY, get KEY or state")
}
