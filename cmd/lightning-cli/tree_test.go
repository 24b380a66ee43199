package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
)

// makeTree builds a directory tree with one of everything that import keeps.
func makeTree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	for _, d := range []struct {
		path string
		mode fs.FileMode
	}{{"", 0o755}, {"empty", 0o700}, {"sub", 0o755}, {"sub/deep", 0o750}, {"sub/deep/deeper", 0o711}} {
		if err := os.Mkdir(filepath.Join(dir, d.path), d.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, d.path), d.mode); err != nil {
			t.Fatal(err)
		}
	}
	writeTestFile(t, filepath.Join(dir, "hello.txt"), []byte("hello\n"), 0o644)
	writeTestFile(t, filepath.Join(dir, "empty.txt"), nil, 0o600)
	writeTestFile(t, filepath.Join(dir, "sub/run.sh"), []byte("#!/bin/sh\n"), 0o755)
	writeTestFile(t, filepath.Join(dir, "sub/deep/read-only"), []byte{0, 1, 2, 255}, 0o444)
	writeTestFile(t, filepath.Join(dir, "sub/deep/deeper/big"), bytes.Repeat([]byte("0123456789abcdef"), 40_000), 0o640)
	if runtime.GOOS != "windows" {
		for _, name := range []string{" lead and trail ", "new\nline", "tab\t", `back\slash`, "-rf", "ünï", "..." /* not "..": a file */} {
			writeTestFile(t, filepath.Join(dir, "sub", name), []byte(name), 0o644)
		}
	}
	if runtime.GOOS == "linux" {
		writeTestFile(t, filepath.Join(dir, "sub", "latin1-\xe9\xff"), []byte("x"), 0o644)
	}
	for link, target := range map[string]string{
		"link": "hello.txt", "sub/up": "../hello.txt", "dangling": "no/such/file", "outside": "/etc/passwd", "dirlink": "sub",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			if runtime.GOOS == "windows" {
				t.Skipf("symbolic links need a privilege on Windows: %v", err)
			}
			t.Fatal(err)
		}
	}
	return dir
}

// describe maps each path under dir to its type, mode and content.
func describe(t *testing.T, dir string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		var content []byte
		switch {
		case info.Mode().IsRegular():
			content, err = os.ReadFile(path)
		case info.Mode()&fs.ModeSymlink != 0:
			var target string
			target, err = os.Readlink(path)
			content = []byte(target)
		}
		rel, relErr := filepath.Rel(dir, path)
		tree[rel] = fmt.Sprintf("%v %x", info.Mode(), content)
		return errors.Join(err, relErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func wantSameTree(t *testing.T, got, want string) {
	t.Helper()
	g, w := describe(t, got), describe(t, want)
	for path, entry := range w {
		if g[path] != entry {
			t.Errorf("%q: got %.80s, want %.80s", path, g[path], entry)
		}
	}
	for path := range g {
		if _, found := w[path]; !found {
			t.Errorf("%q: should not be there", path)
		}
	}
	if diff, err := exec.LookPath("diff"); err == nil {
		out, err := exec.Command(diff, "-r", "--no-dereference", got, want).CombinedOutput()
		if err != nil {
			t.Errorf("diff -r: %v\n%s", err, out)
		}
	}
}

func importJSON(t *testing.T, args ...string) importSummary {
	t.Helper()
	out, _ := cli(t, exitOK, append([]string{"import", "-o", "json"}, args...)...)
	return decodeJSON[importSummary](t, out)
}

func TestImportExport_RoundTrip(t *testing.T) {
	tree, dir := makeTree(t), t.TempDir()
	db, out := filepath.Join(dir, "t.db"), filepath.Join(dir, "out")
	first := importJSON(t, db, tree)
	entries := describe(t, tree)
	wantEqual(t, "dirs", first.Dirs, 5)
	wantEqual(t, "files", first.Files, len(entries)-5)
	wantEqual(t, "skipped", first.Skipped, 0)
	checkSound(t, db)
	cli(t, exitOK, "export", db, out)
	wantSameTree(t, out, tree)

	again := importJSON(t, db, tree)
	wantEqual(t, "files of a second import", again.Files, 0)
	wantEqual(t, "skipped by a second import", again.Skipped, first.Files)
	wantEqual(t, "transactions of a second import", again.Transactions, 0)

	_, errs := cli(t, exitGeneral, "export", db, out)
	if !strings.Contains(errs, "--force") {
		t.Errorf("no advice in %q", errs)
	}
	cli(t, exitOK, "export", db, out, "--force")
	wantSameTree(t, out, tree)
}

func TestImport_ModeAndContentAsDocumented(t *testing.T) {
	tree, db := makeTree(t), filepath.Join(t.TempDir(), "t.db")
	importJSON(t, db, tree, "--bucket", "backup/www")
	out, _ := cli(t, exitOK, "get", db, "backup/www", "hello.txt", "--value-encoding", "hex")
	wantEqual(t, "file", out, "a401000068656c6c6f0a\n") // 0644, "hello\n"
	out, _ = cli(t, exitOK, "get", db, "backup/www/sub", "up", "--raw")
	wantEqual(t, "link", out, "\xff\x01\x00\x08../hello.txt") // 0777 and fs.ModeSymlink
	dir := filepath.Join(t.TempDir(), "out")
	cli(t, exitOK, "export", db, dir, "--bucket", "backup/www")
	wantSameTree(t, dir, tree)
}

func TestImport_Changes(t *testing.T) {
	tree, dir := makeTree(t), t.TempDir()
	db := filepath.Join(dir, "t.db")
	importJSON(t, db, tree)
	// A file becomes a directory, a directory a file, a file goes, a mode and a content change.
	for _, path := range []string{"hello.txt", "sub/deep", "empty.txt"} {
		if err := os.RemoveAll(filepath.Join(tree, path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(tree, "hello.txt"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, filepath.Join(tree, "sub/deep"), []byte("now a file"), 0o644)
	writeTestFile(t, filepath.Join(tree, "sub/run.sh"), []byte("#!/bin/sh\n"), 0o700)
	if err := os.Chmod(filepath.Join(tree, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	got := importJSON(t, db, tree)
	wantEqual(t, "files", got.Files, 2)
	wantEqual(t, "removed", got.Removed, 0)
	cli(t, exitOK, "get", db, "files", "empty.txt") // gone from the tree, kept without --mirror
	got = importJSON(t, db, tree, "--mirror")
	wantEqual(t, "removed", got.Removed, 1)
	out := filepath.Join(dir, "out")
	cli(t, exitOK, "export", db, out)
	wantSameTree(t, out, tree)
	if err := os.RemoveAll(filepath.Join(tree, "sub")); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "directories removed", importJSON(t, db, tree, "--mirror").Removed, 1)
	cli(t, exitNotFound, "scan", db, "files/sub")
	checkSound(t, db)
}

func TestImport_TooLargeFile(t *testing.T) {
	tree, db := t.TempDir(), filepath.Join(t.TempDir(), "t.db")
	f, err := os.Create(filepath.Join(tree, "huge"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(lightning.MaxValueSize-3), f.Close()); err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, filepath.Join(tree, "small"), []byte("x"), 0o600)
	_, errs := cli(t, exitGeneral, "import", db, tree)
	if !strings.Contains(errs, "huge") {
		t.Errorf("the file is not named in %q", errs)
	}
	out, errs := cli(t, exitOK, "import", db, tree, "--skip-errors", "-o", "json")
	got := decodeJSON[importSummary](t, out)
	if got.Errors != 1 || got.Files != 1 || !strings.Contains(errs, `"warning"`) {
		t.Errorf("got %+v, stderr %q", got, errs)
	}
	_, errs = cli(t, exitOK, "import", db, tree, "--skip-errors", "--quiet")
	wantEqual(t, "quiet", errs, "")
}

func TestImport_SourceErrors(t *testing.T) {
	db, file := filepath.Join(t.TempDir(), "t.db"), filepath.Join(t.TempDir(), "file")
	writeTestFile(t, file, nil, 0o600)
	cli(t, exitUsage, "import", db, file)
	cli(t, exitGeneral, "import", db, file+".missing")
	if _, err := os.Stat(db); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a failed import left a database: %v", err)
	}
}

func TestImport_LeavesTheDatabaseOut(t *testing.T) {
	tree := makeTree(t)
	db := filepath.Join(tree, "self.db")
	wantEqual(t, "special", importJSON(t, db, tree).Special, 1)
	cli(t, exitNotFound, "get", db, "files", "self.db")
}

func TestImport_BatchesAndAcks(t *testing.T) {
	tree, db := t.TempDir(), filepath.Join(t.TempDir(), "t.db")
	for i := range 20 {
		writeTestFile(t, filepath.Join(tree, fmt.Sprintf("f%02d", i)), bytes.Repeat([]byte{byte(i)}, 1000), 0o600)
	}
	writeTestFile(t, filepath.Join(tree, "g"), make([]byte, 10_000), 0o600)
	out, errs := cli(t, exitOK, "import", db, tree, "--ack", "--batch-bytes", "4K")
	if !strings.Contains(errs, "imported: files 21") {
		t.Errorf("summary: %q", errs)
	}
	type ackLine struct {
		Tx, Files int
		Last      string
	}
	var acks []ackLine
	total := 0
	for line := range strings.Lines(out) {
		ack := decodeJSON[ackLine](t, line)
		if n := len(acks); n > 0 && (ack.Tx <= acks[n-1].Tx || ack.Last <= acks[n-1].Last) {
			t.Errorf("ack %+v after %+v", ack, acks[n-1])
		}
		if ack.Files > 6 {
			t.Errorf("ack %+v is more than a batch", ack)
		}
		acks = append(acks, ack)
		total += ack.Files
	}
	// The bucket and its mode are changes too.
	wantEqual(t, "changes", total, 23)
	wantEqual(t, "last", acks[len(acks)-1].Last, "g")
}

func TestImport_EntriesBoundTransactions(t *testing.T) {
	tree, db := t.TempDir(), filepath.Join(t.TempDir(), "t.db")
	for i := range batchEntries + 10 {
		writeTestFile(t, filepath.Join(tree, fmt.Sprintf("f%04d", i)), nil, 0o600)
	}
	got := importJSON(t, db, tree)
	wantEqual(t, "transactions", got.Transactions, 2)
	wantEqual(t, "files", got.Files, batchEntries+10)
}

// cancelOnWrite interrupts the run after so many acknowledgements.
type cancelOnWrite struct {
	after  int
	cancel context.CancelFunc
}

func (w *cancelOnWrite) Write(p []byte) (int, error) {
	if w.after--; w.after == 0 {
		w.cancel()
	}
	return len(p), nil
}

func TestImport_Interrupted_Resumed(t *testing.T) {
	tree, dir := makeTree(t), t.TempDir()
	db, out := filepath.Join(dir, "t.db"), filepath.Join(dir, "out")
	ctx, cancel := context.WithCancel(context.Background())
	var errs bytes.Buffer
	code := runContext(ctx, []string{"import", db, tree, "--ack", "--batch-bytes", "1", "-o", "json"}, nil,
		&cancelOnWrite{after: 8, cancel: cancel}, &errs)
	wantEqual(t, "exit code", code, exitInterrupted)
	wantEqual(t, "kind", decodeJSON[errorReport](t, errs.String()).Error.Kind, "interrupted")
	checkSound(t, db)
	got := importJSON(t, db, tree)
	if got.Skipped == 0 || got.Files == 0 {
		t.Errorf("nothing to resume: %+v", got)
	}
	cli(t, exitOK, "export", db, out)
	wantSameTree(t, out, tree)
}

// TestImport_Killed_Resumed kills an importing process without warning after an acknowledgement:
// all that was acknowledged must be there, and the import must go on from it.
func TestImport_Killed_Resumed(t *testing.T) {
	tree, dir := makeTree(t), t.TempDir()
	for i := range 300 {
		writeTestFile(t, filepath.Join(tree, "empty", fmt.Sprintf("f%03d", i)), bytes.Repeat([]byte{'x'}, 2000), 0o600)
	}
	db, out := filepath.Join(dir, "t.db"), filepath.Join(dir, "out")
	cmd := exec.Command(os.Args[0], "import", db, tree, "--ack", "--batch-bytes", "8K", "--quiet")
	cmd.Env = append(os.Environ(), asCommandEnv+"=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := 0
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var ack struct{ Files int }
		if err := json.Unmarshal(lines.Bytes(), &ack); err != nil {
			t.Fatalf("ack %q: %v", lines.Text(), err)
		}
		acknowledged += ack.Files
		if acknowledged > 30 {
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	checkSound(t, db)
	got := importJSON(t, db, tree)
	// Besides files an acknowledgement counts directories and their modes: 1 + 2*5 at most.
	if got.Skipped < acknowledged-11 {
		t.Errorf("acknowledged %d changes, but only %d files were there", acknowledged, got.Skipped)
	}
	cli(t, exitOK, "export", db, out)
	wantSameTree(t, out, tree)
}

// putEntry stores a value in the way that import does, under any name.
func putEntry(t *testing.T, db string, path [][]byte, name string, mode fs.FileMode, content string) {
	t.Helper()
	a := &app{timeout: time.Minute}
	err := a.withDB(context.Background(), db, writeExisting, func(db *lightning.DB) error {
		return update(db, func(tx *lightning.Tx) error {
			b, err := makeBucket(tx, path)
			if err != nil {
				return err
			}
			value := newEntry(0, len(content))
			value[0], value[1], value[2], value[3] = byte(mode), byte(mode>>8), byte(mode>>16), byte(mode>>24)
			copy(value[modeBytes:], content)
			return b.Put([]byte(name), value)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestExport_HostileEntries(t *testing.T) {
	top := []byte(defaultTree)
	for name, c := range map[string]struct {
		path    [][]byte
		key     string
		mode    fs.FileMode
		content string
	}{
		"dot":              {[][]byte{top}, ".", 0o644, "x"},
		"dot dot":          {[][]byte{top}, "..", 0o644, "x"},
		"parent":           {[][]byte{top}, "../evil", 0o644, "x"},
		"absolute":         {[][]byte{top}, "/tmp/evil", 0o644, "x"},
		"slash":            {[][]byte{top}, "a/b", 0o644, "x"},
		"NUL":              {[][]byte{top}, "a\x00b", 0o644, "x"},
		"bucket dot dot":   {[][]byte{top, []byte("..")}, "evil", 0o644, "x"},
		"bucket slash":     {[][]byte{top, []byte("../evil")}, "evil", 0o644, "x"},
		"setuid":           {[][]byte{top}, "su", 0o755 | fs.ModeSetuid, "x"},
		"device":           {[][]byte{top}, "dev", 0o644 | fs.ModeDevice, "x"},
		"link without end": {[][]byte{top}, "link", 0o777 | fs.ModeSymlink, ""},
		"link with a NUL":  {[][]byte{top}, "link", 0o777 | fs.ModeSymlink, "a\x00b"},
	} {
		t.Run(name, func(t *testing.T) {
			db, dir := newDB(t), t.TempDir()
			putEntry(t, db, c.path, c.key, c.mode, c.content)
			_, errs := cli(t, exitGeneral, "export", db, filepath.Join(dir, "out"))
			if !strings.Contains(errs, "export ") {
				t.Errorf("the entry is not named: %q", errs)
			}
			for path := range describe(t, dir) {
				if path != "." && path != "out" {
					t.Errorf("%q was written", path)
				}
			}
		})
	}
}

func TestExport_ShortValue(t *testing.T) {
	db := newDB(t)
	fill(t, db, "files", "k", "abc")
	cli(t, exitGeneral, "export", db, filepath.Join(t.TempDir(), "out"))
}

// TestExport_Force_NeverWritesThroughLinks puts links where the export wants files and directories.
func TestExport_Force_NeverWritesThroughLinks(t *testing.T) {
	db, dir := newDB(t), t.TempDir()
	top := []byte(defaultTree)
	putEntry(t, db, [][]byte{top}, "file", 0o644, "new")
	putEntry(t, db, [][]byte{top, []byte("dir")}, "inner", 0o644, "new")
	putEntry(t, db, [][]byte{top, []byte("inside")}, "inner", 0o644, "new")
	out, outside := filepath.Join(dir, "out"), filepath.Join(dir, "outside")
	for _, d := range []string{out, outside, filepath.Join(out, "real")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeTestFile(t, filepath.Join(outside, "victim"), []byte("old"), 0o644)
	for link, target := range map[string]string{"file": "../outside/victim", "dir": outside, "inside": "real"} {
		if err := os.Symlink(target, filepath.Join(out, link)); err != nil {
			if runtime.GOOS == "windows" {
				t.Skipf("symbolic links need a privilege on Windows: %v", err)
			}
			t.Fatal(err)
		}
	}
	cli(t, exitOK, "export", db, out, "--force")
	got := describe(t, dir)
	wantEqual(t, "victim", got["outside/victim"], fmt.Sprintf("-rw-r--r-- %x", "old"))
	wantEqual(t, "file", got["out/file"], fmt.Sprintf("-rw-r--r-- %x", "new"))
	wantEqual(t, "inner", got["out/dir/inner"], fmt.Sprintf("-rw-r--r-- %x", "new"))
	if _, found := got["outside/inner"]; found {
		t.Error("written through a link to the outside")
	}
	if _, found := got["out/real/inner"]; found {
		t.Error("written through a link to the inside")
	}
	// A directory in the way of a file is not removed.
	putEntry(t, db, [][]byte{top}, "real", 0o644, "new")
	cli(t, exitGeneral, "export", db, out, "--force")
}

func TestExport_Interrupted(t *testing.T) {
	tree, db := makeTree(t), filepath.Join(t.TempDir(), "t.db")
	importJSON(t, db, tree)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	code := runContext(ctx, []string{"export", db, filepath.Join(t.TempDir(), "out")}, nil, io.Discard, io.Discard)
	wantEqual(t, "exit code", code, exitInterrupted)
}
