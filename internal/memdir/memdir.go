// Package memdir finds room for scratch files in memory. Tests that open
// thousands of files would wait for a disk most of the time, and prove nothing
// by that.
package memdir

import "os"

// Root returns a directory of a file system in memory for os.MkdirTemp, or ""
// where the platform has none.
func Root() string {
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err != nil || !info.IsDir() {
		return ""
	}
	return memory
}

// TB is what Temp needs of a testing.TB.
type TB interface {
	Helper()
	Cleanup(fn func())
	Error(args ...any)
	Fatal(args ...any)
}

// Temp returns a directory for a test, in memory where that can be, which is
// removed with all in it when the test ends.
func Temp(t TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(Root(), "lightning-*")
	if err != nil { // full, or not ours to write to
		dir, err = os.MkdirTemp("", "lightning-*")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
