package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	snapshots "go.etcd.io/etcd/client/v3/snapshot"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// running starts a cluster on Lightning DB.
func running(t *testing.T) (*cluster, *clientv3.Client) {
	t.Helper()
	program, err := onLightning()
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, program)
	c.startAll()
	return c, c.dial()
}

func put(t *testing.T, client *clientv3.Client, key, value string, o ...clientv3.OpOption) *clientv3.PutResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := client.Put(ctx, key, value, o...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantValue gets the key; "" stands for none.
func wantValue(t *testing.T, client *clientv3.Client, key, want string, o ...clientv3.OpOption) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := client.Get(ctx, key, o...)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	if len(r.Kvs) > 0 {
		got = string(r.Kvs[0].Value)
	}
	if got != want {
		t.Errorf("%s: got %q, want %q", key, got, want)
	}
}

// TestCluster_Operations does what clients and operators do.
func TestCluster_Operations(t *testing.T) {
	c, client := running(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()

	watch := client.Watch(ctx, "watched/", clientv3.WithPrefix())
	first := put(t, client, "watched/a", "1").Header.Revision
	put(t, client, "watched/a", "2")
	if _, err := client.Delete(ctx, "watched/a"); err != nil {
		t.Fatal(err)
	}
	var seen []string
	for len(seen) < 3 {
		r, ok := <-watch
		if !ok || r.Err() != nil {
			t.Fatalf("watch: %v", r.Err())
		}
		for _, e := range r.Events {
			seen = append(seen, e.Type.String()+string(e.Kv.Value))
		}
	}
	if got := strings.Join(seen, " "); got != "PUT1 PUT2 DELETE" {
		t.Errorf("watched %q", got)
	}
	wantValue(t, client, "watched/a", "1", clientv3.WithRev(first))

	swap := func(old, new string) bool {
		r, err := client.Txn(ctx).If(clientv3.Compare(clientv3.Value("txn"), "=", old)).Then(clientv3.OpPut("txn", new)).Commit()
		if err != nil {
			t.Fatal(err)
		}
		return r.Succeeded
	}
	put(t, client, "txn", "a")
	if !swap("a", "b") || swap("a", "c") {
		t.Error("compare and swap went wrong")
	}
	wantValue(t, client, "txn", "b")

	lease, err := client.Grant(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := client.Grant(ctx, 3600)
	if err != nil {
		t.Fatal(err)
	}
	put(t, client, "leased", "short", clientv3.WithLease(lease.ID))
	put(t, client, "kept", "long", clientv3.WithLease(kept.ID))
	c.eventually("the lease ends", func(ctx context.Context) error {
		r, err := client.Get(ctx, "leased")
		if err == nil && len(r.Kvs) > 0 {
			err = errors.New("the key is still there")
		}
		return err
	})
	wantValue(t, client, "kept", "long")

	var last int64
	for i := range 2000 {
		last = put(t, client, fmt.Sprintf("fill/%d", i%100), strings.Repeat("v", 1000)).Header.Revision
	}
	if _, err := client.Compact(ctx, last, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(ctx, "watched/a", clientv3.WithRev(first)); err == nil {
		t.Error("a compacted revision can be read")
	}
	for _, m := range c.members {
		before, err := client.Status(ctx, m.client)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Defragment(ctx, m.client); err != nil {
			t.Fatal(err)
		}
		after, err := client.Status(ctx, m.client)
		if err != nil {
			t.Fatal(err)
		}
		if after.DbSize >= before.DbSize {
			t.Errorf("%s: defragmentation made %d bytes of %d", m.name, after.DbSize, before.DbSize)
		}
		c.ready(m)
	}
	c.sameHash(client)
	saveAndRestore(t, c)
}

// saveAndRestore saves a snapshot of a member and starts a new cluster from it.
func saveAndRestore(t *testing.T, c *cluster) {
	t.Helper()
	client := c.dial()
	put(t, client, "saved", "yes")
	file := filepath.Join(t.TempDir(), "snapshot.db")
	version, err := snapshots.SaveWithVersion(t.Context(), zap.NewNop(), clientv3.Config{Endpoints: []string{c.members[1].client}}, file)
	if err != nil || version == "" {
		t.Fatalf("save: version %q, %v", version, err)
	}
	put(t, client, "saved", "no, later")
	status, err := snapshot.NewV3(zap.NewNop()).Status(file)
	if err != nil {
		t.Fatal(err)
	}
	if status.TotalKey == 0 || status.TotalSize == 0 {
		t.Errorf("snapshot status: %+v", status)
	}

	restored := newCluster(t, c.members[0].program)
	for _, m := range restored.members {
		if err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
			SnapshotPath: file, Name: m.name, OutputDataDir: m.dir, PeerURLs: []string{m.peer},
			InitialCluster: m.cluster, InitialClusterToken: "lightning",
		}); err != nil {
			t.Fatal(err)
		}
	}
	restored.startAll()
	client = restored.dial()
	wantValue(t, client, "saved", "yes")
	wantValue(t, client, "kept", "long")
	put(t, client, "after", "restore")
	wantValue(t, client, "after", "restore")
	restored.sameHash(client)

	damaged := filepath.Join(t.TempDir(), "damaged.db")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(damaged, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: damaged, Name: "node0", OutputDataDir: filepath.Join(t.TempDir(), "node0"), PeerURLs: []string{restored.members[0].peer},
		InitialCluster: restored.members[0].cluster, InitialClusterToken: "lightning",
	}); err == nil {
		t.Error("a damaged snapshot was restored")
	}
}

// TestCluster_LeaderKilled kills the leader under load and lets it come back,
// again and again: what was acknowledged is on all members.
func TestCluster_LeaderKilled(t *testing.T) {
	c, client := running(t)
	const writers, kills = 8, 3
	var acked [writers]atomic.Int64 // keys of the writer that were acknowledged, with gaps
	var failed atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	missing := make([]map[int64]bool, writers)
	var load sync.WaitGroup
	for w := range writers {
		missing[w] = make(map[int64]bool)
		load.Go(func() {
			for n := int64(0); ctx.Err() == nil; n++ {
				once, cancel := context.WithTimeout(ctx, 3*time.Second)
				_, err := client.Put(once, fmt.Sprintf("load/%d/%d", w, n), fmt.Sprint("value ", n))
				cancel()
				if err != nil { // done or not, nobody was told
					missing[w][n] = true
					failed.Add(1)
				}
				acked[w].Store(n + 1)
			}
		})
	}
	total := func() (sum int64) {
		for w := range writers {
			sum += acked[w].Load()
		}
		return sum - failed.Load()
	}
	more := func(what string) {
		t.Helper()
		want := total() + 500
		c.eventually(what, func(context.Context) error {
			if got := total(); got < want {
				return fmt.Errorf("%d writes, waiting for %d", got, want)
			}
			return nil
		})
	}
	for range kills {
		more("writes with three members")
		killed := c.leader()
		c.kill(killed)
		more("writes with two members")
		c.start(killed)
		c.ready(killed)
	}
	more("writes with three members")
	stop()
	load.Wait()
	c.sameHash(client)
	checked := 0
	for w := range writers {
		r, err := client.Get(t.Context(), fmt.Sprintf("load/%d/", w), clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]string, len(r.Kvs))
		for _, kv := range r.Kvs {
			got[string(kv.Key)] = string(kv.Value)
		}
		for n := range acked[w].Load() {
			if missing[w][n] {
				continue
			}
			checked++
			if key := fmt.Sprintf("load/%d/%d", w, n); got[key] != fmt.Sprint("value ", n) {
				t.Errorf("%s was acknowledged and is %q", key, got[key])
			}
		}
	}
	t.Logf("%d writes acknowledged and found, %d without an answer, %d kills of the leader", checked, failed.Load(), kills)
}
