package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse_Errors(t *testing.T) {
	for _, args := range [][]string{
		{"-engines", "oracle"}, {"-workloads", "("}, {"-growth", "10,x"}, {"-keys", "1"}, {"surplus"},
	} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

func TestCommand_NoPlaces(t *testing.T) {
	s, err := parse([]string{"-keys", "2000", "-dir", "/somewhere/else", "-json=/somewhere/raw.json", "-report", "../../docs"})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.command(); got != "go run . -keys 2000 -dir else -json=raw.json -report ../../docs" {
		t.Error(got)
	}
}

// TestStart_FromRawResults writes a report of results that were kept.
func TestStart_FromRawResults(t *testing.T) {
	dir := t.TempDir()
	raw := filepath.Join(dir, "raw.json")
	content := `{"Machine":["a machine"],"Command":"go run . -x","Rounds":7,"Seconds":2}
{"Family":"speed","Workload":"get-tx","Engine":"bbolt","Keys":1000,"Round":0,"Metrics":{"time":1000}}
`
	if err := os.WriteFile(raw, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := start([]string{"-from", raw, "-report", dir}); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "PEERS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"go run . -x", "7 rounds", "| bbolt | 1.00 µs |"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
}
