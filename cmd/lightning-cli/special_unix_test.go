//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestImport_SpecialFilesAreLeftOut(t *testing.T) {
	tree, db := t.TempDir(), filepath.Join(t.TempDir(), "t.db")
	if err := syscall.Mkfifo(filepath.Join(tree, "fifo"), 0o600); err != nil {
		t.Skipf("FIFO: %v", err)
	}
	writeTestFile(t, filepath.Join(tree, "file"), []byte("x"), 0o600)
	out, errs := cli(t, exitOK, "import", db, tree, "-o", "json")
	got := decodeJSON[importSummary](t, out)
	if got.Special != 1 || got.Files != 1 || !strings.Contains(errs, "fifo") {
		t.Errorf("got %+v, stderr %q", got, errs)
	}
}

func TestImport_UnreadableFile(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root reads everything")
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
