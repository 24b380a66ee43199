package report

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lightning-db/lightning/bench/peers/engines"
	"github.com/lightning-db/lightning/bench/peers/runner"
	"github.com/lightning-db/lightning/bench/peers/workloads"
)

// Write writes PEERS.md to dir and the plots to its directory peers.
func Write(dir string, info Info, results []runner.Result) error {
	s := summarize(results)
	plots, err := writePlots(filepath.Join(dir, "peers"), s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "PEERS.md"), []byte(markdown(info, s, plots)), 0o644)
}

// engineNames returns the engines of the report in the order of its columns.
func engineNames() (names []string) {
	for _, e := range engines.All() {
		names = append(names, e.Name)
	}
	return names
}

func markdown(info Info, s *summaries, plots []plotFile) string {
	var b strings.Builder
	b.WriteString("# Lightning DB beside other engines\n\n")
	b.WriteString("Written by the program in `bench/peers`, whose README says what is measured and how. ")
	b.WriteString("Figures are medians of the rounds, with the lowest and the highest; ratios are of medians. ")
	b.WriteString("Compare figures of this page with each other only: the machine is part of them.\n\n")
	writeInfo(&b, info, s)
	writeTargets(&b, s)
	writeRatios(&b, s)
	for _, p := range plots {
		fmt.Fprintf(&b, "![%s](peers/%s)\n\n", p.title, p.name)
	}
	for _, family := range []string{runner.Speed, runner.Cached, runner.Growth, runner.Memory} {
		writeFamily(&b, info, s, family)
	}
	writeFailures(&b, s)
	return b.String()
}

func writeInfo(b *strings.Builder, info Info, s *summaries) {
	b.WriteString("## The run\n\n```sh\n" + info.Command + "\n```\n\n")
	for _, line := range info.Machine {
		fmt.Fprintf(b, "- %s\n", line)
	}
	fmt.Fprintf(b, "- %d rounds, %s s of measuring in each process\n\n", info.Rounds, digits(info.Seconds))
	b.WriteString("| engine | settings |\n| --- | --- |\n")
	for _, e := range engines.All() {
		if slices.Contains(s.engines, e.Name) {
			row(b, e.Name, e.Settings)
		}
	}
	b.WriteString("\n")
}

// mainMetric returns the metric of a workload that is compared.
func mainMetric(workload string) (workloads.Metric, bool) {
	w, ok := workloads.ByName(workload)
	if !ok || w.Run == nil {
		return workloads.Metric{}, false
	}
	return w.Metrics[0], true
}

// writeRatios writes the table of ratios to the baseline.
func writeRatios(b *strings.Builder, s *summaries) {
	var names []string
	for _, e := range engineNames() {
		if slices.Contains(s.engines, e) {
			names = append(names, e)
		}
	}
	fmt.Fprintf(b, "## Ratios to %s\n\nOf the first figure of each table below. Less is better with ↓, more with ↑.\n\n", baseline)
	head(b, append([]string{"workload"}, names...)...)
	for _, c := range s.cells {
		metric, ok := mainMetric(c.workload)
		if !ok {
			continue
		}
		arrow := " ↓"
		if metric.MoreGood {
			arrow = " ↑"
		}
		fields, any := []string{link(c) + arrow}, false
		for _, e := range names {
			text := ""
			if ratio, ok := s.ratio(c, e, metric.Name); ok {
				text, any = digits(ratio), true
			}
			fields = append(fields, text)
		}
		if any {
			row(b, fields...)
		}
	}
	b.WriteString("\n")
}

// heading is the title of a cell's table.
func heading(c cell) string {
	w, _ := workloads.ByName(c.workload)
	text := w.Title
	if c.family != runner.Speed {
		text += " (" + c.family + ", " + keysText(c.keys) + " keys)"
	}
	return text
}

// link names a cell where it is referred to.
func link(c cell) string {
	name := c.workload
	if c.family != runner.Speed {
		name += ", " + c.family + " " + keysText(c.keys)
	}
	return fmt.Sprintf("[%s](#%s)", name, anchor(heading(c)))
}

// anchor is how Markdown readers name a heading.
func anchor(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case r == ' ' || r == '-':
			b.WriteByte('-')
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		}
	}
	return b.String()
}

var familyText = map[string]string{
	runner.Speed:  "Keys of 16 bytes with values of 100 bytes, in random order unless said.",
	runner.Cached: "A database that the processor's caches hold, where it is instructions that count.",
	runner.Growth: "The same operations as the database grows.",
	runner.Memory: "A database whose keys and values are three times the memory for its page cache.",
}

func writeFamily(b *strings.Builder, info Info, s *summaries, family string) {
	first := true
	for _, c := range s.cells {
		if c.family != family {
			continue
		}
		if first {
			fmt.Fprintf(b, "## The family %s\n\n%s\n\n", family, familyText[family])
			switch family {
			case runner.Speed, runner.Cached:
				fmt.Fprintf(b, "%s keys.\n\n", keysText(c.keys))
			case runner.Memory:
				fmt.Fprintf(b, "%s keys, %s of memory.\n\n", keysText(c.keys), format(float64(info.Memory), workloads.Bytes))
			}
			first = false
		}
		writeCell(b, s, c)
	}
}

// writeCell writes the table of a workload, and which targets it reaches.
func writeCell(b *strings.Builder, s *summaries, c cell) {
	w, ok := workloads.ByName(c.workload)
	if !ok {
		return
	}
	fmt.Fprintf(b, "### %s\n\n`%s/%s`\n\n", heading(c), c.family, c.workload)
	if w.Run == nil {
		writeLimits(b, s, c, w)
		return
	}
	titles := []string{"engine", w.Metrics[0].Name, "spread", "× " + baseline}
	for _, m := range w.Metrics[1:] {
		titles = append(titles, m.Name)
	}
	head(b, titles...)
	for _, e := range s.rows(c, engineNames()) {
		name := e
		if e == workloads.LimitEngine {
			name = w.LimitTitle
		}
		fields := []string{name, "", "", ""}
		for i, m := range w.Metrics {
			value, ok := s.get(c, e, m.Name)
			switch {
			case i == 0 && ok:
				fields[1] = format(value.median, m.Unit)
				fields[2] = format(value.low, m.Unit) + " .. " + format(value.high, m.Unit)
				if ratio, ok := s.ratio(c, e, m.Name); ok {
					fields[3] = digits(ratio)
				}
			case i > 0 && ok:
				fields = append(fields, format(value.median, m.Unit))
			case i > 0:
				fields = append(fields, "")
			}
		}
		row(b, fields...)
	}
	b.WriteString("\n")
	for _, t := range targets {
		if t.family == c.family && t.workload == c.workload {
			got, verdict := t.judge(s, c)
			fmt.Fprintf(b, "- %s: %s\n", t.want(), strings.TrimSpace(got+" "+verdict))
		}
	}
	b.WriteString("\n")
}

// writeLimits writes a table with a line for each metric of the machine.
func writeLimits(b *strings.Builder, s *summaries, c cell, w workloads.Workload) {
	head(b, "limit", "median", "spread")
	for _, m := range w.Metrics {
		if v, ok := s.get(c, workloads.LimitEngine, m.Name); ok {
			row(b, m.Name, format(v.median, m.Unit), format(v.low, m.Unit)+" .. "+format(v.high, m.Unit))
		}
	}
	b.WriteString("\n")
}

// writeFailures says what could not be measured.
func writeFailures(b *strings.Builder, s *summaries) {
	if len(s.failed) == 0 {
		return
	}
	b.WriteString("## Not measured\n\n")
	for _, r := range s.failed {
		fmt.Fprintf(b, "- %s/%s, %s, %s keys, round %d: %s\n", r.Family, r.Workload, r.Engine, keysText(r.Keys), r.Round, r.Error)
	}
}
