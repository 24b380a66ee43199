package etcd_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lightning-db/lightning"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestExport moves a database into a cluster with lightning-cli and reads all of it
// through etcd's client, also after the member that took it was killed.
func TestExport(t *testing.T) {
	tool := filepath.Join(scratch, "lightning-cli")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", tool, "./cmd/lightning-cli")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	path := filepath.Join(t.TempDir(), "app.ldb")
	db, err := lightning.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	if err := db.Update(func(tx *lightning.Tx) error {
		users, err := tx.CreateBucket([]byte("users"))
		if err != nil {
			return err
		}
		nested, err := users.CreateBucket([]byte("by/name"))
		if err != nil {
			return err
		}
		for i := range 1000 {
			key, value := fmt.Sprintf("%03d\xff\x00", i), strings.Repeat("\x00\xfe", i)
			if err := users.Put([]byte(key), []byte(value)); err != nil {
				return err
			}
			want["app/users/"+key] = value
			if err := nested.Put([]byte(key), nil); err != nil {
				return err
			}
			want["app/users/by%2Fname/"+key] = ""
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	c, client := running(t)
	export := func(more ...string) (string, error) {
		members := c.members[2].client + "," + c.members[0].client
		out, err := exec.CommandContext(t.Context(), tool, append([]string{"export", path, "--to-etcd", members, "--etcd-prefix", "app/"}, more...)...).CombinedOutput()
		return string(out), err
	}
	if out, err := export(); err != nil || !strings.Contains(out, "keys 2000, buckets 2") {
		t.Fatalf("export: %v\n%s", err, out)
	}
	c.kill(c.members[2])
	if out, err := export(); err == nil || !strings.Contains(out, "--etcd-overwrite") {
		t.Fatalf("export over existing keys: %v\n%s", err, out)
	}
	if out, err := export("--etcd-overwrite"); err != nil {
		t.Fatalf("export again: %v\n%s", err, out)
	}
	r, err := client.Get(t.Context(), "", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range r.Kvs {
		if value, ok := want[string(kv.Key)]; !ok || value != string(kv.Value) {
			t.Errorf("%q: %q, want %q", kv.Key, kv.Value, value)
		}
		delete(want, string(kv.Key))
	}
	if len(want) > 0 {
		t.Errorf("%d keys are missing", len(want))
	}
}
