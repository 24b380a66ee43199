package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/lightning-db/lightning/bench/peers/runner"
	"github.com/lightning-db/lightning/bench/peers/workloads"
)

// baseline is the engine that the others are compared with, subject the one
// that has targets.
const (
	baseline = "bbolt"
	subject  = "lightning"
)

// cell names a table: a workload with a number of keys in a family.
type cell struct {
	family, workload string
	keys             int
}

// summary is what the rounds of a metric come to.
type summary struct {
	median, low, high float64
}

// summaries holds the metrics of every engine in every cell, and the cells and
// engines in the order in which they were measured.
type summaries struct {
	cells   []cell
	engines []string
	of      map[cell]map[string]map[string]summary // by engine, by metric
	failed  []runner.Result
}

func summarize(results []runner.Result) *summaries {
	s := &summaries{of: make(map[cell]map[string]map[string]summary)}
	type series struct {
		cell           cell
		engine, metric string
	}
	values := make(map[series][]float64)
	for _, r := range results {
		if r.Error != "" {
			s.failed = append(s.failed, r)
			continue
		}
		c := cell{r.Family, r.Workload, r.Keys}
		if !slices.Contains(s.cells, c) {
			s.cells = append(s.cells, c)
		}
		if !slices.Contains(s.engines, r.Engine) {
			s.engines = append(s.engines, r.Engine)
		}
		for metric, v := range r.Metrics {
			k := series{c, r.Engine, metric}
			values[k] = append(values[k], v)
		}
	}
	for k, v := range values {
		if s.of[k.cell] == nil {
			s.of[k.cell] = make(map[string]map[string]summary)
		}
		if s.of[k.cell][k.engine] == nil {
			s.of[k.cell][k.engine] = make(map[string]summary)
		}
		slices.Sort(v)
		s.of[k.cell][k.engine][k.metric] = summary{median: median(v), low: v[0], high: v[len(v)-1]}
	}
	return s
}

// median returns the middle of sorted values.
func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// get returns the summary of a metric, if it was measured.
func (s *summaries) get(c cell, engine, metric string) (summary, bool) {
	found, ok := s.of[c][engine][metric]
	return found, ok
}

// ratio returns the median of an engine by that of the baseline.
func (s *summaries) ratio(c cell, engine, metric string) (float64, bool) {
	e, ok := s.get(c, engine, metric)
	b, known := s.get(c, baseline, metric)
	if !ok || !known || b.median == 0 {
		return 0, false
	}
	return e.median / b.median, true
}

// rows returns the engines of a cell in the order of the columns: that in which
// the program knows them, the machine last.
func (s *summaries) rows(c cell, order []string) (names []string) {
	for _, e := range append(slices.Clone(order), workloads.LimitEngine) {
		if s.of[c][e] != nil {
			names = append(names, e)
		}
	}
	return names
}

// format writes a value with its unit, to three digits.
func format(v float64, unit workloads.Unit) string {
	switch unit {
	case workloads.Nanoseconds:
		return scaled(v, 1000, "ns", "µs", "ms", "s")
	case workloads.Bytes:
		return scaled(v, 1024, "B", "KiB", "MiB", "GiB")
	case workloads.BytesPerSec:
		return scaled(v, 1000, "B/s", "kB/s", "MB/s", "GB/s")
	case workloads.PerSecond:
		return scaled(v, 1000, "/s", "k/s", "M/s")
	}
	return digits(v)
}

func scaled(v, step float64, units ...string) string {
	i := 0
	for math.Abs(v) >= step && i < len(units)-1 {
		v /= step
		i++
	}
	return digits(v) + " " + units[i]
}

// digits writes three digits, or all of those before the point.
func digits(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	text := strconv.FormatFloat(v, 'f', 2, 64)
	if text == "-0.00" || text == "0.00" {
		return "0"
	}
	return text
}

// keysText writes a number of keys as 20,000.
func keysText(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return keysText(n/1000) + "," + fmt.Sprintf("%03d", n%1000)
}

// row writes a line of a table.
func row(b *strings.Builder, fields ...string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(fields, " | "))
}

// head writes the first two lines of a table; all columns but the first are
// numbers.
func head(b *strings.Builder, fields ...string) {
	row(b, fields...)
	line := make([]string, len(fields))
	for i := range line {
		line[i] = "---:"
	}
	line[0] = "---"
	row(b, line...)
}
