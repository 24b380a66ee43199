package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBackup_ThereAndBack(t *testing.T) {
	db := newDB(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	fill(t, db, "users", "alice", "1", "bob", "2")
	cli(t, exitOK, "backup", db, at("full"))
	fill(t, db, "users", "carol", "3")
	out, _ := cli(t, exitOK, "backup", db, at("inc1"), "--since", at("full"), "-o", "json")
	inc := decodeJSON[partSummary](t, out)
	if inc.Kind != "increment" || inc.Since == nil || inc.Path != at("inc1") || len(inc.Digest) != 64 {
		t.Errorf("summary of the increment: %s", out)
	}
	cli(t, exitOK, "delete", db, "users", "alice")
	cli(t, exitOK, "backup", db, at("inc2"), "--since", at("inc1"), "--quiet")

	out, _ = cli(t, exitOK, "verify-backup", at("full"), at("inc1"), at("inc2"))
	wantEqual(t, "good states", strings.Count(out, ": good, transaction "), 3)
	cli(t, exitOK, "restore", at("monday.db"), at("full"))
	cli(t, exitOK, "restore", at("tuesday.db"), at("full"), at("inc1"))
	cli(t, exitOK, "restore", at("wednesday.db"), at("full"), at("inc1"), at("inc2"))
	for name, want := range map[string]string{"monday.db": "alice bob", "tuesday.db": "alice bob carol", "wednesday.db": "bob carol"} {
		cli(t, exitOK, "check", at(name))
		out, _ := cli(t, exitOK, "scan", at(name), "users")
		var keys []string
		for line := range strings.Lines(out) {
			keys = append(keys, strings.Fields(line)[0])
		}
		wantEqual(t, name, strings.Join(keys, " "), want)
	}
}

func TestBackup_Refuses(t *testing.T) {
	db := newDB(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	fill(t, db, "users", "alice", "1")
	cli(t, exitOK, "backup", db, at("full"))
	fill(t, db, "users", "bob", "2")
	cli(t, exitOK, "backup", db, at("inc"), "--since", at("full"))
	if err := os.WriteFile(at("other"), []byte("nothing of ours"), 0o600); err != nil {
		t.Fatal(err)
	}

	cli(t, exitGeneral, "backup", db, at("full"))
	cli(t, exitGeneral, "restore", db, at("full"))
	cli(t, exitUsage, "backup", db)
	cli(t, exitUsage, "backup", db, "-", "--since", at("full"))
	cli(t, exitNotDatabase, "backup", db, at("new"), "--since", at("other"))
	cli(t, exitNotDatabase, "verify-backup", at("other"))
	cli(t, exitNotDatabase, "check", at("inc"))
	cli(t, exitCorrupt, "verify-backup", at("inc"))
	cli(t, exitCorrupt, "restore", at("new"), at("full"), at("inc"), at("inc"))
	cli(t, exitCorrupt, "backup", newDB(t), at("new"), "--since", at("full"))

	b, err := os.ReadFile(at("inc"))
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-100] ^= 1
	if err := os.WriteFile(at("inc"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr := cli(t, exitCorrupt, "restore", at("new"), at("full"), at("inc"))
	if !strings.Contains(stderr, at("inc")) {
		t.Errorf("the damaged part is not named: %s", stderr)
	}
	out, _ := cli(t, exitCorrupt, "verify-backup", at("full"), at("inc"), "-o", "json")
	if !strings.Contains(out, `"ok":false`) || !strings.Contains(out, at("full")) {
		t.Errorf("what is good is not told: %s", out)
	}
	if left, _ := filepath.Glob(at("new*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestBackup_ToStdout(t *testing.T) {
	db := newDB(t)
	fill(t, db, "users", "alice", "1")
	out, _ := cli(t, exitOK, "backup", db, "-")
	path := filepath.Join(t.TempDir(), "stream")
	if err := os.WriteFile(path, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	cli(t, exitOK, "verify-backup", path)
	got, _ := cli(t, exitOK, "get", path, "users", "alice")
	if !bytes.Equal(bytes.TrimSpace([]byte(got)), []byte("1")) {
		t.Errorf("got %q", got)
	}
}
