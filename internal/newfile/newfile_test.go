package newfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
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

// What is whole gets its name; what is not, or finds the name taken, goes.
func TestPartial_Settle(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	failure := errors.New("not whole")
	for i, c := range []struct{ given, want error }{{failure, failure}, {nil, nil}, {nil, fs.ErrExist}} {
		f, err := Partial(path, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		other, err := Partial(path, 0o640)
		if err != nil || other.Name() == f.Name() {
			t.Fatalf("the same name twice, or %v", err)
		}
		if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o640 && runtime.GOOS != "windows" {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		if err := errors.Join(f.Close(), other.Close(), os.Remove(other.Name())); err != nil {
			t.Fatal(err)
		}
		if err := Settle(f.Name(), path, c.given); !errors.Is(err, c.want) {
			t.Errorf("%d: got %v, want %v", i, err, c.want)
		}
		names, err := filepath.Glob(path + "*")
		if err != nil || len(names) != min(i, 1) {
			t.Errorf("%d: left %v, %v", i, names, err)
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
