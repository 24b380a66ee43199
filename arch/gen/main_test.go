package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestOutput_IsCommitted runs the generator as go generate does.
func TestOutput_IsCommitted(t *testing.T) {
	name := filepath.Join(t.TempDir(), "kernel_amd64.s")
	cmd := exec.CommandContext(t.Context(), "go", "run", "-tags", "purego", ".", "-out", name, "-pkg", "arch")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join("..", "kernel_amd64.s"))
	if err != nil {
		t.Fatal(err)
	}
	// The first line has the command, with the name of the file.
	_, got, _ = bytes.Cut(got, []byte("\n"))
	_, want, _ = bytes.Cut(want, []byte("\n"))
	if !bytes.Equal(got, want) {
		t.Error("arch/kernel_amd64.s is not what the generator writes: run go generate ./arch")
	}
}
