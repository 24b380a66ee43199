package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestDiff_ListsWhatChanged(t *testing.T) {
	db := newDB(t)
	old := filepath.Join(t.TempDir(), "old")
	fill(t, db, "users/eu", "alice", "1", "bob", "2", "carol", "3")
	cli(t, exitOK, "backup", db, old)
	out, _ := cli(t, exitOK, "diff", old, db)
	wantEqual(t, "nothing changed", out, "")
	cli(t, exitOK, "put", db, "users/eu", "bob", "two")
	cli(t, exitOK, "delete", db, "users/eu", "carol")
	fill(t, db, "users/us", "dave", "4")

	out, _ = cli(t, exitOK, "diff", old, db)
	wantEqual(t, "text", out, "~ users/eu/bob\n- users/eu/carol\n+ users/us/\n+ users/us/dave\n")
	out, _ = cli(t, exitOK, "diff", db, old, "--values")
	if !strings.Contains(out, "~ users/eu/bob\n    old two\n    new 2\n+ users/eu/carol\n    new 3\n- users/us/\n") {
		t.Errorf("the other way round: %s", out)
	}
	out, _ = cli(t, exitOK, "diff", old, db, "-o", "json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 4 {
		t.Fatalf("json: %s", out)
	}
	changed, bucket := decodeJSON[difference](t, lines[0]), decodeJSON[difference](t, lines[2])
	if changed.Change != "changed" || changed.Bucket != "users/eu" || changed.Key != "bob" || *changed.Old != "2" || *changed.New != "two" {
		t.Errorf("changed: %s", lines[0])
	}
	if bucket.Change != "added" || bucket.Kind != "bucket" || bucket.Key != "us" || bucket.New != nil {
		t.Errorf("bucket: %s", lines[2])
	}
	cli(t, exitGeneral, "diff", old, db+".none")
	cli(t, exitUsage, "diff", old)
}
