package main

import (
	"bufio"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
)

func TestBuckets(t *testing.T) {
	db := newDB(t)
	out, _ := cli(t, exitOK, "buckets", db, "-o", "json")
	wantEqual(t, "empty", out, `{"buckets":[]}`+"\n")
	fill(t, db, "a", "k1", "v", "k2", "v")
	fill(t, db, "c/d/e", "k", "v")
	out, _ = cli(t, exitOK, "buckets", db)
	wantEqual(t, "top level", out, "BUCKET  ENTRIES\na       2\nc       1\n")
	out, _ = cli(t, exitOK, "buckets", db, "-r")
	wantEqual(t, "tree", out, "BUCKET  ENTRIES\na       2\nc       1\n  d     1\n    e   1\n")
	out, _ = cli(t, exitOK, "buckets", db, "c", "-r", "-o", "json")
	wantEqual(t, "subtree", out, `{"buckets":[{"name":"d","keys":1,"buckets":[{"name":"e","keys":1}]}]}`+"\n")
}

func TestStats(t *testing.T) {
	db := newDB(t)
	fill(t, db, "a", "k1", "v", "k2", "v")
	fill(t, db, "b/c", "k", "v")
	out, _ := cli(t, exitOK, "stats", db, "-o", "json")
	got := decodeJSON[statsReport](t, out)
	info, err := os.Stat(db)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "path", got.Path, db)
	wantEqual(t, "file size", got.FileSize, info.Size())
	wantEqual(t, "pages", got.Pages*int64(got.PageSize), got.DataSize)
	if len(got.Buckets) != 2 || got.Buckets[0].Name != "a" || got.Buckets[0].Keys != 2 || got.Buckets[1].Nested != 1 {
		t.Errorf("buckets: %+v", got.Buckets)
	}
	out, _ = cli(t, exitOK, "stats", db)
	for _, want := range []string{"free pages", "page size", "BUCKET", "\na "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
}

func TestPages(t *testing.T) {
	db := newDB(t)
	fill(t, db, "a", "k", strings.Repeat("v", 100_000))
	out, _ := cli(t, exitOK, "pages", db, "-o", "json")
	rows := decodeJSON[struct{ Pages []pageRow }](t, out).Pages
	if len(rows) < 3 {
		t.Fatalf("only %d pages", len(rows))
	}
	types, overflow := map[string]int{}, 0
	for _, row := range rows {
		types[row.Type]++
		overflow += row.Overflow
	}
	wantEqual(t, "meta pages", types["meta"], 2)
	if types["leaf"] == 0 || overflow == 0 {
		t.Errorf("types %v, overflow pages %d", types, overflow)
	}
	out, _ = cli(t, exitOK, "pages", db, "--type", "meta")
	wantEqual(t, "lines of --type meta", strings.Count(out, "\n"), 3)
	out, _ = cli(t, exitOK, "pages", db, "1", "0", "-o", "json")
	rows = decodeJSON[struct{ Pages []pageRow }](t, out).Pages
	if len(rows) != 2 || rows[0].ID != 1 || rows[1].ID != 0 {
		t.Errorf("pages 1 0: %+v", rows)
	}
}

func TestCheck_Sound(t *testing.T) {
	db := newDB(t)
	fill(t, db, "a", "k", "v")
	out, _ := cli(t, exitOK, "check", db)
	wantEqual(t, "text", out, db+": no problems found\n")
	out, _ = cli(t, exitOK, "check", db, "-o", "json")
	got := decodeJSON[struct {
		OK       bool
		Problems []checkProblem
	}](t, out)
	if !got.OK || got.Problems == nil || len(got.Problems) != 0 {
		t.Errorf("json: %s", out)
	}
	out, _ = cli(t, exitOK, "check", db, "--quiet")
	wantEqual(t, "quiet", out, "")
}

// TestCheck_Interrupted wants a check stopped after its first page, and the database closed in order.
func TestCheck_Interrupted(t *testing.T) {
	db := newDB(t)
	for i := range 5 {
		fill(t, db, "a", "key"+strconv.Itoa(i), strings.Repeat("v", 5000))
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &app{timeout: time.Minute, out: bufio.NewWriter(io.Discard), err: io.Discard}
	err := a.withDB(ctx, db, readExisting, func(db *lightning.DB) error {
		return db.View(func(tx *lightning.Tx) error {
			cancel()
			return a.checkTx(ctx, tx, func(p checkProblem) { t.Errorf("problem: %+v", p) })
		})
	})
	wantEqual(t, "exit code", exitCode(err), exitInterrupted)
}

// TestCheck_DamagedPage flips one byte of every leaf, in turn, and wants it found.
func TestCheck_DamagedPage(t *testing.T) {
	db := newDB(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 30 {
		value := make([]byte, 700)
		for j := range value {
			value[j] = 'a' + byte(rng.UintN(26))
		}
		fill(t, db, "a", "key"+strconv.Itoa(i), string(value))
	}
	sound, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := cli(t, exitOK, "stats", db, "-o", "json")
	pageSize := decodeJSON[statsReport](t, out).PageSize
	out, _ = cli(t, exitOK, "pages", db, "--type", "leaf", "-o", "json")
	found := 0
	for _, row := range decodeJSON[struct{ Pages []pageRow }](t, out).Pages {
		bad := append([]byte(nil), sound...)
		bad[row.ID*pageSize+pageSize-1] ^= 1
		writeTestFile(t, db, bad, 0o600)
		var stdout, stderr strings.Builder
		code := runContext(context.Background(), []string{"check", db, "-o", "json"}, nil, &stdout, &stderr)
		if code == exitOK {
			continue // a leaf that is no longer in use
		}
		found++
		wantEqual(t, "exit code", code, exitCorrupt)
		wantEqual(t, "kind", decodeJSON[errorReport](t, stderr.String()).Error.Kind, "corrupt")
		wantEqual(t, "exit code of scan", runContext(context.Background(),
			[]string{"scan", db, "a"}, nil, io.Discard, io.Discard), exitCorrupt)
	}
	if found == 0 {
		t.Error("no damaged page was found")
	}
	writeTestFile(t, db, sound, 0o600)
}

func TestVersion(t *testing.T) {
	out, _ := cli(t, exitOK, "version")
	if !strings.HasPrefix(out, "lightning-cli ") {
		t.Errorf("got %q", out)
	}
	out, _ = cli(t, exitOK, "version", "-v", "-o", "json")
	got := decodeJSON[map[string]string](t, out)
	for _, field := range []string{"version", "revision", "go", "platform", "cpu"} {
		if got[field] == "" {
			t.Errorf("no %s in %s", field, out)
		}
	}
	out, _ = cli(t, exitOK, "version", "-v")
	wantEqual(t, "lines", strings.Count(out, "\n"), 5)
}
