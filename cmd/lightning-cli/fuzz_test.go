package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/lightning-db/lightning/internal/memdir"
)

// FuzzEncoding proves that every encoding reads back what it writes, as
// argument, as element of a path and from a stream; that text can be shown on
// a terminal; and that what cannot be decoded is a usage error. Ten minutes of
// it:
//
//	go test ./cmd/lightning-cli -run '^$' -fuzz '^FuzzEncoding$' -fuzztime=10m
func FuzzEncoding(f *testing.F) {
	for _, s := range []string{"", `\`, `\x`, `\x4`, `\xZZ`, `a\x2fb/c`, `\\\\`, "00fF", "YQ==", "YQ", "-_+/", "gr\u00fc\u00dfe", "\u202e\xff\x00", "//"} {
		f.Add(s, []byte(s))
	}
	f.Fuzz(func(t *testing.T, typed string, b []byte) {
		for _, e := range []encoding{encText, encHex, encBase64} {
			back := func(what string, got []byte, err error) {
				if err != nil || !bytes.Equal(got, b) {
					t.Fatalf("%s as %s reads back as %q, %v", e, what, got, err)
				}
			}
			got, err := e.decode(e.encode(b))
			back("argument", got, err)
			got, err = e.decode(e.encodeName(b))
			back("name", got, err)
			if e != encText {
				got, err = e.decodeStream([]byte(" " + e.encode(b) + "\n"))
				back("stream", got, err)
			}
			if len(b) > 0 {
				path, err := e.decodePath(e.encodePath([][]byte{b, {'/'}, b}))
				if err != nil || len(path) != 3 || string(path[1]) != "/" || !bytes.Equal(path[0], path[2]) {
					t.Fatalf("a path in %s reads back as %q, %v", e, path, err)
				}
				back("element", path[0], nil)
			}
			shown := func(r rune) bool { return !unicode.IsPrint(r) }
			if i := strings.IndexFunc(e.encode(b), shown); i >= 0 {
				t.Fatalf("%s cannot be shown: %q", e, e.encode(b))
			}
			if value, err := e.decode(typed); err == nil {
				again, err := e.decode(e.encode(value))
				if err != nil || !bytes.Equal(again, value) {
					t.Fatalf("%s %q is %q, then %q, %v", e, typed, value, again, err)
				}
			} else if exitCode(err) != exitUsage {
				t.Fatalf("%s %q: %v is no usage error", e, typed, err)
			}
			if path, err := e.decodePath(typed); err != nil && exitCode(err) != exitUsage {
				t.Fatalf("%s %q: %v is no usage error", e, typed, err)
			} else if err == nil && slices.ContainsFunc(path, func(name []byte) bool { return len(name) == 0 }) {
				t.Fatalf("%s %q has an empty name", e, typed)
			}
		}
	})
}

// FuzzByteSize proves that a size is refused or positive, and printed so that
// it reads back. Ten minutes of it:
//
//	go test ./cmd/lightning-cli -run '^$' -fuzz '^FuzzByteSize$' -fuzztime=10m
func FuzzByteSize(f *testing.F) {
	for _, s := range []string{"", "0", "1", "-1", "4096", "8k", "4M", "2G", "9999999999G", "8589934591G", "9223372036854775807", "1.5M", "1KM", "+1", "0x10", "1_000", "k"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var size, again byteSize
		if size.Set(text) != nil {
			return
		}
		if err := again.Set(size.String()); err != nil || again != size || size < 1 {
			t.Fatalf("%q is %d, printed as %q, which is %d, %v", text, size, size.String(), again, err)
		}
	})
}

// FuzzPutGet proves that any bucket name, key and value that can be put on a
// command line comes back in each encoding, from get and from scan. Ten minutes
// of it:
//
//	go test ./cmd/lightning-cli -run '^$' -fuzz '^FuzzPutGet$' -fuzztime=10m
func FuzzPutGet(f *testing.F) {
	for i, s := range []string{"plain", "-dash", "--", "a/b", "\\", "\x00\xff", "\n", strings.Repeat("long", 300)} {
		f.Add(uint8(i), []byte(s), []byte(s), []byte(s))
	}
	f.Add(uint8(0), []byte("b"), bytes.Repeat([]byte("k"), 32769), []byte{})
	template := newSandbox(f)
	f.Fuzz(func(t *testing.T, how uint8, name, key, value []byte) {
		enterSandbox(t, template)
		e := []encoding{encText, encHex, encBase64}[how%3]
		flags := []string{"--bucket-encoding", e.String(), "--key-encoding", e.String(), "--value-encoding", e.String()}
		path := e.encodePath([][]byte{name, name})
		want := exitOK
		switch {
		case len(name) == 0:
			want = exitUsage
		case len(key) == 0 || len(key) > 32768:
			want = exitGeneral
		}
		cli(t, want, append(flags, "put", "--create-buckets", "db", "--", path, e.encode(key), dashed(e, value))...)
		if want != exitOK {
			return
		}
		if out, _ := cli(t, exitOK, append(flags, "get", "db", "--", path, e.encode(key))...); out != e.encode(value)+"\n" {
			t.Fatalf("get: %q, want %q", out, e.encode(value))
		}
		if out, _ := cli(t, exitOK, append(flags[:4:4], "get", "--raw", "db", "--", path, e.encode(key))...); out != string(value) {
			t.Fatalf("get --raw: %q, want %q", out, value)
		}
		out, _ := cli(t, exitOK, append(flags, "scan", "-o", "json", "db", "--", path)...)
		if entry := decodeJSON[map[string]any](t, out); entry["key"] != e.encode(key) || entry["value"] != e.encode(value) {
			t.Fatalf("scan: %q, want %q and %q", out, e.encode(key), e.encode(value))
		}
		cli(t, exitOK, "check", "db", "--quiet")
	})
}

// dashed returns the value's spelling; a dash alone would mean stdin.
func dashed(e encoding, value []byte) string {
	if s := e.encode(value); s != "-" {
		return s
	}
	return `\x2d`
}

// FuzzCommand runs any command line, its arguments parted by line breaks, in a
// directory with a database, a key file, a directory tree and a file that is no
// database. It proves: no panic and no hang; the exit code is a documented one;
// a failure says why, as JSON where JSON was asked for; and the database is
// sound afterwards. Ten minutes of it:
//
//	go test ./cmd/lightning-cli -run '^$' -fuzz '^FuzzCommand$' -fuzztime=10m -fuzzminimizetime=5x
func FuzzCommand(f *testing.F) {
	for _, line := range []string{
		"", "--help", "help put", "nonsense", "version -v", "version -ojson", "create new", "create db", "create new --page-size 64K",
		"create new --page-size 5000", "create new --integrity-key-file key", "check new --integrity-key-file key",
		"put db users alice admin", "put db users/new k v --create-buckets", "put db users k -", "put db users k --file key",
		"put db raw 00ff cafe --key-encoding hex --value-encoding hex --create-buckets", `put db a\x2fb k v --create-buckets`,
		"get db users bob", "get db users bob --raw", "get db users nobody -o json", "get db users bob --value-encoding base64", "get db users nested",
		"delete db users bob", "delete db users --bucket", "delete db users a z --range", "delete db users/nested --bucket -ojson",
		"scan db users", "scan db users --prefix b --limit 1 --reverse -o json", "scan db users --from a --to c --keys-only", "scan db --limit -1",
		"buckets db", "buckets db users -r -o json", "stats db", "stats db users -ojson", "check db", "check db -o json --quiet", "check none", "check text",
		"pages db", "pages db --type leaf,branch -ojson", "pages db 0 1 2", "pages db 99999999999999999999", "import db tree", "import new tree --ack --batch-bytes 1",
		"import db tree --mirror --bucket users -o json", "import db text", "export db out", "export db tree", "export db tree --force", "export db out --bucket users",
		"export db out --format jsonl", "export db - --format csv --value-encoding hex --bucket users -ojson", "export db text --format csv --force", "import new - --format csv",
		"import db text --format jsonl --create-buckets", "migrate db new.bolt", "migrate db db", "migrate text new", "migrate db new --dry-run -ojson", "migrate db new --to lightning",
		"check db --timeout -1s", "check db --timeout 1e9h", "check db --output yaml", "-o json check", "-o\x00json", "completion bash", "__complete put db users ",
	} {
		f.Add(strings.ReplaceAll(line, " ", "\n"), "from stdin")
	}
	template := newSandbox(f)
	f.Fuzz(func(t *testing.T, line, stdin string) {
		if len(line) > 1<<10 || len(stdin) > 1<<10 {
			return // longer ones find nothing that these do not
		}
		args := strings.Split(line, "\n")
		if slices.ContainsFunc(args, leavesSandbox) {
			return // leads out of the directory
		}
		enterSandbox(t, template)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var out, errs bytes.Buffer
		code := runContext(ctx, args, strings.NewReader(stdin), &out, &errs)
		if ctx.Err() != nil {
			t.Fatalf("%q hangs", args)
		}
		checkOutcome(t, args, code, errs.String())
		cli(t, exitOK, "check", "db", "--quiet")
	})
}

// leavesSandbox reports whether an argument may name a file elsewhere.
func leavesSandbox(arg string) bool {
	return strings.HasPrefix(arg, "/") || strings.Contains(arg, "..") || strings.Contains(arg, "=/") || strings.Contains(arg, "~")
}

// checkOutcome expects a documented exit code and, for a failure, a reason.
func checkOutcome(t *testing.T, args []string, code int, stderr string) {
	t.Helper()
	documented := false
	for _, row := range exitTable {
		documented = documented || row.code == code
	}
	if !documented || code == exitInterrupted {
		t.Fatalf("%q: exit code %d", args, code)
	}
	if code == exitOK {
		return
	}
	if stderr == "" {
		t.Fatalf("%q: exit code %d without a word", args, code)
	}
	if wantedFormat(args) != formatJSON {
		return
	}
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	var report errorReport
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &report); err != nil || report.Error.Code != code || report.Error.Message == "" {
		t.Fatalf("%q: exit code %d, stderr %q: %v", args, code, stderr, err)
	}
}

// newSandbox makes the directory that each input gets a copy of.
func newSandbox(f *testing.F) string {
	f.Helper()
	dir := f.TempDir()
	run := func(stdin string, args ...string) {
		var out, errs bytes.Buffer
		if code := runContext(f.Context(), args, strings.NewReader(stdin), &out, &errs); code != exitOK {
			f.Fatalf("%q: exit code %d, %s", args, code, &errs)
		}
	}
	db := filepath.Join(dir, "db")
	run("", "create", db)
	for _, key := range []string{"bob", "carol", "\\x00"} {
		run("", "put", "--create-buckets", db, "users", key, "value of "+key)
	}
	run("", "put", "--create-buckets", db, "users/nested", "k", "v")
	for name, content := range map[string]string{"text": "no database", "key": "secret", "tree/file": "content", "tree/sub/empty": ""} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			f.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.Symlink("file", filepath.Join(dir, "tree", "link")); err != nil {
		f.Fatal(err)
	}
	run("", "import", db, filepath.Join(dir, "tree"), "--quiet")
	return dir
}

// enterSandbox makes a copy of the template the working directory, in memory
// where that can be: every command line that writes syncs.
func enterSandbox(t *testing.T, template string) {
	t.Helper()
	dir := memdir.Temp(t)
	if err := os.CopyFS(dir, os.DirFS(template)); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
}
