//go:build unix

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestImport_SpecialFilesAreLeftOut(t *testing.T) {
	tree, db := t.TempDir(), filepath.Join(t.TempDir(), "t.db")
	if err := syscall.Mkfifo(filepath.Join(tree, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, filepath.Join(tree, "file"), []byte("x"), 0o600)
	out, errs := cli(t, exitOK, "import", db, tree, "-o", "json")
	got := decodeJSON[importSummary](t, out)
	if got.Special != 1 || got.Files != 1 || !strings.Contains(errs, "fifo") {
		t.Errorf("got %+v, stderr %q", got, errs)
	}
}

// TestImport_UnreadableFile runs in a process without root's right to read
// everything.
func TestImport_UnreadableFile(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	tree, db := t.TempDir(), filepath.Join(t.TempDir(), "t.db")
	writeTestFile(t, filepath.Join(tree, "secret"), []byte("x"), 0)
	writeTestFile(t, filepath.Join(tree, "public"), []byte("x"), 0o600)
	_, errs := cli(t, exitGeneral, "import", db, tree)
	if !strings.Contains(errs, "secret") {
		t.Errorf("the file is not named in %q", errs)
	}
	got := importJSON(t, db, tree, "--skip-errors")
	wantEqual(t, "errors", got.Errors, 1)
}

// asNobody runs the test in a process of a user without privileges.
func asNobody(t *testing.T) {
	t.Helper()
	// Not t.TempDir, which only its owner may enter.
	dir, err := os.MkdirTemp("", "lightning-nobody-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "test")
	// Whatever the umask of root is.
	if err := errors.Join(os.WriteFile(binary, program, 0o755), os.Chmod(binary, 0o755), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) {
		t.Skipf("root of this user namespace has no other users: %v", err)
	}
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v\n%s", err, out)
	}
}
