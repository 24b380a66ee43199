package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// encoding says how bytes are spelt in arguments and in output. What encode writes, decode reads
// back to the same bytes, for every encoding and every byte sequence.
type encoding string

const (
	encText   encoding = "text"
	encHex    encoding = "hex"
	encBase64 encoding = "base64"
)

const encodingHelp = `Encodings (text, hex, base64):
  text    printable UTF-8 stands for itself, a backslash is written \\, and every other byte is
          written \xHH. Arguments use the same escapes, so what is printed can be typed back.
  hex     two hexadecimal digits a byte
  base64  RFC 4648 with padding; the "-" and "_" alphabet in bucket paths, the "+" and "/" one
          elsewhere. Both are read, with or without padding.
A bucket path is bucket names joined by "/", each in --bucket-encoding. In text a slash that belongs
to a name is written \x2f. An argument that starts with "-" must come after "--".
`

func (e *encoding) String() string { return string(*e) }

// Type is the name of the flag's value in help texts.
func (e *encoding) Type() string { return "text|hex|base64" }

// Set is called by the flag parser.
func (e *encoding) Set(s string) error {
	switch encoding(s) {
	case encText, encHex, encBase64:
		*e = encoding(s)
		return nil
	}
	return fmt.Errorf("%q is not one of text, hex, base64", s)
}

func (e encoding) encode(b []byte) string {
	switch e {
	case encHex:
		return hex.EncodeToString(b)
	case encBase64:
		return base64.StdEncoding.EncodeToString(b)
	}
	return escape(b, "")
}

func (e encoding) decode(s string) ([]byte, error) {
	switch e {
	case encHex:
		b, err := hex.DecodeString(s)
		if err != nil {
			return nil, usagef("decode %q: %w", s, err)
		}
		return b, nil
	case encBase64:
		alphabet := strings.NewReplacer("+", "-", "/", "_")
		b, err := base64.RawURLEncoding.Strict().DecodeString(alphabet.Replace(strings.TrimRight(s, "=")))
		if err != nil {
			return nil, usagef("decode %q: %w", s, err)
		}
		return b, nil
	}
	return unescape(s)
}

// decodeStream decodes a value read from a file or stdin. Text is taken byte for byte; white space,
// such as the line breaks of base64(1), means nothing in the other two.
func (e encoding) decodeStream(b []byte) ([]byte, error) {
	if e == encText {
		return b, nil
	}
	return e.decode(strings.Join(strings.Fields(string(b)), ""))
}

// encodeName spells one element of a bucket path.
func (e encoding) encodeName(name []byte) string {
	switch e {
	case encText:
		return escape(name, "/")
	case encBase64:
		return base64.URLEncoding.EncodeToString(name)
	}
	return e.encode(name)
}

func (e encoding) encodePath(path [][]byte) string {
	names := make([]string, len(path))
	for i, name := range path {
		names[i] = e.encodeName(name)
	}
	return strings.Join(names, "/")
}

func (e encoding) decodePath(s string) ([][]byte, error) {
	var path [][]byte
	for element := range strings.SplitSeq(s, "/") {
		name, err := e.decode(element)
		if err != nil {
			return nil, err
		}
		if len(name) == 0 {
			return nil, usagef("bucket path %q has an empty name", s)
		}
		path = append(path, name)
	}
	return path, nil
}

// decodeBase is decodePath that takes "" for the root bucket.
func (e encoding) decodeBase(s string) ([][]byte, error) {
	if s == "" {
		return nil, nil
	}
	return e.decodePath(s)
}

// escape spells b in the text encoding; the characters of special are escaped too.
func escape(b []byte, special string) string {
	var out strings.Builder
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		invalid := r == utf8.RuneError && size == 1
		switch {
		case r == '\\':
			out.WriteString(`\\`)
		case !invalid && unicode.IsPrint(r) && !strings.ContainsRune(special, r):
			out.WriteRune(r)
		default:
			for _, c := range b[:size] {
				fmt.Fprintf(&out, `\x%02x`, c)
			}
		}
		b = b[size:]
	}
	return out.String()
}

func unescape(s string) ([]byte, error) {
	out := make([]byte, 0, len(s))
	for rest := s; rest != ""; {
		switch {
		case rest[0] != '\\':
			out = append(out, rest[0])
			rest = rest[1:]
		case strings.HasPrefix(rest, `\\`):
			out = append(out, '\\')
			rest = rest[2:]
		case strings.HasPrefix(rest, `\x`) && len(rest) >= 4:
			b, err := hex.DecodeString(rest[2:4])
			if err != nil {
				return nil, usagef("decode %q: %w", s, err)
			}
			out = append(out, b[0])
			rest = rest[4:]
		default:
			return nil, usagef(`decode %q: a backslash must be written \\ or start \xHH`, s)
		}
	}
	return out, nil
}
