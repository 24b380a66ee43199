package newfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestMove(t *testing.T) {
	for name, move := range map[string]func(from, to string) error{"Move": Move, "by link": link} {
		dir := t.TempDir()
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		write(t, a)
		write(t, b)
		if err := move(a, b); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s to a name that is taken: %v", name, err)
		}
		want(t, name, a, "a")
		want(t, name, b, "b")
		free := filepath.Join(dir, "free")
		if err := move(a, free); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want(t, name, free, "a")
		if _, err := os.Stat(a); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s left the old name: %v", name, err)
		}
	}
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, a)
	write(t, b)
	if err := Replace(a, b); err != nil {
		t.Fatal(err)
	}
	want(t, "Replace", b, "a")
}

// write makes a file that holds its own name.
func write(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(filepath.Base(path)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, what, path, content string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != content {
		t.Errorf("%s: %s holds %q, want %q; %v", what, path, got, content, err)
	}
}
