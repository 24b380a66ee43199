package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
)

func TestExitCode_Errors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, exitOK},
		{errors.New("x"), exitGeneral},
		{lightning.ErrIncompatibleValue, exitGeneral},
		{&fs.PathError{Op: "open", Err: fs.ErrNotExist}, exitGeneral},
		{&fs.PathError{Op: "open", Err: fs.ErrPermission}, exitGeneral},
		{usagef("x"), exitUsage},
		{notFoundf("x"), exitNotFound},
		{lightning.ErrBucketNotFound, exitNotFound},
		{&lightning.CorruptionError{}, exitCorrupt},
		{lightning.ErrChecksum, exitCorrupt},
		{lightning.ErrTimeout, exitLocked},
		{lightning.ErrInvalid, exitNotDatabase},
		{lightning.ErrVersionMismatch, exitNotDatabase},
		{lightning.ErrIntegrityKey, exitNotDatabase},
		{&fs.PathError{Op: "write", Err: errors.New("no space")}, exitIO},
		{&os.LinkError{Op: "rename", Err: errors.New("i/o")}, exitIO},
		{syscall.Errno(5), exitIO},
		{context.Canceled, exitInterrupted},
	} {
		wantEqual(t, fmt.Sprintf("%v", c.err), exitCode(c.err), c.want)
		if c.err != nil {
			wantEqual(t, fmt.Sprintf("wrapped %v", c.err), exitCode(fmt.Errorf("a: %w", errors.Join(c.err, nil))), c.want)
		}
	}
}

func TestExit_HelpNamesEveryCode(t *testing.T) {
	out, _ := cli(t, exitOK, "--help")
	for _, row := range exitTable {
		if !strings.Contains(out, row.meaning) || !strings.Contains(out, strconv.Itoa(row.code)) {
			t.Errorf("help does not explain exit code %d", row.code)
		}
	}
}

func TestHelp_EveryCommandHasExamples(t *testing.T) {
	for _, cmd := range newRoot(&app{out: bufio.NewWriter(io.Discard)}).Commands() {
		out, _ := cli(t, exitOK, cmd.Name(), "--help")
		if !strings.Contains(out, "Examples:\n  lightning-cli "+cmd.Name()) || !strings.Contains(out, "Usage:") {
			t.Errorf("help of %s: no example:\n%s", cmd.Name(), out)
		}
	}
}

func TestExit_Usage(t *testing.T) {
	for _, args := range [][]string{
		{}, {"nonsense"}, {"get", "db"}, {"get", "--nonsense"}, {"get", "a", "b", "c", "d"},
		{"create", "x.db", "--page-size", "5K"}, {"create", "x.db", "--page-size", "2K"},
		{"create", "x.db", "--page-size", "128K"}, {"create", "x.db", "--page-size", "many"},
		{"put", "x.db", "b", "k"}, {"put", "x.db", "b", "k", "v", "--file", "f"},
		{"get", "x.db", "b", "k", "-o", "yaml"}, {"get", "x.db", "b", "k", "--raw", "-o", "json"},
		{"get", "x.db", "b", "k", "--raw", "--value-encoding", "hex"},
		{"get", "x.db", "b", "zz", "--key-encoding", "hex"}, {"get", "x.db", "b//c", "k"},
		{"delete", "x.db", "b"}, {"delete", "x.db", "b", "k", "--bucket"},
		{"delete", "x.db", "b", "k", "--range"}, {"delete", "x.db", "b", "--range", "--bucket"},
		{"scan", "x.db", "--limit", "-1"}, {"scan", "x.db", "--timeout", "soon"},
		{"pages", "x.db", "one"}, {"pages", "x.db", "--", "-1"}, {"version", "x"},
	} {
		_, errs := cli(t, exitUsage, args...)
		if errs == "" {
			t.Errorf("%q: nothing on stderr", args)
		}
	}
	if _, err := os.Stat("x.db"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a usage error left a file: %v", err)
	}
}

func TestExit_NotFound(t *testing.T) {
	db := newDB(t)
	fill(t, db, "a/b", "k", "v")
	cli(t, exitNotFound, "get", db, "a/b", "nope")
	cli(t, exitNotFound, "get", db, "a/nope", "k")
	cli(t, exitNotFound, "get", db, "a", "b") // a bucket
	cli(t, exitNotFound, "get", db, "a/b/k", "k")
	cli(t, exitNotFound, "put", db, "nope", "k", "v")
	cli(t, exitNotFound, "delete", db, "a/b", "nope")
	cli(t, exitNotFound, "delete", db, "a/nope", "--bucket")
	cli(t, exitNotFound, "scan", db, "nope")
	cli(t, exitNotFound, "buckets", db, "nope")
	cli(t, exitNotFound, "pages", db, "123456789")
	cli(t, exitNotFound, "export", db, filepath.Join(t.TempDir(), "out"))
}

func TestExit_General_MissingFileIsNotCreated(t *testing.T) {
	db := filepath.Join(t.TempDir(), "missing.db")
	for _, args := range [][]string{
		{"get", db, "b", "k"}, {"put", db, "b", "k", "v", "--create-buckets"}, {"delete", db, "b", "k"},
		{"scan", db}, {"buckets", db}, {"stats", db}, {"check", db}, {"pages", db}, {"export", db, db + ".d"},
	} {
		cli(t, exitGeneral, args...)
		if _, err := os.Stat(db); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%q created the file: %v", args, err)
		}
	}
}

func TestExit_NotDatabase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "text")
	writeTestFile(t, file, bytes.Repeat([]byte("not a database\n"), 10_000), 0o600)
	for _, command := range []string{"check", "stats", "scan", "pages"} {
		cli(t, exitNotDatabase, command, file)
	}
	_, errs := cli(t, exitNotDatabase, "-o", "json", "scan", file)
	report := decodeJSON[errorReport](t, errs)
	wantEqual(t, "code", report.Error.Code, exitNotDatabase)
	wantEqual(t, "kind", report.Error.Kind, "not-a-database")
}

func TestExit_Locked(t *testing.T) {
	db := newDB(t)
	fill(t, db, "b", "k", "v")
	holder, err := lightning.Open(db, 0o600, &lightning.Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	_, errs := cli(t, exitLocked, "get", db, "b", "k", "--timeout", "60ms")
	if !strings.Contains(errs, "--timeout") {
		t.Errorf("no advice in %q", errs)
	}
	cli(t, exitLocked, "put", db, "b", "k", "w", "--timeout", "60ms")
	// With no limit the command waits until it is interrupted.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	wantEqual(t, "interrupted wait", runContext(ctx, []string{"get", db, "b", "k", "--timeout", "0"},
		strings.NewReader(""), io.Discard, io.Discard), exitInterrupted)
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	cli(t, exitOK, "get", db, "b", "k", "--timeout", "0")
}

func TestExit_JSONErrorBeforeFlagsAreParsed(t *testing.T) {
	for _, args := range [][]string{
		{"get", "--nonsense", "-o", "json"}, {"get", "--nonsense", "-ojson"}, {"-o=json", "nonsense"},
		{"get", "--output=json"},
	} {
		_, errs := cli(t, exitUsage, args...)
		wantEqual(t, "kind", decodeJSON[errorReport](t, errs).Error.Kind, "usage")
	}
}

// TestExit_Interrupted_Signal interrupts another process that waits for stdin.
func TestExit_Interrupted_Signal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows cannot send an interrupt to one process")
	}
	db := newDB(t)
	cmd := exec.Command(os.Args[0], "put", db, "b", "k", "-", "--create-buckets")
	cmd.Env = append(os.Environ(), asCommandEnv+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Once the pipe has swallowed more than its buffer the process is reading, with its handler set.
	if _, err := stdin.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted {
		t.Errorf("got %v, want exit code %d", err, exitInterrupted)
	}
	cli(t, exitNotFound, "get", db, "b", "k")
}

func TestExit_OutputThatCannotBeWritten(t *testing.T) {
	db := newDB(t)
	fill(t, db, "b", "k", "v")
	failing := failingWriter{&fs.PathError{Op: "write", Path: "stdout", Err: errors.New("no space")}}
	got := runContext(context.Background(), []string{"get", db, "b", "k"}, strings.NewReader(""), failing, io.Discard)
	wantEqual(t, "exit code", got, exitIO)
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func writeTestFile(t *testing.T, path string, content []byte, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
