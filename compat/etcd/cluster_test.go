package etcd_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// patience is how long anything may take on a loaded machine.
const patience = 2 * time.Minute

// member is one etcd process of a cluster.
type member struct {
	name           string
	program        string
	dir            string // data
	client, peer   string // URLs
	cluster, state string // flags of the first start
	cmd            *exec.Cmd
	ended          chan struct{} // closed when the process is gone
}

// cluster is three members on loopback.
type cluster struct {
	t       *testing.T
	members []*member
}

// newCluster makes members that have not been started.
func newCluster(t *testing.T, program string) *cluster {
	t.Helper()
	c := &cluster{t: t}
	var peers []string
	for i, port := range freePorts(t, 6) {
		if i%2 == 0 {
			name := fmt.Sprintf("node%d", i/2)
			c.members = append(c.members, &member{
				name: name, program: program, dir: filepath.Join(t.TempDir(), name), state: "new",
				client: fmt.Sprintf("http://127.0.0.1:%d", port),
			})
			continue
		}
		m := c.members[i/2]
		m.peer = fmt.Sprintf("http://127.0.0.1:%d", port)
		peers = append(peers, m.name+"="+m.peer)
	}
	for _, m := range c.members {
		m.cluster = strings.Join(peers, ",")
	}
	t.Cleanup(func() {
		for _, m := range c.members {
			c.kill(m)
		}
	})
	return c
}

// freePorts returns ports that nobody listens on just now.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// start starts the process; wait until it serves with ready.
func (c *cluster) start(m *member, flags ...string) {
	c.t.Helper()
	log, err := os.OpenFile(m.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	m.cmd = exec.Command(m.program, append([]string{
		"--name", m.name, "--data-dir", m.dir,
		"--listen-client-urls", m.client, "--advertise-client-urls", m.client,
		"--listen-peer-urls", m.peer, "--initial-advertise-peer-urls", m.peer,
		"--initial-cluster", m.cluster, "--initial-cluster-state", m.state, "--initial-cluster-token", "lightning",
		"--snapshot-count", "1000", "--log-level", "warn",
	}, flags...)...)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	if err := m.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan struct{})
	m.ended = ended
	go func(cmd *exec.Cmd) {
		defer close(ended)
		if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
			fmt.Fprintf(os.Stderr, "%s ended by itself: %v\n", m.name, err)
		}
	}(m.cmd)
}

// kill ends the process at once, as kill -9 does.
func (c *cluster) kill(m *member) {
	if m.cmd == nil {
		return
	}
	if err := m.cmd.Process.Kill(); err != nil && err != os.ErrProcessDone {
		c.t.Error(err)
	}
	<-m.ended
	m.cmd = nil
	if c.t.Failed() {
		if log, err := os.ReadFile(m.dir + ".log"); err == nil {
			c.t.Logf("%s:\n%s", m.name, log[max(0, len(log)-4000):])
		}
	}
}

func (c *cluster) startAll() {
	c.t.Helper()
	for _, m := range c.members {
		c.start(m)
	}
	for _, m := range c.members {
		c.ready(m)
	}
}

// ready waits until the member answers from a quorum.
func (c *cluster) ready(m *member) {
	c.t.Helper()
	client := c.dial(m)
	c.eventually("answers from "+m.name, func(ctx context.Context) error {
		_, err := client.Get(ctx, "no such key")
		return err
	})
}

// dial returns a client of the members, of all if none is named.
func (c *cluster) dial(members ...*member) *clientv3.Client {
	c.t.Helper()
	if len(members) == 0 {
		members = c.members
	}
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, m.client)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: patience, Logger: zap.NewNop()})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := client.Close(); err != nil && err != context.Canceled {
			c.t.Error(err)
		}
	})
	return client
}

// eventually tries until there is no error.
func (c *cluster) eventually(what string, try func(context.Context) error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for {
		once, stop := context.WithTimeout(ctx, 5*time.Second)
		err := try(once)
		stop()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("%s: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// leader returns the member that leads.
func (c *cluster) leader() (leader *member) {
	c.t.Helper()
	c.eventually("a leader", func(ctx context.Context) error {
		for _, m := range c.members {
			if m.cmd == nil {
				continue
			}
			client, err := clientv3.New(clientv3.Config{Endpoints: []string{m.client}, Logger: zap.NewNop()})
			if err != nil {
				return err
			}
			status, err := client.Status(ctx, m.client)
			if err == nil && status.Header.MemberId == status.Leader {
				leader = m
			}
			if err := client.Close(); err != nil {
				return err
			}
		}
		if leader == nil {
			return fmt.Errorf("no member says that it leads")
		}
		return nil
	})
	return leader
}

// sameHash waits until all members have the same revision, and compares their
// hashes of all keys and values.
func (c *cluster) sameHash(client *clientv3.Client) {
	c.t.Helper()
	c.eventually("equal hashes", func(ctx context.Context) error {
		now, err := client.Get(ctx, "no such key")
		if err != nil {
			return err
		}
		var want *clientv3.HashKVResponse
		for _, m := range c.members {
			got, err := client.HashKV(ctx, m.client, now.Header.Revision)
			if err != nil {
				return err
			}
			if want == nil {
				want = got
			}
			if got.Hash != want.Hash || got.CompactRevision != want.CompactRevision {
				return fmt.Errorf("at revision %d %s has hash %d compacted at %d, %s %d at %d", now.Header.Revision,
					m.name, got.Hash, got.CompactRevision, c.members[0].name, want.Hash, want.CompactRevision)
			}
		}
		return nil
	})
}
