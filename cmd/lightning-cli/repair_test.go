package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRepair(t *testing.T) {
	db := newDB(t)
	at := func(name string) string { return filepath.Join(filepath.Dir(db), name) }
	fill(t, db, "users", "alice", "1", "bob", "2")
	cli(t, exitOK, "backup", db, at("full"))
	good, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	i := bytes.LastIndex(bad[2*4096:], []byte("alice"))
	if i < 0 {
		t.Fatal("no such page")
	}
	bad[2*4096+i] ^= 1
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(db, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(bad)
	cli(t, exitCorrupt, "check", db)
	cli(t, exitUsage, "repair", db)
	cli(t, exitGeneral, "repair", db, "--from", db+".not")
	out, _ := cli(t, exitOK, "repair", db, "--from", at("full"), "--dry-run")
	if !strings.Contains(out, "would be replaced from "+at("full")) {
		t.Errorf("dry run prints %s", out)
	}
	out, _ = cli(t, exitCorrupt, "repair", db, "--dry-run")
	if !strings.Contains(out, "NOT REPAIRED") {
		t.Errorf("without a copy: %s", out)
	}
	out, _ = cli(t, exitOK, "repair", db, "--from", at("full"), "-o", "json")
	if s := decodeJSON[repairSummary](t, out); len(s.Damaged) != 1 || s.Damaged[0].From != at("full") || s.Lost != 0 {
		t.Errorf("report: %s", out)
	}
	if b, err := os.ReadFile(db); err != nil || !bytes.Equal(b, good) {
		t.Errorf("the file is not as it was, %v", err)
	}
	cli(t, exitOK, "check", db)
	out, _ = cli(t, exitOK, "repair", db, "--from", at("full"))
	if !strings.Contains(out, "damaged 0") {
		t.Errorf("a whole database: %s", out)
	}
	write(make([]byte, 8192))
	cli(t, exitNotDatabase, "repair", db, "--from", at("full"))
	write(good)
}
