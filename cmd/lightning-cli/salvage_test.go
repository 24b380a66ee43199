package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	lightning "github.com/lightning-db/lightning"
)

// newSalvageFile makes a database with a branch in the bucket "users" and returns its path
// and the number of a leaf.
func newSalvageFile(t *testing.T) (path string, leaf int64) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "damaged.db")
	db, err := lightning.Open(path, 0o600, &lightning.Options{PageSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *lightning.Tx) error {
		b, err := tx.CreateBucket([]byte("users"))
		for i := 0; i < 200 && err == nil; i++ {
			err = b.Put(fmt.Appendf(nil, "user%03d", i), bytes.Repeat([]byte{'v'}, 200))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.View(func(tx *lightning.Tx) error {
		for id := 2; leaf == 0; id++ {
			p, err := tx.Page(id)
			if err != nil {
				return err
			}
			if p != nil && p.Type == "leaf" && p.Count > 5 {
				leaf = int64(id)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path, leaf
}

func TestSalvage(t *testing.T) {
	path, leaf := newSalvageFile(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	out, _ := cli(t, exitOK, "salvage", path, at("whole"))
	if !strings.Contains(out, "saved 201 keys") {
		t.Errorf("whole: %s", out)
	}
	cli(t, exitOK, "diff", path, at("whole"))
	cli(t, exitOK, "check", at("whole"))

	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[leaf*4096+2000] ^= 1
	writeTestFile(t, path, b, 0o600)
	out, stderr := cli(t, exitCorrupt, "salvage", path, at("saved"), "--report", at("report"))
	if !strings.Contains(out, "lost: bucket /users: keys from ") || !strings.Contains(stderr, "1 losses") {
		t.Errorf("damaged: %s%s", out, stderr)
	}
	cli(t, exitOK, "check", at("saved"))
	type lost struct {
		Losses int
		Lost   []struct {
			Bucket []string
			Page   int64
		}
		Damaged []struct{ Missing int }
		Saved   map[string]int
	}
	report, err := os.ReadFile(at("report"))
	if err != nil {
		t.Fatal(err)
	}
	out, _ = cli(t, exitCorrupt, "salvage", path, at("again"), "-o", "json")
	for name, text := range map[string]string{"--report": string(report), "-o json": out} {
		r := decodeJSON[lost](t, text)
		if r.Losses != 1 || len(r.Lost) != 1 || r.Lost[0].Page != leaf || len(r.Lost[0].Bucket) != 1 || len(r.Damaged) != 1 ||
			r.Damaged[0].Missing+r.Saved["verified"] != 201 {
			t.Errorf("%s: %s", name, text)
		}
	}

	cli(t, exitGeneral, "salvage", path, at("saved"))
	cli(t, exitGeneral, "salvage", path, at("new"), "--report", at("report"))
	cli(t, exitGeneral, "salvage", at("none"), at("new"))
	cli(t, exitUsage, "salvage", path)
	writeTestFile(t, at("other"), []byte("nothing of ours"), 0o600)
	cli(t, exitNotDatabase, "salvage", at("other"), at("new"), "--report", at("new.report"))
	ctx, stop := context.WithCancel(context.Background())
	stop()
	var sink bytes.Buffer
	wantEqual(t, "interrupted", runContext(ctx, []string{"salvage", path, at("new")}, strings.NewReader(""), &sink, &sink), exitInterrupted)
	if left, _ := filepath.Glob(at("new*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestRebuildSpace(t *testing.T) {
	path, leaf := newSalvageFile(t)
	out, _ := cli(t, exitOK, "rebuild-space", path)
	if !strings.Contains(out, "is right") {
		t.Errorf("a sound map: %s", out)
	}
	if r := decodeJSON[rebuildSummary](t, first(cli(t, exitOK, "rebuild-space", path, "-o", "json"))); r.Rebuilt || r.Used == 0 {
		t.Errorf("a sound map: %+v", r)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[leaf*4096+2000] ^= 1
	writeTestFile(t, path, b, 0o600)
	cli(t, exitCorrupt, "rebuild-space", path)
	cli(t, exitGeneral, "rebuild-space", path+".none")
	cli(t, exitUsage, "rebuild-space")
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, b) {
		t.Errorf("a refused rebuild changed the file: %v", err)
	}
}

func TestRebuildSpace_DamagedMap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "map.db")
	_, _, closed := buildDamageFile(t, path)
	writeTestFile(t, path, closed, 0o600)
	mapPages := 0
	for id := 2; id < len(closed)/damagePage; id++ {
		if t := closed[id*damagePage]; t < 6 || t > 8 {
			continue
		}
		b := bytes.Clone(closed)
		b[id*damagePage+300] ^= 1
		writeTestFile(t, path, b, 0o600)
		r := decodeJSON[rebuildSummary](t, first(cli(t, exitOK, "rebuild-space", path, "-o", "json")))
		if r.Rebuilt {
			mapPages++
			cli(t, exitOK, "check", path)
			cli(t, exitOK, "put", path, "new", "key", "value", "--create-buckets")
			cli(t, exitOK, "check", path)
		}
	}
	if mapPages < 2 {
		t.Errorf("only %d pages of the map", mapPages)
	}
}

func first(a, _ string) string { return a }
