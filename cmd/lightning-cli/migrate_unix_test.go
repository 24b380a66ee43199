//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMigrate_ReadOnlyDirectory runs in a process without root's right to write
// everywhere.
func TestMigrate_ReadOnlyDirectory(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	src := newBolt(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	_, errs := cli(t, exitGeneral, "migrate", src, filepath.Join(dir, "new.ldb"))
	if !strings.Contains(errs, "permission denied") {
		t.Errorf("stderr: %q", errs)
	}
	cli(t, exitOK, "migrate", src, filepath.Join(dir, "new.ldb"), "--dry-run")
}
