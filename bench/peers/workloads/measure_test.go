package workloads

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReadWritten_CountsCalls(t *testing.T) {
	const size = 12_345
	before, err := readWritten()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(t.TempDir(), "f"), make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	after, err := readWritten()
	if err != nil {
		t.Fatal(err)
	}
	if after-before < size {
		t.Errorf("%v bytes counted of %d", after-before, size)
	}
}

func TestFileSizes_Holes(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 4096), 64<<20); err != nil {
		t.Fatal(err)
	}
	length, allocated, err := fileSizes(dir)
	if err != nil {
		t.Fatal(err)
	}
	if length != 64<<20+4096 || allocated <= 0 || allocated > 1<<20 {
		t.Errorf("length %v, allocated %v", length, allocated)
	}
}

func TestAll_NamesAndMetrics(t *testing.T) {
	seen := make(map[string]bool)
	for _, w := range All() {
		if seen[w.Name] {
			t.Errorf("two workloads %s", w.Name)
		}
		seen[w.Name] = true
		if len(w.Metrics) == 0 || w.Title == "" || w.Run == nil && w.Limit == nil || (w.Limit != nil) != (w.LimitTitle != "") {
			t.Errorf("%s is not complete", w.Name)
		}
	}
}
