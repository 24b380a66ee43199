package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	lightning "github.com/lightning-db/lightning"
)

// The columns, in the order that export writes them.
const (
	columnBucket   = "bucket"
	columnKey      = "key"
	columnValue    = "value"
	columnSequence = "sequence"
)

// csvWriter writes records as CSV.
type csvWriter struct {
	w                           *bufio.Writer
	bucketEnc, keyEnc, valueEnc encoding
}

func (c *csvWriter) begin() error {
	return c.line(columnName(columnBucket, c.bucketEnc), columnName(columnKey, c.keyEnc),
		columnName(columnValue, c.valueEnc), columnSequence)
}

// columnName says in the name of a column how its fields are encoded.
func columnName(name string, e encoding) string {
	if e == encText {
		return name
	}
	return name + "_" + string(e)
}

func (c *csvWriter) write(r *record) error {
	sequence := ""
	if r.isBucket() {
		sequence = strconv.FormatUint(r.sequence, 10)
	}
	return c.line(c.bucketEnc.encodePath(r.bucket), c.keyEnc.encode(r.key), c.valueEnc.encode(r.value), sequence)
}

// line writes fields, quoted where they must be.
func (c *csvWriter) line(fields ...string) error {
	for i, field := range fields {
		if i > 0 {
			c.w.WriteByte(',') // a failed write is kept by w, and returned by the last
		}
		if !strings.ContainsAny(field, "\",\r\n") {
			c.w.WriteString(field)
			continue
		}
		c.w.WriteByte('"')
		for part := range strings.SplitAfterSeq(field, `"`) {
			c.w.WriteString(part)
			if strings.HasSuffix(part, `"`) {
				c.w.WriteByte('"')
			}
		}
		c.w.WriteByte('"')
	}
	_, err := c.w.WriteString("\r\n")
	return err
}

// csvReader reads CSV whose first line names the columns.
type csvReader struct {
	in      *bufio.Reader
	at      int // line
	began   int // line that the last row begins in
	columns []csvColumn
}

// csvColumn is a column of the file, in the file's order.
type csvColumn struct {
	name string
	enc  encoding
}

// fieldLimit is the most bytes of a field: a value with each byte escaped.
const fieldLimit = min(int64(textLimit)*4, math.MaxInt)

func (c *csvReader) line() int { return c.began }

func (c *csvReader) next() (*record, error) {
	if c.columns == nil {
		if err := c.readHeader(); err != nil {
			return nil, err
		}
	}
	fields, err := c.row()
	if err != nil {
		return nil, err
	}
	if len(fields) != len(c.columns) {
		return nil, fmt.Errorf("%d fields, but %d columns", len(fields), len(c.columns))
	}
	return c.record(fields)
}

// readHeader reads the names of the columns.
func (c *csvReader) readHeader() error {
	if bom, err := c.in.Peek(3); err == nil && string(bom) == "\ufeff" {
		if _, err := c.in.Discard(len(bom)); err != nil {
			return err
		}
	}
	fields, err := c.row()
	if err == io.EOF {
		return errors.New("the file is empty: the first line must name the columns")
	}
	if err != nil {
		return err
	}
	var columns []csvColumn
	for _, field := range fields {
		name, suffix, coded := strings.Cut(string(field), "_")
		column := csvColumn{name: name, enc: encText}
		known := slices.Contains([]string{columnBucket, columnKey, columnValue, columnSequence}, name)
		if known && coded && name != columnSequence {
			known = column.enc.Set(suffix) == nil
		} else if coded {
			known = false
		}
		if !known {
			return fmt.Errorf("unknown column %.64q", field)
		}
		if slices.ContainsFunc(columns, func(other csvColumn) bool { return other.name == name }) {
			return fmt.Errorf("column %q is there twice", name)
		}
		columns = append(columns, column)
	}
	for _, name := range []string{columnBucket, columnKey, columnValue} {
		if !slices.ContainsFunc(columns, func(column csvColumn) bool { return column.name == name }) {
			return fmt.Errorf("no column %q", name)
		}
	}
	c.columns = columns
	return nil
}

// record takes a row apart.
func (c *csvReader) record(fields [][]byte) (r *record, err error) {
	r = &record{}
	for i, column := range c.columns {
		field := string(fields[i])
		fields[i] = nil // large ones are there once
		switch column.name {
		case columnBucket:
			r.bucket, err = column.enc.decodeBase(field)
		case columnKey:
			r.key, err = column.enc.decode(field)
		case columnValue:
			r.value, err = column.enc.decode(field)
		case columnSequence:
			if r.hasSequence = field != ""; r.hasSequence {
				r.sequence, err = strconv.ParseUint(field, 10, 64)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("column %q: %.300s", column.name, err)
		}
	}
	switch {
	case len(r.bucket) > lightning.MaxBucketDepth:
		return nil, lightning.ErrBucketDepth
	case r.isBucket() && len(r.value) > 0:
		return nil, errors.New("a value without a key")
	case !r.isBucket() && r.hasSequence:
		return nil, errors.New("a key has no sequence")
	}
	return r, nil
}

// row reads the fields of the next line that is not empty.
func (c *csvReader) row() (fields [][]byte, err error) {
	for {
		c.began = c.at
		first, err := c.in.ReadByte()
		if err != nil {
			return nil, err
		}
		if first == '\n' {
			c.at++
			continue
		}
		if first == '\r' {
			if err := c.lineFeed(); err != nil {
				return nil, err
			}
			continue
		}
		if err := c.in.UnreadByte(); err != nil {
			return nil, err
		}
		break
	}
	for {
		field, last, err := c.field()
		if err != nil {
			return nil, err
		}
		fields = append(fields, field)
		if last {
			return fields, nil
		}
		if len(fields) > 4 {
			return nil, errors.New("more fields than there can be columns")
		}
	}
}

// lineFeed reads what must be behind a carriage return.
func (c *csvReader) lineFeed() error {
	b, err := c.in.ReadByte()
	if err == io.EOF {
		return nil
	}
	if err == nil && b != '\n' {
		return errors.New("a carriage return that is not in quotes, and ends no line")
	}
	c.at++
	return err
}

// ends tells whether b, or err in its place, is the end of a field, and then
// reports last if it is that of the row too.
func (c *csvReader) ends(b byte, err error) (ends, last bool, _ error) {
	switch {
	case err == io.EOF:
		return true, true, nil
	case err != nil:
		return false, false, err
	case b == ',':
		return true, false, nil
	case b == '\n':
		c.at++
		return true, true, nil
	case b == '\r':
		return true, true, c.lineFeed()
	}
	return false, false, nil
}

// field reads a field and what ends it, and reports last if that is the end of
// the row.
func (c *csvReader) field() (field []byte, last bool, err error) {
	b, err := c.in.ReadByte()
	if err == io.EOF {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	if b == '"' {
		return c.quoted()
	}
	for {
		if ends, last, err := c.ends(b, err); ends || err != nil {
			return field, last, err
		}
		switch {
		case b == '"':
			return nil, false, errors.New("a quote inside of a field that does not begin with one")
		case int64(len(field)) == fieldLimit:
			return nil, false, tooLong(textLimit)
		}
		field = append(field, b)
		b, err = c.in.ReadByte()
	}
}

// quoted reads a field whose first quote is read.
func (c *csvReader) quoted() (field []byte, last bool, err error) {
	for {
		part, err := c.in.ReadSlice('"')
		if err != nil && err != bufio.ErrBufferFull {
			if err == io.EOF {
				err = errors.New("the input ends inside of a quoted field")
			}
			return nil, false, err
		}
		c.at += bytes.Count(part, []byte{'\n'})
		field = append(field, part...)
		if int64(len(field)) > fieldLimit {
			return nil, false, tooLong(textLimit)
		}
		if err != nil {
			continue
		}
		b, err := c.in.ReadByte()
		if err == nil && b == '"' {
			continue // two quotes are one of the field
		}
		field = field[:len(field)-1]
		if ends, last, err := c.ends(b, err); ends || err != nil {
			return field, last, err
		}
		return nil, false, fmt.Errorf("%q behind the quote that ends a field", b)
	}
}
