package main

import (
	"bytes"
	"testing"

	"github.com/lightning-db/lightning/internal/seed"
)

func TestEncoding_RoundTrip(t *testing.T) {
	rng := seed.Rand(t)
	inputs := [][]byte{{}, {0}, []byte(`\`), []byte(`\x00`), []byte("a/b"), []byte("tab\tnew\nline"),
		[]byte("grüße 漢字"), {0xff, 0xfe}, []byte("\ufffd"), []byte("\u00a0\u202e")}
	for range 2000 {
		b := make([]byte, rng.IntN(40))
		for i := range b {
			b[i] = byte(rng.UintN(256))
		}
		inputs = append(inputs, b)
	}
	for _, e := range []encoding{encText, encHex, encBase64} {
		for _, in := range inputs {
			got, err := e.decode(e.encode(in))
			if err != nil || !bytes.Equal(got, in) {
				t.Fatalf("%s: %q became %q, then %q, %v", e, in, e.encode(in), got, err)
			}
			if len(in) == 0 {
				continue
			}
			path := [][]byte{in, []byte("x"), in}
			names, err := e.decodePath(e.encodePath(path))
			if err != nil || len(names) != 3 || !bytes.Equal(names[0], in) || !bytes.Equal(names[2], in) {
				t.Fatalf("%s path: %q became %q, then %q, %v", e, path, e.encodePath(path), names, err)
			}
		}
	}
}

func TestEncoding_Text_Spelling(t *testing.T) {
	for in, want := range map[string]string{
		"plain text":   "plain text",
		"grüße":        "grüße",
		`C:\temp`:      `C:\\temp`,
		"a\tb\n":       `a\x09b\x0a`,
		"\x00\xff":     `\x00\xff`,
		"\x1b[31mred":  `\x1b[31mred`,
		"right\u202eL": `right\xe2\x80\xaeL`,
	} {
		wantEqual(t, "encode", encText.encode([]byte(in)), want)
	}
	wantEqual(t, "name with a slash", encText.encodeName([]byte("a/b")), `a\x2fb`)
}

func TestEncoding_Decode_Errors(t *testing.T) {
	for _, c := range []struct {
		e    encoding
		text string
	}{
		{encText, `\`}, {encText, `a\n`}, {encText, `\x`}, {encText, `\x4`}, {encText, `\xgg`},
		{encHex, "abc"}, {encHex, "zz"}, {encBase64, "a"}, {encBase64, "a*bc"}, {encBase64, "YR=="},
	} {
		if got, err := c.e.decode(c.text); exitCode(err) != exitUsage {
			t.Errorf("%s %q: got %q, %v, want a usage error", c.e, c.text, got, err)
		}
	}
	for _, path := range []string{"", "/", "a//b", "/a", "a/"} {
		if got, err := encText.decodePath(path); exitCode(err) != exitUsage {
			t.Errorf("path %q: got %q, %v, want a usage error", path, got, err)
		}
	}
}

func TestEncoding_DecodeStream(t *testing.T) {
	for _, c := range []struct {
		e        encoding
		in, want string
	}{
		{encText, "a\\b\n", "a\\b\n"},
		{encHex, "61 62\n63\n", "abc"},
		{encBase64, "YW\nJj\n", "abc"},
		{encBase64, "YQ==\n", "a"},
	} {
		got, err := c.e.decodeStream([]byte(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("%s %q: got %q, %v, want %q", c.e, c.in, got, err, c.want)
		}
	}
}

func TestByteSize(t *testing.T) {
	for in, want := range map[string]byteSize{"1": 1, "4096": 4096, "8K": 8 << 10, "4m": 4 << 20, "2G": 2 << 30} {
		var got byteSize
		if err := got.Set(in); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", in, got, err, want)
		}
		var again byteSize
		if err := again.Set(got.String()); err != nil || again != want {
			t.Errorf("%q printed as %q reads as %d, %v", in, got.String(), again, err)
		}
	}
	for _, in := range []string{"", "K", "-1", "0", "1.5M", "9999999999G", "8X"} {
		var got byteSize
		if err := got.Set(in); err == nil {
			t.Errorf("%q: got %d, want an error", in, got)
		}
	}
}
