package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestProof_ThereAndNotThere(t *testing.T) {
	db := newDB(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	fill(t, db, "users/eu", "alice", "admin", "bob", "guest")
	out, _ := cli(t, exitOK, "prove", db, "users/eu", "alice", "--out", at("alice"))
	digest := strings.TrimSpace(out)
	cli(t, exitOK, "prove", db, "users/eu", "carol", "--out", at("carol"))
	cli(t, exitOK, "prove", db, "users/us", "alice", "--out", at("us"), "-o", "json")

	out, _ = cli(t, exitOK, "verify-proof", at("alice"), "--digest", digest)
	wantEqual(t, "value", out, "admin\n")
	out, _ = cli(t, exitOK, "verify-proof", at("alice"), "--digest", digest, "-o", "json")
	said := decodeJSON[map[string]any](t, out)
	if said["bucket"] != "users/eu" || said["key"] != "alice" || said["value"] != "admin" || said["found"] != true {
		t.Errorf("said: %s", out)
	}
	for _, absent := range []string{"carol", "us"} {
		_, stderr := cli(t, exitNotFound, "verify-proof", at(absent), "--digest", digest)
		if !strings.Contains(stderr, "proved") {
			t.Errorf("%s: %s", absent, stderr)
		}
	}

	cli(t, exitNotFound, "prove", db, "users", "eu", "--out", at("bucket"))
	cli(t, exitUsage, "prove", db, "users/eu", "alice")
	cli(t, exitGeneral, "prove", db, "users/eu", "alice", "--out", at("alice"))
	cli(t, exitUsage, "verify-proof", at("alice"), "--digest", "12")
	cli(t, exitCorrupt, "verify-proof", at("alice"), "--digest", strings.Repeat("0", 64))
	cli(t, exitCorrupt, "verify-proof", dir, "--digest", digest)
	b, err := os.ReadFile(at("alice"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("forged"), []byte(strings.Replace(string(b), "admin", "guest", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	cli(t, exitCorrupt, "verify-proof", at("forged"), "--digest", digest)
}
