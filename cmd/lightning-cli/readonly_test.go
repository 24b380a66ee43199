package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestSetReadOnly(t *testing.T) {
	db := newDB(t)
	fill(t, db, "users", "alice", "1")
	out, _ := cli(t, exitOK, "set-readonly", db, "true")
	wantEqual(t, "output", out, db+": read-only\n")
	_, stderr := cli(t, exitGeneral, "put", db, "users", "alice", "2")
	if !strings.Contains(stderr, "read-only") {
		t.Errorf("refusal: %s", stderr)
	}
	out, _ = cli(t, exitOK, "get", db, "users", "alice")
	wantEqual(t, "value", out, "1\n")
	copied := filepath.Join(t.TempDir(), "copy")
	cli(t, exitOK, "backup", db, copied)
	cli(t, exitGeneral, "put", copied, "users", "alice", "2")
	cli(t, exitOK, "set-readonly", db, "false", "-o", "json")
	cli(t, exitOK, "put", db, "users", "alice", "2")
	cli(t, exitUsage, "set-readonly", db, "maybe")
	cli(t, exitGeneral, "set-readonly", db+".none", "true")
}
