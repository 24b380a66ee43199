package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// asCommandEnv makes the test binary behave as lightning-cli, for tests that need a second process.
const asCommandEnv = "LIGHTNING_CLI_TEST_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(asCommandEnv) != "" {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	if err := os.Unsetenv(keyFileEnv); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// cli runs one command line in this process and fails the test unless it exits with want.
func cli(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	return cliInput(t, want, "", args...)
}

func cliInput(t *testing.T, want int, stdin string, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	got := runContext(context.Background(), args, strings.NewReader(stdin), &out, &errs)
	if got != want {
		t.Fatalf("lightning-cli %q: exit code %d, want %d\nstdout: %s\nstderr: %s", args, got, want, &out, &errs)
	}
	return out.String(), errs.String()
}

// newDB creates an empty database and returns its path.
func newDB(t *testing.T) string {
	t.Helper()
	db := filepath.Join(t.TempDir(), "test.db")
	cli(t, exitOK, "create", db)
	t.Cleanup(func() {
		if !t.Failed() {
			checkSound(t, db)
		}
	})
	return db
}

// checkSound runs check unless the test has removed or ruined the file on purpose.
func checkSound(t *testing.T, db string) {
	t.Helper()
	if _, err := os.Stat(db); err == nil {
		cli(t, exitOK, "check", db, "--quiet")
	}
}

func fill(t *testing.T, db, bucket string, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		cli(t, exitOK, "put", db, bucket, pairs[i], pairs[i+1], "--create-buckets")
	}
}

func decodeJSON[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("decode %q: %v", text, err)
	}
	return v
}

func wantEqual[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
