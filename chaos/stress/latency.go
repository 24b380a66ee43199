package stress

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// kind is a kind of call whose latency is measured.
type kind int

const (
	get    kind = iota // View with one Get
	scan               // View with one Seek and the keys after it
	put                // Put within a transaction
	remove             // Delete within a transaction
	update             // Update from the call to its return: wait for the writer before, change, commit
	commit             // Commit of a transaction that Begin began
	batch              // Batch
	copied             // WriteTo
	kinds
)

var kindNames = [kinds]string{"get", "scan", "put", "delete", "update", "commit", "batch", "copy"}

// Latency sums up the calls of one kind.
type Latency struct {
	Kind                      string
	Calls                     int64
	Mean, P50, P99, P999, Max time.Duration
}

// Histograms reach to an hour; longer calls count as one. Two significant
// digits are kept.
const (
	longest = int64(time.Hour)
	digits  = 2
)

type latencies [kinds]*hdrhistogram.Histogram

func newLatencies() latencies {
	var l latencies
	for k := range l {
		l[k] = hdrhistogram.New(1, longest, digits)
	}
	return l
}

// since records the time since began, which errs on neither side: it is what
// the caller waited.
func (l latencies) since(k kind, began time.Time) {
	ns := min(max(int64(time.Since(began)), 1), longest)
	if err := l[k].RecordValue(ns); err != nil {
		panic(err) // the value is within the range that the histogram was made for
	}
}

func (l latencies) merge(more latencies) {
	for k := range l {
		l[k].Merge(more[k])
	}
}

func (l latencies) summary() []Latency {
	all := make([]Latency, 0, kinds)
	for k, h := range l {
		at := func(q float64) time.Duration { return time.Duration(h.ValueAtQuantile(q)) }
		all = append(all, Latency{
			Kind: kindNames[k], Calls: h.TotalCount(), Mean: time.Duration(h.Mean()),
			P50: at(50), P99: at(99), P999: at(99.9), Max: time.Duration(h.Max()),
		})
	}
	return all
}
