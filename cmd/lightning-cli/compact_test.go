package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	lightning "github.com/lightning-db/lightning"
)

func TestCompact(t *testing.T) {
	db := newDB(t)
	at := func(name string) string { return filepath.Join(filepath.Dir(db), name) }
	for from := range 4 {
		args := []string{}
		for i := range 200 {
			args = append(args, fmt.Sprintf("key%05d", i*4+from), fmt.Sprint(i))
		}
		fill(t, db, "users", args...)
	}
	before, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := cli(t, exitOK, "compact", db, at("small.db"), "-o", "json")
	s := decodeJSON[compactSummary](t, out)
	if s.Before != int64(len(before)) || s.After >= s.Before || s.Path != at("small.db") {
		t.Errorf("summary: %s", out)
	}
	cli(t, exitOK, "check", at("small.db"))
	cli(t, exitOK, "diff", db, at("small.db"))
	cli(t, exitOK, "compact", db, at("large-pages.db"), "--page-size", "16K")
	cli(t, exitOK, "diff", at("small.db"), at("large-pages.db"))

	cli(t, exitGeneral, "compact", db, at("small.db"))
	cli(t, exitGeneral, "compact", at("missing.db"), at("new.db"))
	cli(t, exitUsage, "compact", db)
	cli(t, exitUsage, "compact", db, at("new.db"), "--page-size", "5000")
	bad := bytes.Clone(before)
	for i := 2 * 4096; i < len(bad); i += 1000 {
		bad[i] ^= 1
	}
	if err := os.WriteFile(at("bad.db"), bad, 0o600); err != nil {
		t.Fatal(err)
	}
	cli(t, exitCorrupt, "compact", at("bad.db"), at("new.db"))
	if left, _ := filepath.Glob(at("new.db*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if after, err := os.ReadFile(db); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the source was changed, %v", err)
	}
}

// What is stopped leaves nothing.
func TestCompact_Stopped(t *testing.T) {
	db := newDB(t)
	fill(t, db, "users", "alice", "1")
	src, err := lightning.Open(db, 0, &lightning.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	dest := filepath.Join(filepath.Dir(db), "new.db")
	if err := (&app{}).compactTo(ctx, dest, src, 4096); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	if left, _ := filepath.Glob(dest + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
