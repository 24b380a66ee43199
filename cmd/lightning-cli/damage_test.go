package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/memdir"
)

var damageEvery = flag.Int("damage.every", 0, "TestDamage_EveryCommand judges each nth damage to pages of a type (1: all; 0: 4, or 24 with -short)")

const (
	damagePage = 4096
	// damageHang is how long one command may take before it counts as hanging.
	damageHang = 15 * time.Second
)

// buildDamageFile makes a small file with every type of page: the space log of many small commits
// folds into a bitmap, and then the tree of the end is put in. It returns what the file held after its
// first half, its end while open, and after Close.
func buildDamageFile(t *testing.T, path string) (earlier, killed, closed []byte) {
	t.Helper()
	db, err := lightning.Open(path, 0o600, &lightning.Options{PageSize: damagePage, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	db.AllocSize = 4 * damagePage
	update := func(fn func(tx *lightning.Tx) error) {
		t.Helper()
		if err := db.Update(fn); err != nil {
			t.Fatal(err)
		}
	}
	read := func() []byte {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	damageChurn(t, db, update)
	earlier = read()
	update(func(tx *lightning.Tx) error { return tx.DeleteBucket([]byte("churn")) })
	update(func(tx *lightning.Tx) error {
		b, err := tx.CreateBucket([]byte("data"))
		if err != nil {
			return err
		}
		for i := range 24 {
			if err := b.Put(fmt.Appendf(nil, "key%02d", i), entryValue(300+i)); err != nil {
				return err
			}
		}
		if err := b.Put([]byte("big"), entryValue(6000)); err != nil {
			return err
		}
		return b.Put(bytes.Repeat([]byte("k"), 700), entryValue(2000))
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(filepath.Dir(path), "tree")
	if err := os.Mkdir(tree, 0o700); err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, filepath.Join(tree, "small"), []byte("text"), 0o600)
	writeTestFile(t, filepath.Join(tree, "big"), bytes.Repeat([]byte("big"), 2000), 0o600)
	cli(t, exitOK, "import", path, tree, "--quiet")
	if db, err = lightning.Open(path, 0o600, nil); err != nil {
		t.Fatal(err)
	}
	db.AllocSize = 4 * damagePage
	update(func(tx *lightning.Tx) error {
		b := tx.Bucket([]byte("data"))
		nest, err := b.CreateBucket([]byte("nest"))
		if err != nil {
			return err
		}
		for i := range 5 {
			if err := nest.Put(fmt.Appendf(nil, "deep%d", i), entryValue(400)); err != nil {
				return err
			}
		}
		small, err := b.CreateBucket([]byte("small"))
		if err != nil {
			return err
		}
		return small.Put([]byte("in"), entryValue(10))
	})
	killed = read()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return earlier, killed, read()
}

// damageChurn commits until the map of free pages has all its kinds of pages.
func damageChurn(t *testing.T, db *lightning.DB, update func(func(tx *lightning.Tx) error)) {
	t.Helper()
	for n := 0; n%50 != 0 || n <= 4000 || freelistPages(t, db) < 3; n++ {
		if n > 50_000 {
			t.Fatal("no bitmaps")
		}
		update(func(tx *lightning.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("churn"))
			if err != nil {
				return err
			}
			for i := range 3 {
				key := fmt.Sprintf("key%02d", (n*7+i*11)%24)
				if err := b.Put([]byte(key), bytes.Repeat(fmt.Appendf(nil, "%d,", n), 150)); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func entryValue(n int) []byte { return bytes.Repeat([]byte("v"), n) }

func freelistPages(t *testing.T, db *lightning.DB) (n int) {
	t.Helper()
	err := db.View(func(tx *lightning.Tx) error {
		for id := range int(tx.Size()) / damagePage {
			info, err := tx.Page(id)
			if err != nil {
				return err
			}
			if info.Type == "freelist" {
				n++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// damageCommand runs one command; a panic fails the test, a hang ends it: first the command is
// interrupted, and if it does not heed that, the process.
func damageCommand(t *testing.T, what string, args []string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), damageHang)
	defer stop()
	watchdog := time.AfterFunc(2*damageHang, func() { panic("hangs: " + what) })
	defer watchdog.Stop()
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("%s: %q panics: %v\n%s", what, args, r, debug.Stack())
		}
	}()
	var out, errs bytes.Buffer
	code = runContext(ctx, args, strings.NewReader(""), &out, &errs)
	if ctx.Err() != nil {
		t.Fatalf("%s: %q hangs", what, args)
	}
	return code, out.String(), errs.String()
}

// damagePages are ways to damage a page; the last argument is what the file held earlier.
var damagePages = []struct {
	name string
	do   func(b []byte, id int, earlier []byte)
}{
	{"flip first", func(b []byte, id int, _ []byte) { b[id*damagePage] ^= 1 }},
	{"flip page count", func(b []byte, id int, _ []byte) { b[id*damagePage+4] ^= 1 }},
	{"flip count high", func(b []byte, id int, _ []byte) { b[id*damagePage+7] ^= 0x40 }},
	{"flip header", func(b []byte, id int, _ []byte) { b[id*damagePage+25] ^= 4 }},
	{"flip middle", func(b []byte, id int, _ []byte) { b[id*damagePage+2000] ^= 0x80 }},
	{"flip last", func(b []byte, id int, _ []byte) { b[(id+1)*damagePage-1] ^= 0x10 }},
	{"zero page", func(b []byte, id int, _ []byte) { clear(b[id*damagePage:][:damagePage]) }},
	{"zero sector", func(b []byte, id int, _ []byte) { clear(b[id*damagePage:][:512]) }},
	{"ff page", func(b []byte, id int, _ []byte) {
		copy(b[id*damagePage:], bytes.Repeat([]byte{0xff}, damagePage))
	}},
	{"misplaced", func(b []byte, id int, _ []byte) {
		other := (id + 1) % (len(b) / damagePage)
		copy(b[id*damagePage:][:damagePage], b[other*damagePage:])
	}},
	{"swap", func(b []byte, id int, _ []byte) {
		other := (id + 1) % (len(b) / damagePage)
		was := bytes.Clone(b[id*damagePage:][:damagePage])
		copy(b[id*damagePage:][:damagePage], b[other*damagePage:])
		copy(b[other*damagePage:], was)
	}},
	{"stale", func(b []byte, id int, earlier []byte) {
		if (id+1)*damagePage <= len(earlier) {
			copy(b[id*damagePage:][:damagePage], earlier[id*damagePage:])
		}
	}},
}

// damageCodes are the exit codes that a command may have on a damaged file.
var damageCodes = []int{exitOK, exitNotFound, exitCorrupt, exitNotDatabase}

// TestDamage_EveryCommand damages every page in every way, or a part of them. Commands end with the exit codes that
// are documented; check reports damage exactly when a page in use is damaged, and names it.
func TestDamage_EveryCommand(t *testing.T) {
	dir := memdir.Temp(t)
	path := filepath.Join(dir, "damage.db")
	earlier, killed, closed := buildDamageFile(t, path)
	types := pageTypes(t, path)
	kinds := map[string]int{}
	for _, info := range types {
		kinds[info]++
	}
	t.Logf("pages: %v", kinds)
	for _, kind := range []string{"meta", "branch", "leaf", "value", "key", "freelist", "free", "overflow"} {
		if kinds[kind] == 0 {
			t.Errorf("no page of type %s", kind)
		}
	}
	every := *damageEvery
	if every == 0 {
		every = 4
		if testing.Short() {
			every = 24
		}
	}
	outcomes := map[string]int{}
	states := 0
	for _, file := range []struct {
		name  string
		image []byte
	}{{"closed", closed}, {"killed", killed}} {
		ways := map[string]int{} // of damage so far, by type of page
		for id := range len(file.image) / damagePage {
			for _, d := range damagePages {
				kind := types[min(id, len(types)-1)]
				if ways[kind]++; ways[kind]%every != 1%every {
					continue
				}
				image := bytes.Clone(file.image)
				d.do(image, id, earlier)
				if bytes.Equal(image, file.image) {
					continue
				}
				states++
				what := fmt.Sprintf("%s, %s, page %d", file.name, d.name, id)
				judgeCommands(t, path, what, image, file.image, types, file.name == "closed", outcomes)
			}
		}
		for _, n := range []int{1, 511, damagePage, 2*damagePage - 1, 2 * damagePage, len(file.image) / 2, 5*damagePage + 7} {
			states++
			judgeCommands(t, path, fmt.Sprintf("%s, cut at %d", file.name, n), file.image[:n], file.image, types, false, outcomes)
		}
		states++
		grown := append(bytes.Clone(file.image), "garbage"...)
		judgeCommands(t, path, file.name+", appended", grown, file.image, types, file.name == "closed", outcomes)
	}
	var table strings.Builder
	for _, row := range sortedKeys(outcomes) {
		fmt.Fprintf(&table, "%-24s %d\n", row, outcomes[row])
	}
	t.Logf("%d states\n%s", states, table.String())
	for _, kind := range []string{"branch", "leaf", "value", "key", "freelist", "overflow"} {
		if outcomes["check "+kind+" 4"] == 0 || outcomes["check "+kind+" 0"] > 0 {
			t.Errorf("%s: found %d times, missed %d times", kind, outcomes["check "+kind+" 4"], outcomes["check "+kind+" 0"])
		}
	}
}

func sortedKeys(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// pageTypes returns the type of each page of a sound file.
func pageTypes(t *testing.T, path string) (types []string) {
	t.Helper()
	out, _ := cli(t, exitOK, "pages", path, "-o", "json")
	for _, row := range decodeJSON[struct{ Pages []pageRow }](t, out).Pages {
		types = append(types, row.Type)
		for range row.Overflow {
			if row.Type != "free" {
				types = append(types, "overflow")
			}
		}
	}
	return types
}

// judgeCommands runs every command that reads on the image. strict: the file was closed, so that damage
// in use must be found.
func judgeCommands(t *testing.T, path, what string, image, sound []byte, types []string, strict bool, outcomes map[string]int) {
	t.Helper()
	var damaged []int // pages of the closed file that are in use
	row := "free"
	for id, kind := range types {
		if id >= 2 && kind != "free" && !bytes.Equal(image[min(id*damagePage, len(image)):min((id+1)*damagePage, len(image))], sound[id*damagePage:(id+1)*damagePage]) {
			damaged = append(damaged, id)
			row = kind
		}
	}
	writeTestFile(t, path, image, 0o600)
	code, out, errs := damageCommand(t, what, []string{"check", path, "-o", "json"})
	if strict {
		outcomes[fmt.Sprintf("check %s %d", row, code)]++
		judgeCheck(t, what, code, out, errs, damaged, types)
	}
	if !slices.Contains(damageCodes, code) {
		t.Errorf("%s: check exits with %d: %s", what, code, errs)
	}
	target, saved := filepath.Join(filepath.Dir(path), "out"), filepath.Join(filepath.Dir(path), "saved")
	for _, args := range [][]string{
		{"check", path}, {"pages", path}, {"stats", path}, {"buckets", path, "-r"},
		{"scan", path}, {"scan", path, "data"}, {"scan", path, "data/nest", "--reverse", "-o", "json"},
		{"get", path, "data", "key05"}, {"get", path, "data", "big", "--raw"}, {"export", path, target, "--force"},
		{"repair", path, "--dry-run"}, {"salvage", path, saved}, {"check", saved}, {"rebuild-space", path},
	} {
		if args[0] == "check" && args[1] == saved {
			if _, err := os.Stat(saved); err != nil {
				continue // both meta pages are damaged, or there was nothing to save
			}
			if got, _, stderr := damageCommand(t, what, args); got != exitOK {
				t.Errorf("%s: what was salvaged is damaged: %s", what, stderr)
			}
			continue
		}
		got, _, stderr := damageCommand(t, what, args)
		outcomes[fmt.Sprintf("%s exit %d", args[0], got)]++
		if args[0] == "check" && got != code {
			t.Errorf("%s: check exits with %d and with -o json with %d", what, got, code)
		}
		if !slices.Contains(damageCodes, got) {
			t.Errorf("%s: %q exits with %d: %s", what, args[0], got, stderr)
		}
		if strict && len(damaged) == 0 && got != exitOK {
			t.Errorf("%s: %q exits with %d where nothing in use is damaged: %s", what, args[0], got, stderr)
		}
		if got != exitOK && stderr == "" {
			t.Errorf("%s: %q exits with %d and says nothing", what, args[0], got)
		}
	}
	for _, name := range []string{target, saved} {
		if err := os.RemoveAll(name); err != nil {
			t.Error(err)
		}
	}
}

// judgeCheck compares what check says with what is damaged: it names a damaged page, or the first page
// of the extent around one.
func judgeCheck(t *testing.T, what string, code int, out, errs string, damaged []int, types []string) {
	t.Helper()
	want := exitOK
	if len(damaged) > 0 {
		want = exitCorrupt
	}
	if code != want {
		t.Errorf("%s: check exits with %d, want %d: %s%s", what, code, want, out, errs)
		return
	}
	if code == exitOK {
		return
	}
	var report struct{ Problems []checkProblem }
	said := errs // Open may have refused the file
	if json.Unmarshal([]byte(out), &report) == nil {
		for _, p := range report.Problems {
			said += p.Message + "\n"
		}
	}
	for _, id := range damaged {
		for types[id] == "overflow" {
			id--
		}
		if strings.Contains(said, fmt.Sprintf("page %d:", id)) {
			return
		}
	}
	t.Errorf("%s: check does not name one of %v: %s", what, damaged, said)
}
