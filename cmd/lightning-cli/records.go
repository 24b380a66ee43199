package main

import (
	"bufio"
	"fmt"
	"io"
)

// recordFormat is the value of the flag --format of import and export.
type recordFormat string

const (
	formatTree  recordFormat = "tree"
	formatJSONL recordFormat = "jsonl"
	formatCSV   recordFormat = "csv"
)

func (f *recordFormat) String() string { return string(*f) }

// Type is the name of the flag's value in help texts.
func (f *recordFormat) Type() string { return "tree|jsonl|csv" }

// Set is called by the flag parser.
func (f *recordFormat) Set(s string) error {
	switch recordFormat(s) {
	case formatTree, formatJSONL, formatCSV:
		*f = recordFormat(s)
		return nil
	}
	return fmt.Errorf("%q is not one of tree, jsonl, csv", s)
}

// recordsHelp is in the help of both import and export.
const recordsHelp = `Records (--format jsonl or csv, one a line): a bucket with its sequence, or a key with its value. A bucket
is named by its path below --bucket (default the whole database), and comes before what is in it.

  jsonl  {"bucket":["users"],"sequence":7}
         {"bucket":["users","eu"],"key":"alice","value":{"base64":"AP8="}}
         A name, key or value is a string if it is UTF-8 without control characters, but for tabs and line
         ends, and {"base64":"..."} otherwise. Strings with any escapes of JSON are read.
  csv    RFC 4180, with the columns bucket, key, value and sequence named in the first line; a line without
         a key is a bucket. Fields are in the encodings that lightning-cli --help explains: text, or what the
         name of the column ends in, such as value_base64. A bucket is a bucket path.
`

// record is a bucket, if it has no key, or a key with its value.
type record struct {
	bucket      [][]byte // path
	key         []byte
	value       []byte
	sequence    uint64
	hasSequence bool
}

func (r *record) isBucket() bool { return len(r.key) == 0 }

// recordWriter writes records. What it returns is an error of the writer
// beneath.
type recordWriter interface {
	begin() error
	write(r *record) error
}

// recordReader reads records that are trusted in nothing.
type recordReader interface {
	// next returns the next record, which is valid for good, or io.EOF.
	next() (*record, error)
	// line is the number of the line that the last record begins in.
	line() int
}

func (a *app) newRecordWriter(format recordFormat, w *bufio.Writer) recordWriter {
	if format == formatCSV {
		return &csvWriter{w: w, bucketEnc: a.bucketEnc, keyEnc: a.keyEnc, valueEnc: a.valueEnc}
	}
	return &jsonWriter{w: w}
}

func newRecordReader(format recordFormat, r io.Reader) recordReader {
	in := bufio.NewReaderSize(r, 64<<10)
	if format == formatCSV {
		return &csvReader{in: in, at: 1}
	}
	return &jsonReader{in: in, at: 1}
}
