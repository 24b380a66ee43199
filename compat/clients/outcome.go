package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// result is how a test ended.
type result string

// The results that go test knows.
const (
	pass result = "pass"
	fail result = "fail"
	skip result = "skip"
)

// outcome is what go test said of the tests of a package.
type outcome struct {
	results map[string]result // by test and subtest
	output  map[string]string // what they printed; of "", what the package did
	elapsed time.Duration
}

// parse reads the lines that go test -json prints. A test that did not end has
// failed: the process died in it.
func parse(r io.Reader) (o outcome, err error) {
	o = outcome{results: make(map[string]result), output: make(map[string]string)}
	output := make(map[string]*strings.Builder)
	for d := json.NewDecoder(r); ; {
		var e struct {
			Action, Test, Output string
			Elapsed              float64
		}
		err := d.Decode(&e)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return o, fmt.Errorf("output of go test: %w", err)
		}
		switch e.Action {
		case "run":
			o.results[e.Test] = fail
		case "output", "build-output":
			if output[e.Test] == nil {
				output[e.Test] = new(strings.Builder)
			}
			output[e.Test].WriteString(e.Output)
		case string(pass), string(fail), string(skip):
			if e.Test == "" {
				o.elapsed = time.Duration(e.Elapsed * float64(time.Second))
			} else {
				o.results[e.Test] = result(e.Action)
			}
		}
	}
	for test, b := range output {
		o.output[test] = b.String()
	}
	return o, nil
}

func (o outcome) count(r result) (n int) {
	for _, got := range o.results {
		if got == r {
			n++
		}
	}
	return n
}

// outputOf returns what the test printed. A test that is not there has the
// output of its package.
func (o outcome) outputOf(test string) string {
	if s, ok := o.output[test]; ok {
		return s
	}
	return o.output[""]
}

// String tells the numbers of tests.
func (o outcome) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped, %s", o.count(pass), o.count(fail), o.count(skip), seconds(o.elapsed))
}
