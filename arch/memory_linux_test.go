package arch

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMemory(t *testing.T) {
	if n := Memory(); n < 1<<24 || n > 1<<50 {
		t.Errorf("this process may fill %d bytes", n)
	}
	root := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	write("a/memory.max", "5000\n")
	write("a/b/memory.max", "max\n")
	write("a/b/c/memory.max", "7000\n")
	for _, test := range []struct {
		group string
		have  uint64
		want  uint64
	}{
		{"", 9000, 9000},
		{"/", 9000, 9000},
		{"/a", 9000, 5000},
		{"/a/b", 9000, 5000},
		{"/a/b/c", 9000, 5000},
		{"/a/b/c", 4000, 4000},
		{"/no/such/group", 9000, 9000},
		{"/../../a", 9000, 5000},
	} {
		if got := leastLimit(root, test.group, test.have); got != test.want {
			t.Errorf("group %q of %d bytes: %d, want %d", test.group, test.have, got, test.want)
		}
	}
	for content, want := range map[string]string{
		"0::/user.slice/x\n":            "/user.slice/x",
		"3:memory:/old\n0::/unified\n":  "/unified",
		"3:memory:/old\n":               "",
		"":                              "",
		"0::/with spaces and:colons/ok": "/with spaces and:colons/ok",
	} {
		if got := ownGroup(write("cgroup", content)); got != want {
			t.Errorf("%q: group %q, want %q", content, got, want)
		}
	}
	for content, want := range map[string]uint64{
		"MemTotal:       24684084 kB\nMemFree: 1 kB\n": 24684084 << 10,
		"MemFree: 1 kB\nMemTotal: 8 kB\n":              8 << 10,
		"MemTotal: 99999999999999999999 kB\n":          0,
		"MemTotal: 5\n":                                0,
		"":                                             0,
	} {
		if got := total(write("meminfo", content)); got != want {
			t.Errorf("%q: %d bytes, want %d", content, got, want)
		}
	}
	if got := total(filepath.Join(root, "missing")); got != 0 {
		t.Errorf("without the file: %d bytes", got)
	}
	if got := ownGroup(filepath.Join(root, "missing")); got != "" {
		t.Errorf("without the file: group %q", got)
	}
}
