package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	lightning "github.com/lightning-db/lightning"
	"go.etcd.io/bbolt"
)

// newBolt makes a bbolt file with a few buckets.
func newBolt(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "old.bolt")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		users, err := tx.CreateBucket([]byte("users"))
		if err != nil {
			return err
		}
		for i := range 500 {
			if err := users.Put(fmt.Appendf(nil, "user %03d", i), bytes.Repeat([]byte("v"), i)); err != nil {
				return err
			}
		}
		if err := users.SetSequence(500); err != nil {
			return err
		}
		_, err = users.CreateBucket([]byte("empty"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMigrate_ThereAndBack(t *testing.T) {
	src := newBolt(t)
	dir := filepath.Dir(src)
	db, back := filepath.Join(dir, "new.ldb"), filepath.Join(dir, "back.bolt")
	out, _ := cli(t, exitOK, "migrate", src, db, "--dry-run", "-o", "json")
	dry := decodeJSON[migrateSummary](t, out)
	if !dry.DryRun || dry.Verified || dry.Keys != 500 {
		t.Errorf("dry run: %+v", dry)
	}
	if _, err := os.Stat(db); err == nil {
		t.Fatal("a dry run wrote the destination")
	}
	out, _ = cli(t, exitOK, "migrate", src, db, "--dry-run")
	if !strings.Contains(out, "nothing was written") {
		t.Errorf("dry run: %q", out)
	}
	out, _ = cli(t, exitOK, "migrate", src, db, "--page-size", "8K", "--to", "lightning", "-o", "json")
	sum := decodeJSON[migrateSummary](t, out)
	if sum.Buckets != 2 || sum.Keys != 500 || sum.Resumed || !sum.Verified || sum.From != "bolt" || sum.To != "lightning" {
		t.Errorf("summary: %s", out)
	}
	checkSound(t, db)
	out, _ = cli(t, exitOK, "get", db, "users", "user 007")
	wantEqual(t, "value", out, "vvvvvvv\n")
	out, errs := cli(t, exitOK, "migrate", db, back)
	if !strings.Contains(out, "verified true") || errs != "" {
		t.Errorf("back: %q, %q", out, errs)
	}
	for _, path := range []string{src, back} {
		handle, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		err = handle.View(func(tx *bbolt.Tx) error {
			users := tx.Bucket([]byte("users"))
			wantEqual(t, "sequence", users.Sequence(), 500)
			wantEqual(t, "empty bucket", users.Bucket([]byte("empty")) != nil, true)
			wantEqual(t, "value", string(users.Get([]byte("user 003"))), "vvv")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := handle.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMigrate_ExitCodes(t *testing.T) {
	src := newBolt(t)
	dir := filepath.Dir(src)
	dst := filepath.Join(dir, "new.ldb")
	image, err := os.ReadFile(src)
	if err != nil {
		t.Fatal(err)
	}
	short, text := filepath.Join(dir, "short"), filepath.Join(dir, "text")
	writeTestFile(t, short, image[:len(image)/2], 0o600)
	writeTestFile(t, text, bytes.Repeat([]byte("text "), 4000), 0o600)
	for _, c := range []struct {
		want int
		args []string
		says string
	}{
		{exitUsage, []string{src}, "usage"},
		{exitUsage, []string{src, src}, "same file"},
		{exitUsage, []string{src, dst, "--to", "mysql"}, "mysql"},
		{exitUsage, []string{src, dst, "--to", "bolt"}, "already"},
		{exitUsage, []string{src, dst, "--page-size", "5K"}, "power of two"},
		{exitGeneral, []string{src + ".no", dst}, "no such file"},
		{exitGeneral, []string{src, text}, "exist"},
		{exitGeneral, []string{src, filepath.Join(dir, "no", "dir")}, "no such file"},
		{exitCorrupt, []string{short, dst}, "cut short"},
		{exitNotDatabase, []string{text, dst}, "neither a bbolt nor a Lightning DB file"},
	} {
		_, errs := cli(t, c.want, append([]string{"migrate"}, c.args...)...)
		if !strings.Contains(errs, c.says) {
			t.Errorf("%q: %q does not say %q", c.args, errs, c.says)
		}
	}
	writer, err := bbolt.Open(src, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, errs := cli(t, exitLocked, "migrate", src, dst, "--timeout", "60ms", "-o", "json")
	wantEqual(t, "kind", decodeJSON[errorReport](t, errs).Error.Kind, "locked")
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	wantEqual(t, "interrupted", runContext(ctx, []string{"migrate", src, dst}, strings.NewReader(""), io.Discard, io.Discard), exitInterrupted)
	if left, err := filepath.Glob(dst + "*"); err != nil || len(left) != 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	cli(t, exitOK, "migrate", src, dst, "--quiet")
}

func TestMigrate_IntegrityKey(t *testing.T) {
	src := newBolt(t)
	dir := filepath.Dir(src)
	db, key := filepath.Join(dir, "new.ldb"), filepath.Join(dir, "key")
	writeTestFile(t, key, []byte("0123456789abcdef"), 0o600)
	cli(t, exitOK, "migrate", src, db, "--integrity-key-file", key)
	cli(t, exitNotDatabase, "migrate", db, filepath.Join(dir, "back.bolt"))
	cli(t, exitOK, "migrate", db, filepath.Join(dir, "back.bolt"), "--integrity-key-file", key)
}

func TestMigrate_RootSequence(t *testing.T) {
	db := newDB(t)
	handle, err := lightning.Open(db, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := handle.Update(func(tx *lightning.Tx) error { return rootBucket(tx).SetSequence(42) }); err != nil {
		t.Fatal(err)
	}
	if err := handle.Close(); err != nil {
		t.Fatal(err)
	}
	_, errs := cli(t, exitOK, "migrate", db, db+".bolt")
	if !strings.Contains(errs, "warning") || !strings.Contains(errs, "42") {
		t.Errorf("stderr: %q", errs)
	}
}
