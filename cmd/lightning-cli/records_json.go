package main

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	lightning "github.com/lightning-db/lightning"
)

// jsonWriter writes records as JSON lines.
type jsonWriter struct{ w *bufio.Writer }

func (j *jsonWriter) begin() error { return nil }

func (j *jsonWriter) write(r *record) error {
	w := j.w
	w.WriteString(`{"bucket":[`) // a failed write is kept by w, and returned by the last
	for i, name := range r.bucket {
		if i > 0 {
			w.WriteByte(',')
		}
		if err := writeJSONBytes(w, name); err != nil {
			return err
		}
	}
	w.WriteByte(']')
	if r.isBucket() {
		w.WriteString(`,"sequence":` + strconv.FormatUint(r.sequence, 10))
	} else {
		w.WriteString(`,"key":`)
		if err := writeJSONBytes(w, r.key); err != nil {
			return err
		}
		w.WriteString(`,"value":`)
		if err := writeJSONBytes(w, r.value); err != nil {
			return err
		}
	}
	_, err := w.WriteString("}\n")
	return err
}

// isText reports whether b is written as a string: UTF-8 without control
// characters, each of which would take six, but for tabs and line ends.
func isText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			return false
		}
	}
	return utf8.Valid(b)
}

// writeJSONBytes writes b as a string or, if it is no text, in base64, without
// a copy of it.
func writeJSONBytes(w *bufio.Writer, b []byte) error {
	if !isText(b) {
		w.WriteString(`{"base64":"`)
		enc := base64.NewEncoder(base64.StdEncoding, w)
		if _, err := enc.Write(b); err != nil {
			return err
		}
		if err := enc.Close(); err != nil {
			return err
		}
		_, err := w.WriteString(`"}`)
		return err
	}
	w.WriteByte('"')
	start := 0
	for i, c := range b {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		w.Write(b[start:i])
		start = i + 1
		w.WriteByte('\\')
		switch c {
		case '\n':
			c = 'n'
		case '\t':
			c = 't'
		case '\r':
			c = 'r'
		}
		w.WriteByte(c)
	}
	w.Write(b[start:])
	return w.WriteByte('"')
}

// jsonReader reads JSON lines. It holds no more of a line than the record.
type jsonReader struct {
	in    *bufio.Reader
	at    int // line
	began int // line of the last record
}

// textLimit is the most bytes of a name, key or value. The engine has limits
// of its own; this one keeps a line without an end from filling the memory.
const textLimit = lightning.MaxValueSize

func (j *jsonReader) line() int { return j.began }

// next parses one line.
func (j *jsonReader) next() (*record, error) {
	c, err := j.skipLines()
	j.began = j.at
	if err != nil {
		return nil, err
	}
	if c != '{' {
		return nil, fmt.Errorf("a line begins with %q, not with an object", c)
	}
	r := &record{}
	if err := j.object(func(name string) error { return j.member(r, name) }); err != nil {
		return nil, endInside(err)
	}
	if err := j.endOfLine(); err != nil {
		return nil, err
	}
	switch {
	case r.bucket == nil:
		return nil, errors.New(`no field "bucket"`)
	case r.key == nil && r.value == nil:
		return r, nil
	case r.hasSequence:
		return nil, errors.New("a key has no sequence")
	case r.key == nil || r.value == nil:
		return nil, errors.New("a key without a value, or a value without a key")
	case len(r.key) == 0:
		return nil, lightning.ErrKeyRequired
	}
	return r, nil
}

// endInside makes the end of the input an error where a line cannot end.
func endInside(err error) error {
	if err == io.EOF {
		return errors.New("the input ends inside of an object")
	}
	return err
}

// skipLines skips empty lines and returns the first character of the next one.
func (j *jsonReader) skipLines() (byte, error) {
	for {
		c, err := j.skipSpace()
		if err != nil || c != '\n' {
			return c, err
		}
		j.at++
	}
}

// skipSpace returns the next character that is no space; a line break is one.
func (j *jsonReader) skipSpace() (byte, error) {
	for {
		c, err := j.in.ReadByte()
		if err != nil || c != ' ' && c != '\t' && c != '\r' {
			return c, err
		}
	}
}

func (j *jsonReader) endOfLine() error {
	c, err := j.skipSpace()
	if err == io.EOF {
		return nil
	}
	if err == nil && c != '\n' {
		return fmt.Errorf("%q behind the object: one object a line", c)
	}
	j.at++
	return err
}

// expect reads want.
func (j *jsonReader) expect(want byte) error {
	c, err := j.skipSpace()
	if err == nil && c != want {
		err = unexpected(c, fmt.Sprintf("%q", want))
	}
	return err
}

func unexpected(c byte, want string) error {
	if c == '\n' {
		return fmt.Errorf("the line ends where %s is expected", want)
	}
	return fmt.Errorf("%q where %s is expected", c, want)
}

// object reads the members of an object, whose brace is read, each by fn.
func (j *jsonReader) object(fn func(name string) error) error {
	c, err := j.skipSpace()
	if err != nil || c == '}' {
		return err
	}
	for {
		if c != '"' {
			return unexpected(c, "the name of a field")
		}
		name, err := j.stringBytes(64)
		if err != nil {
			return err
		}
		if err := j.expect(':'); err != nil {
			return err
		}
		if err := fn(string(name)); err != nil {
			return err
		}
		if c, err = j.skipSpace(); err != nil || c == '}' {
			return err
		}
		if c != ',' {
			return unexpected(c, `"," or "}"`)
		}
		if c, err = j.skipSpace(); err != nil {
			return err
		}
	}
}

// member reads the field called name into r.
func (j *jsonReader) member(r *record, name string) (err error) {
	twice := false
	switch name {
	case "bucket":
		twice = r.bucket != nil
		r.bucket, err = j.path()
	case "key":
		twice = r.key != nil
		r.key, err = j.text(lightning.MaxKeySize)
	case "value":
		twice = r.value != nil
		r.value, err = j.text(textLimit)
	case "sequence":
		twice = r.hasSequence
		r.hasSequence = true
		r.sequence, err = j.number()
	default:
		return fmt.Errorf("unknown field %q", name)
	}
	if twice {
		return fmt.Errorf("field %q is there twice", name)
	}
	if err != nil && err != io.EOF {
		return fmt.Errorf("field %q: %w", name, err)
	}
	return err
}

// path reads an array of names.
func (j *jsonReader) path() ([][]byte, error) {
	if err := j.expect('['); err != nil {
		return nil, err
	}
	path := [][]byte{}
	c, err := j.skipSpace()
	if err != nil || c == ']' {
		return path, err
	}
	for {
		name, err := j.textFrom(c, textLimit)
		if err != nil {
			return nil, err
		}
		if len(name) == 0 {
			return nil, errors.New("an empty name")
		}
		if path = append(path, name); len(path) > lightning.MaxBucketDepth {
			return nil, lightning.ErrBucketDepth
		}
		if c, err = j.skipSpace(); err != nil || c == ']' {
			return path, err
		}
		if c != ',' {
			return nil, unexpected(c, `"," or "]"`)
		}
		if c, err = j.skipSpace(); err != nil {
			return nil, err
		}
	}
}

// text reads a string or an object with a field "base64".
func (j *jsonReader) text(limit int) ([]byte, error) {
	c, err := j.skipSpace()
	if err != nil {
		return nil, err
	}
	return j.textFrom(c, limit)
}

// textFrom is text whose first character c is read. The result is never nil.
func (j *jsonReader) textFrom(c byte, limit int) (b []byte, err error) {
	switch c {
	case '"':
		return j.stringBytes(limit)
	case '{':
	default:
		return nil, unexpected(c, `a string or {"base64":"..."}`)
	}
	err = j.object(func(name string) error {
		if name != "base64" || b != nil {
			return errors.New(`an object with more or less than the field "base64"`)
		}
		if err := j.expect('"'); err != nil {
			return err
		}
		coded, err := j.stringBytes(base64Limit(limit))
		if err != nil {
			return err
		}
		b = make([]byte, base64.StdEncoding.DecodedLen(len(coded)))
		n, err := base64.StdEncoding.Strict().Decode(b, coded)
		b = b[:n]
		return err
	})
	if err == nil && b == nil {
		err = errors.New(`an object without the field "base64"`)
	}
	if err == nil && len(b) > limit {
		err = tooLong(limit)
	}
	return b, err
}

// base64Limit returns how long the base64 of limit bytes is, or the longest
// string there can be.
func base64Limit(limit int) int {
	const most = int(^uint(0) >> 1)
	if limit > most/4*3-3 {
		return most
	}
	return base64.StdEncoding.EncodedLen(limit)
}

func tooLong(limit int) error { return fmt.Errorf("longer than %d bytes", limit) }

// stringBytes reads a string, whose first quote is read, of limit bytes at the
// most. The result is never nil.
func (j *jsonReader) stringBytes(limit int) ([]byte, error) {
	b := []byte{}
	for {
		plain, c, err := j.plain()
		b = append(b, plain...)
		if err != nil {
			return nil, err
		}
		j.discard(len(plain) + 1)
		switch {
		case len(b) > limit:
			return nil, tooLong(limit)
		case c == '"':
			if !utf8.Valid(b) {
				return nil, errors.New("a string is not valid UTF-8")
			}
			return b, nil
		case c == '\\':
			if b, err = j.escape(b); err != nil {
				return nil, err
			}
		case c == '\n':
			return nil, errors.New("the line ends inside of a string")
		case c < ' ':
			return nil, fmt.Errorf("the character %q is not escaped", c)
		default: // the end of the buffer, not of the string
			b = append(b, c)
		}
	}
}

// plain returns what of the string is in the buffer and stands for itself, and
// the character behind. Both are valid until they are discarded.
func (j *jsonReader) plain() (plain []byte, next byte, err error) {
	if _, err := j.in.Peek(1); err != nil {
		return nil, 0, err
	}
	buffered, err := j.in.Peek(j.in.Buffered())
	if err != nil {
		return nil, 0, err
	}
	for i, c := range buffered {
		if c == '"' || c == '\\' || c < ' ' {
			return buffered[:i], c, nil
		}
	}
	last := len(buffered) - 1
	return buffered[:last], buffered[last], nil
}

// discard skips n bytes that are in the buffer.
func (j *jsonReader) discard(n int) {
	if _, err := j.in.Discard(n); err != nil {
		panic(err) // they were peeked at
	}
}

// escape reads what is behind a backslash and appends what it stands for.
func (j *jsonReader) escape(b []byte) ([]byte, error) {
	c, err := j.in.ReadByte()
	if err != nil {
		return nil, err
	}
	switch c {
	case '"', '\\', '/':
		return append(b, c), nil
	case 'b':
		return append(b, '\b'), nil
	case 'f':
		return append(b, '\f'), nil
	case 'n':
		return append(b, '\n'), nil
	case 'r':
		return append(b, '\r'), nil
	case 't':
		return append(b, '\t'), nil
	case 'u':
	default:
		return nil, fmt.Errorf("unknown escape \\%c", c)
	}
	r, err := j.hexRune()
	if err != nil {
		return nil, err
	}
	if utf16.IsSurrogate(r) {
		// Half a pair stands for nothing: put in the place of it, U+FFFD would be another key.
		var behind [2]byte
		if _, err := io.ReadFull(j.in, behind[:]); err != nil {
			return nil, cutShort(err)
		}
		low := rune(0)
		if string(behind[:]) == `\u` {
			if low, err = j.hexRune(); err != nil {
				return nil, err
			}
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			return nil, errors.New("half of a surrogate pair")
		}
	}
	return utf8.AppendRune(b, r), nil
}

func (j *jsonReader) hexRune() (rune, error) {
	var digits [4]byte
	if _, err := io.ReadFull(j.in, digits[:]); err != nil {
		return 0, cutShort(err)
	}
	n, err := strconv.ParseUint(string(digits[:]), 16, 16)
	if err != nil {
		return 0, fmt.Errorf("%q are not four hexadecimal digits", digits)
	}
	return rune(n), nil
}

// cutShort makes all ends of the input io.EOF.
func cutShort(err error) error {
	if err == io.ErrUnexpectedEOF {
		return io.EOF
	}
	return err
}

// number reads a whole number of 64 bits.
func (j *jsonReader) number() (uint64, error) {
	c, err := j.skipSpace()
	var digits []byte
	for err == nil && c >= '0' && c <= '9' && len(digits) <= 20 {
		digits = append(digits, c)
		c, err = j.in.ReadByte()
	}
	if err != nil {
		return 0, err
	}
	if err := j.in.UnreadByte(); err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil || len(digits) > 1 && digits[0] == '0' {
		return 0, fmt.Errorf("%q is not a whole number from 0 to 2^64-1", digits)
	}
	return n, nil
}
