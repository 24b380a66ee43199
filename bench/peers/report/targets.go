package report

import (
	"strings"

	"github.com/lightning-db/lightning/bench/peers/runner"
	"github.com/lightning-db/lightning/bench/peers/workloads"
)

// target is what a metric of the subject is to reach: a bound, or a factor of
// what another engine reaches.
type target struct {
	family, workload, metric string
	than                     string // an engine or the machine; empty = the bound is absolute
	bound                    float64
	atLeast                  bool
}

// most and least are targets of the family speed.
func most(workload, metric string, bound float64, than string) target {
	return target{family: runner.Speed, workload: workload, metric: metric, bound: bound, than: than}
}

func least(workload, metric string, bound float64, than string) target {
	t := most(workload, metric, bound, than)
	t.atLeast = true
	return t
}

// cached moves a target to the family cached.
func cached(t target) target {
	t.family = runner.Cached
	return t
}

const (
	micro = 1e3
	milli = 1e6
	kib   = 1 << 10
)

var targets = []target{
	most("get-tx", "time", 0.6, "bbolt"),
	most("get-tx", "allocs", 0, ""),
	most("get-view", "time", 0.5, "bbolt"),
	most("get-view", "time", 1, "lmdb"),
	most("get-view", "allocs", 1, ""),
	least("get-view-cores", "gets", 2.5, "bbolt"),
	least("get-view-cores", "gets", 1, "lmdb"),
	least("get-view-cores", "scaling", 1.9, ""),
	most("seek", "time", 0.7, "bbolt"),
	most("scan", "time", 0.6, "bbolt"),
	most("load-sorted", "time", 0.35, "bbolt"),
	most("load-sorted", "file / live", 1.15, ""),
	most("load-append", "time", 1, "lmdb"),
	most("load-random", "time", 0.45, "bbolt"),
	most("load-random", "time", 1, "lmdb"),
	most("load-random", "file / live", 1.6, ""),
	most("put", "time", 1, "lmdb"),
	most("put", "P99", 100*micro, ""),
	most("put-sync", "flushes", 1, ""),
	most("put-sync", "P50", 0.6, "bbolt"),
	most("put-sync", "P50", 1.2, workloads.LimitEngine),
	most("put-sync", "written", 24*kib, ""),
	least("writers-16", "commits", 17_000, ""),
	least("writers-64", "commits", 60_000, ""),
	most("reads-beside", "P99", 3*micro, ""),
	most("reads-beside", "P99.9", 100*micro, ""),
	most("churn", "file / live", 1.3, ""),
	most("churn", "time", 0.5, "bbolt"),
	least("big-put-sync", "throughput", 0.7, workloads.LimitEngine),
	least("big-put", "throughput", 0.7, workloads.LimitEngine),
	most("big-neighbour", "written", 24*kib, ""),
	least("big-get", "throughput", 20e9, ""),
	most("open-clean", "open", 2*milli, ""),
	most("open-killed", "open", 2*milli, ""),
	most("holes", "written", 24*kib, ""),
	cached(most("get-tx", "time", 0.4, "bbolt")),
	cached(most("get-view", "time", 0.4, "bbolt")),
	cached(least("get-view-cores", "gets", 2.5, "bbolt")),
}

// unitOf returns the unit of a workload's metric.
func unitOf(workload, metric string) workloads.Unit {
	w, _ := workloads.ByName(workload)
	for _, m := range w.Metrics {
		if m.Name == metric {
			return m.Unit
		}
	}
	return workloads.Count
}

// want writes what is to be reached.
func (t target) want() string {
	sign := "≤ "
	if t.atLeast {
		sign = "≥ "
	}
	if t.than != "" {
		return t.metric + " " + sign + digits(t.bound) + " × " + t.than
	}
	return t.metric + " " + sign + format(t.bound, unitOf(t.workload, t.metric))
}

// judge returns what the subject has in the target's terms, and whether it is
// reached; what was not measured is said to be so.
func (t target) judge(s *summaries, c cell) (got, verdict string) {
	mine, ok := s.get(c, subject, t.metric)
	if !ok {
		return "", "not measured"
	}
	v, text := mine.median, format(mine.median, unitOf(t.workload, t.metric))
	if t.than != "" {
		other, ok := s.get(c, t.than, t.metric)
		if !ok || other.median == 0 {
			return text, "not measured"
		}
		v /= other.median
		text = digits(v) + " × (" + text + ")"
	}
	// Allocations and flushes are averages, with a stray one of the runtime's.
	const slack = 0.005
	if t.atLeast && v >= t.bound || !t.atLeast && v <= t.bound+slack {
		return text, "reached"
	}
	return text, "**not reached**"
}

// writeTargets writes the table of all targets that concern what was measured.
func writeTargets(b *strings.Builder, s *summaries) {
	b.WriteString("## Targets\n\n")
	head(b, "workload", "to reach", "Lightning", "")
	for _, t := range targets {
		for _, c := range s.cells {
			if c.family == t.family && c.workload == t.workload {
				got, verdict := t.judge(s, c)
				row(b, link(c), t.want(), got, verdict)
			}
		}
	}
	b.WriteString("\n")
}
