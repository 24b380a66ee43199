package raftstore

import (
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lightning-db/lightning"
)

// node is one member of a cluster on loopback, with its files in dir.
type node struct {
	id, dir string
	address raft.ServerAddress

	store     *Store
	fsm       *FSM
	snapshots *raft.FileSnapshotStore
	transport *raft.NetworkTransport
	raft      *raft.Raft
	restores  atomic.Int32
}

// open opens the node's files and its port, the same one as before.
func (n *node) open(t *testing.T) {
	t.Helper()
	var err error
	n.store, err = Open(filepath.Join(n.dir, "raft.ldb"), nil)
	must(t, err)
	n.fsm, err = OpenFSM(filepath.Join(n.dir, "data.ldb"), &FSMOptions{DB: &lightning.Options{Durability: lightning.Periodic(time.Second)}})
	must(t, err)
	n.fsm.stage = func(stage string) {
		if stage == "renamed" {
			n.restores.Add(1)
		}
	}
	n.snapshots, err = raft.NewFileSnapshotStore(n.dir, 2, io.Discard)
	must(t, err)
	bind := string(n.address)
	if bind == "" {
		bind = "127.0.0.1:0"
	}
	n.transport, err = raft.NewTCPTransport(bind, nil, 3, 5*time.Second, io.Discard)
	must(t, err)
	n.address = n.transport.LocalAddr()
}

func (n *node) start(t *testing.T) {
	t.Helper()
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.id)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 300*time.Millisecond, 300*time.Millisecond, 200*time.Millisecond
	c.CommitTimeout = 5 * time.Millisecond
	c.SnapshotInterval, c.SnapshotThreshold, c.TrailingLogs = 100*time.Millisecond, 40, 10
	c.NoSnapshotRestoreOnStart = true
	c.LogOutput = io.Discard
	must(t, n.fsm.RestoreNewest(n.snapshots))
	var err error
	n.raft, err = raft.NewRaft(c, n.fsm, n.store, n.store, n.snapshots, n.transport)
	must(t, err)
}

// kill cuts the node off before anybody is told, then frees its files.
func (n *node) kill(t *testing.T) {
	t.Helper()
	must(t, n.transport.Close())
	must(t, n.raft.Shutdown().Error())
	must(t, n.fsm.Close())
	must(t, n.store.Close())
}

// await repeats until done, for a time that only a hang exceeds.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waiting for %s", what)
		}
	}
}

// members is the nodes that run.
type members struct {
	mu    sync.Mutex
	nodes []*node
}

func (m *members) leader() *node {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.nodes {
		if n.raft.State() == raft.Leader {
			return n
		}
	}
	return nil
}

func (m *members) set(nodes ...*node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes = nodes
}

// write puts numbered keys until stop is closed, each again until it is
// acknowledged, and returns how many were.
func (m *members) write(writer int, total *atomic.Int64, stop chan struct{}) (acked int) {
	for {
		select {
		case <-stop:
			return acked
		default:
		}
		n := m.leader()
		if n == nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		b := new(Batch)
		b.CreateBucketIfNotExists(users)
		b.Put(users, fmt.Appendf(nil, "writer %d key %06d", writer, acked), []byte("value"))
		if Apply(n.raft, b, time.Second) == nil {
			acked++
			total.Add(1)
		}
	}
}

// TestCluster_LeaderKilled kills the leader of three nodes under writers. The
// two that are left elect another and go on, truncating their logs behind
// snapshots; the third comes back by a snapshot. In the end every write that was
// acknowledged is on all three, and their contents are equal.
func TestCluster_LeaderKilled(t *testing.T) {
	var nodes []*node
	var config raft.Configuration
	for i := range 3 {
		n := &node{id: fmt.Sprint("node", i), dir: t.TempDir()}
		n.open(t)
		nodes = append(nodes, n)
		config.Servers = append(config.Servers, raft.Server{ID: raft.ServerID(n.id), Address: n.address})
	}
	t.Cleanup(func() {
		for _, n := range nodes {
			n.kill(t)
		}
	})
	for _, n := range nodes {
		n.start(t)
		must(t, n.raft.BootstrapCluster(config).Error())
	}
	m := &members{nodes: nodes}
	await(t, "a leader", func() bool { return m.leader() != nil })

	stop := make(chan struct{})
	var total atomic.Int64
	var acked [3]int
	var writers sync.WaitGroup
	for w := range acked {
		writers.Go(func() { acked[w] = m.write(w, &total, stop) })
	}
	await(t, "writes", func() bool { return total.Load() > 100 })
	dead := m.leader()
	for ; dead == nil; dead = m.leader() {
		time.Sleep(time.Millisecond)
	}
	var rest []*node
	for _, n := range nodes {
		if n != dead {
			rest = append(rest, n)
		}
	}
	m.set(rest...)
	dead.kill(t)
	before := total.Load()
	await(t, "writes without the first leader", func() bool { return total.Load() > before+200 })
	last, err := dead.lastIndex()
	must(t, err)
	for _, n := range rest {
		await(t, "truncation of the log", func() bool {
			first, err := n.store.FirstIndex()
			return err == nil && first > last+1
		})
	}
	dead.restores.Store(0)
	dead.open(t)
	dead.start(t)
	m.set(nodes...)
	await(t, "the first leader to come back", func() bool { return dead.restores.Load() > 0 && dead.fsm.AppliedIndex() > 0 })
	close(stop)
	writers.Wait()
	finish(t, m, nodes, acked[:])
	t.Logf("%d writes acknowledged, %d before the kill", total.Load(), before)
}

// gatedFSM waits before it applies.
type gatedFSM struct {
	*FSM
	gate chan struct{}
}

func (f gatedFSM) ApplyBatch(logs []*raft.Log) []any {
	<-f.gate
	return f.FSM.ApplyBatch(logs)
}

// TestApply_Shutdown shuts raft down while commands wait for the FSM. raft forgot
// some of them, and their callers waited for ever.
func TestApply_Shutdown(t *testing.T) {
	store := tempStore(t, nil)
	fsm := gatedFSM{tempFSM(t), make(chan struct{})}
	c := raft.DefaultConfig()
	c.LocalID = "one"
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	c.LogOutput = io.Discard
	address, transport := raft.NewInmemTransport("")
	r, err := raft.NewRaft(c, fsm, store, store, raft.NewInmemSnapshotStore(), transport)
	must(t, err)
	must(t, r.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{ID: "one", Address: address}}}).Error())
	<-r.LeaderCh()
	var callers sync.WaitGroup
	for range 20 {
		before := r.CommitIndex()
		callers.Go(func() {
			if err := Apply(r, putCommand("value"), 0); err != nil && err != raft.ErrRaftShutdown && err != raft.ErrLeadershipLost {
				t.Error(err)
			}
		})
		await(t, "a commit", func() bool { return r.CommitIndex() > before })
	}
	down := r.Shutdown()
	close(fsm.gate)
	callers.Wait()
	must(t, down.Error())
}

// lastIndex opens the log of a node that is down.
func (n *node) lastIndex() (uint64, error) {
	s, err := Open(filepath.Join(n.dir, "raft.ldb"), nil)
	if err != nil {
		return 0, err
	}
	last, err := s.LastIndex()
	if err != nil {
		return 0, err
	}
	return last, s.Close()
}

// finish waits until all nodes have applied all, and compares them.
func finish(t *testing.T, m *members, nodes []*node, acked []int) {
	t.Helper()
	var want string // by the leader, when it has applied everything
	await(t, "a barrier", func() bool {
		n := m.leader()
		if n == nil || n.raft.Barrier(time.Second).Error() != nil {
			return false
		}
		want = dump(t, n.fsm)
		return true
	})
	for _, n := range nodes {
		await(t, n.id+" to catch up", func() bool { return dump(t, n.fsm) == want })
		must(t, n.fsm.View(func(tx *lightning.Tx) error {
			b := tx.Bucket([]byte("users"))
			for w, count := range acked {
				for i := range count {
					if b.Get(fmt.Appendf(nil, "writer %d key %06d", w, i)) == nil {
						t.Fatalf("%s lacks write %d of writer %d, which was acknowledged", n.id, i, w)
					}
				}
			}
			return nil
		}))
		must(t, checkDB(n.fsm.db.Load()))
		must(t, checkDB(n.store.db))
	}
	if len(acked) != 3 || acked[0] == 0 {
		t.Errorf("acknowledged %v", acked)
	}
}
