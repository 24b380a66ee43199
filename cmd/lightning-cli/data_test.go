package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCreate(t *testing.T) {
	db := filepath.Join(t.TempDir(), "a.db")
	out, _ := cli(t, exitOK, "create", db, "--page-size", "16K", "-o", "json")
	wantEqual(t, "page size", decodeJSON[struct {
		PageSize int `json:"page_size"`
	}](t, out).PageSize, 16<<10)
	fill(t, db, "b", "k", "v")
	before, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	cli(t, exitGeneral, "create", db)
	after, err := os.ReadFile(db)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("create changed an existing file (%v)", err)
	}
	cli(t, exitGeneral, "create", filepath.Join(t.TempDir(), "no", "such", "dir.db"))
	out, _ = cli(t, exitOK, "create", filepath.Join(t.TempDir(), "q.db"), "--quiet")
	wantEqual(t, "quiet output", out, "")
}

func TestPutGet_TextAndRaw(t *testing.T) {
	db := newDB(t)
	fill(t, db, "users/eu", "alice", "admin")
	out, _ := cli(t, exitOK, "get", db, "users/eu", "alice")
	wantEqual(t, "get", out, "admin\n")
	out, _ = cli(t, exitOK, "get", db, "users/eu", "alice", "--raw")
	wantEqual(t, "get --raw", out, "admin")
	cli(t, exitOK, "put", db, "users/eu", "alice", "")
	out, _ = cli(t, exitOK, "get", db, "users/eu", "alice")
	wantEqual(t, "empty value", out, "\n")
	cli(t, exitGeneral, "put", db, "users", "eu", "x") // a bucket
	cli(t, exitGeneral, "put", db, "users", "", "x")
}

func TestPut_StdinAndFile(t *testing.T) {
	db := newDB(t)
	value := "a\\b\x00\n"
	cliInput(t, exitOK, value, "put", db, "b", "stdin", "-", "--create-buckets")
	file := filepath.Join(t.TempDir(), "value")
	writeTestFile(t, file, []byte(value), 0o600)
	cli(t, exitOK, "put", db, "b", "file", "--file", file)
	cliInput(t, exitOK, "YVxiAAo=\n", "put", db, "b", "base64", "-", "--value-encoding", "base64")
	for _, key := range []string{"stdin", "file", "base64"} {
		out, _ := cli(t, exitOK, "get", db, "b", key, "--raw")
		wantEqual(t, key, out, value)
		out, _ = cli(t, exitOK, "get", db, "b", key)
		wantEqual(t, key, out, `a\\b\x00\x0a`+"\n")
	}
	cli(t, exitGeneral, "put", db, "b", "k", "--file", file+".missing")
}

func TestEncodings_ThroughTheDatabase(t *testing.T) {
	db := newDB(t)
	cli(t, exitOK, "put", db, "612f62/00", "ff00", "cafe", "--create-buckets",
		"--bucket-encoding", "hex", "--key-encoding", "hex", "--value-encoding", "hex")
	out, _ := cli(t, exitOK, "get", db, `a\x2fb/\x00`, `\xff\x00`, "--value-encoding", "base64")
	wantEqual(t, "text path, base64 value", out, "yv4=\n")
	out, _ = cli(t, exitOK, "get", db, "YS9i/AA==", "_wA=", "--bucket-encoding", "base64", "--key-encoding", "base64")
	wantEqual(t, "base64 path, text value", out, `\xca\xfe`+"\n")
	out, _ = cli(t, exitOK, "buckets", db, "-r")
	if !strings.Contains(out, `a\x2fb`) || !strings.Contains(out, `  \x00`) {
		t.Errorf("buckets: %q", out)
	}
	out, _ = cli(t, exitOK, "scan", db, `a\x2fb/\x00`, "--key-encoding", "hex", "--value-encoding", "hex", "-o", "json")
	wantEqual(t, "scan", out, `{"key":"ff00","value":"cafe"}`+"\n")
}

func TestDelete(t *testing.T) {
	db := newDB(t)
	fill(t, db, "a/b", "k1", "1", "k2", "2", "k3", "3", "k4", "4")
	cli(t, exitOK, "delete", db, "a/b", "k1")
	cli(t, exitNotFound, "get", db, "a/b", "k1")
	out, _ := cli(t, exitOK, "delete", db, "a/b", "k2", "k4", "--range", "-o", "json")
	wantEqual(t, "range", out, `{"deleted_keys":2}`+"\n")
	out, _ = cli(t, exitOK, "scan", db, "a/b")
	wantEqual(t, "left", out, "k4\t4\n")
	out, _ = cli(t, exitOK, "delete", db, "a/b", "", "", "--range")
	wantEqual(t, "open range", out, "keys deleted: 1\n")
	out, _ = cli(t, exitOK, "delete", db, "a/b", "x", "y", "--range")
	wantEqual(t, "empty range", out, "keys deleted: 0\n")
	cli(t, exitGeneral, "delete", db, "a", "b") // a bucket
	cli(t, exitOK, "delete", db, "a/b", "--bucket")
	cli(t, exitNotFound, "scan", db, "a/b")
	cli(t, exitOK, "delete", db, "a", "--bucket")
	out, _ = cli(t, exitOK, "scan", db)
	wantEqual(t, "top level", out, "")
}

func TestScan(t *testing.T) {
	db := newDB(t)
	fill(t, db, "b", "a", "1", "b1", "2", "b2", "3", "c", "4")
	cli(t, exitOK, "put", db, "b", `\xff\xff`, "5")
	fill(t, db, "b/nested", "x", "y")
	all := "a\t1\nb1\t2\nb2\t3\nc\t4\nnested\t\t(bucket)\n" + `\xff\xff` + "\t5\n"
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{nil, all},
		{[]string{"--limit", "2"}, "a\t1\nb1\t2\n"},
		{[]string{"--prefix", "b"}, "b1\t2\nb2\t3\n"},
		{[]string{"--prefix", "b", "--reverse"}, "b2\t3\nb1\t2\n"},
		{[]string{"--prefix", `\xff`}, `\xff\xff` + "\t5\n"},
		{[]string{"--prefix", `\xff`, "--reverse"}, `\xff\xff` + "\t5\n"},
		{[]string{"--prefix", "zz"}, ""},
		{[]string{"--from", "b2", "--to", "nested"}, "b2\t3\nc\t4\n"},
		{[]string{"--from", "b2", "--to", "nested", "--reverse"}, "c\t4\nb2\t3\n"},
		{[]string{"--from", "b1x", "--prefix", "b"}, "b2\t3\n"},
		{[]string{"--to", "b2", "--prefix", "b"}, "b1\t2\n"},
		{[]string{"--from", "c", "--to", "b"}, ""},
		{[]string{"--from", "c", "--to", "b", "--reverse"}, ""},
		{[]string{"--to", "a", "--reverse"}, ""},
		{[]string{"--reverse", "--limit", "2", "--keys-only"}, `\xff\xff` + "\nnested\t(bucket)\n"},
		{[]string{"--from", "nested", "-o", "json"},
			`{"key":"nested","bucket":true}` + "\n" + `{"key":"\\xff\\xff","value":"5"}` + "\n"},
		{[]string{"--limit", "1", "--keys-only", "-o", "json"}, `{"key":"a"}` + "\n"},
		{[]string{"--from", `\xff`, "--raw"}, "\xff\xff\t5\n"},
	} {
		out, _ := cli(t, exitOK, append([]string{"scan", db, "b"}, c.flags...)...)
		wantEqual(t, strings.Join(c.flags, " "), out, c.want)
	}
	out, _ := cli(t, exitOK, "scan", db)
	wantEqual(t, "top level", out, "b\t\t(bucket)\n")
}

func TestScan_EmptyValueIsNotABucket(t *testing.T) {
	db := newDB(t)
	fill(t, db, "b", "k", "")
	out, _ := cli(t, exitOK, "scan", db, "b", "-o", "json")
	wantEqual(t, "scan", out, `{"key":"k","value":""}`+"\n")
	out, _ = cli(t, exitOK, "scan", db, "b")
	wantEqual(t, "scan", out, "k\t\n")
}

func TestIntegrityKey(t *testing.T) {
	dir := t.TempDir()
	db, key, empty := filepath.Join(dir, "a.db"), filepath.Join(dir, "key"), filepath.Join(dir, "empty")
	writeTestFile(t, key, []byte("0123456789abcdef0123456789abcdef"), 0o600)
	writeTestFile(t, empty, nil, 0o600)
	wrong := filepath.Join(dir, "wrong")
	writeTestFile(t, wrong, []byte("another key, another key, another"), 0o600)
	cli(t, exitUsage, "create", db, "--integrity-key-file", empty)
	cli(t, exitGeneral, "create", db, "--integrity-key-file", key+".missing")
	if _, err := os.Stat(db); err == nil {
		t.Fatal("a failed create left a file")
	}
	cli(t, exitOK, "create", db, "--integrity-key-file", key)
	cli(t, exitOK, "put", db, "b", "k", "v", "--create-buckets", "--integrity-key-file", key)
	cli(t, exitNotDatabase, "get", db, "b", "k")
	cli(t, exitNotDatabase, "check", db, "--integrity-key-file", wrong)
	t.Setenv(keyFileEnv, key)
	out, _ := cli(t, exitOK, "get", db, "b", "k")
	wantEqual(t, "value", out, "v\n")
	cli(t, exitOK, "check", db)
}
