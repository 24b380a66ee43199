package lightning

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// damageSample is the default of -damage.every, with which a share of the
// other damage is taken, too.
const damageSample = 64

var damageEvery = flag.Int("damage.every", damageSample, "the damage tests flip each nth byte beside meta slots and headers (1: all of them)")

// damageHang is how long one state may take before it counts as hanging.
const damageHang = time.Minute

// damageTable counts outcomes by row and kind of damage.
type damageTable struct {
	mu       sync.Mutex
	counts   map[[3]string]int // row, kind, outcome
	problems []string
	states   int
}

func newDamageTable() *damageTable { return &damageTable{counts: map[[3]string]int{}} }

func (d *damageTable) add(row, kind, outcome string, problems []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.states++
	d.counts[[3]string{row, kind, outcome}]++
	d.problems = append(d.problems, problems...)
}

func (d *damageTable) wrong() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.problems)
}

// byRow sums the outcomes of each row.
func (d *damageTable) byRow() map[string]map[string]int {
	rows := map[string]map[string]int{}
	for k, n := range d.counts {
		if rows[k[0]] == nil {
			rows[k[0]] = map[string]int{}
		}
		rows[k[0]][k[2]] += n
	}
	return rows
}

func (d *damageTable) String() string {
	cells := map[[2]string][]string{}
	for _, k := range slices.SortedFunc(maps.Keys(d.counts), func(a, b [3]string) int { return slices.Compare(a[:], b[:]) }) {
		at := [2]string{k[0], k[1]}
		cells[at] = append(cells[at], fmt.Sprintf("%s %d", k[2], d.counts[k]))
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%-14s %-10s %s\n", "page", "damage", "outcome")
	for _, k := range slices.SortedFunc(maps.Keys(cells), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		fmt.Fprintf(&s, "%-14s %-10s %s\n", k[0], k[1], strings.Join(cells[k], ", "))
	}
	return s.String()
}

// damageRun judges the cases that pick lets through, on all processors.
type damageRun struct {
	f      *damageFile
	dir    string
	every  int
	verify Verify
	pick   func(n int, c damageCase) bool
	limit  int // problems after which it stops
}

func (r *damageRun) run(t *testing.T) *damageTable {
	t.Helper()
	table := newDamageTable()
	type job struct {
		number int
		c      damageCase
	}
	work := make(chan job, 64)
	var wg sync.WaitGroup
	for i := range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			lab := newDamageLab(t, r.dir, fmt.Sprintf("%s-%d", r.f.name, i))
			defer lab.close()
			var doing atomic.Value
			watchdog := time.AfterFunc(damageHang, func() { panic(fmt.Sprintf("hangs: %v", doing.Load())) })
			defer watchdog.Stop()
			for j := range work {
				doing.Store(fmt.Sprintf("%s: %s, %s", r.f.name, j.c.kind, j.c.what))
				watchdog.Reset(damageHang)
				r.one(lab, table, j.number, j.c)
			}
		})
	}
	n, picked := 0, 0
	r.f.cases(r.every, func(c damageCase) {
		n++
		if table.wrong() > r.limit || (r.pick != nil && !r.pick(n, c)) {
			return
		}
		picked++
		work <- job{picked, c}
	})
	close(work)
	wg.Wait()
	return table
}

// share picks one case of each n of the same kind in the same row of the table, the first one
// included: a short run leaves out none of them.
func (f *damageFile) share(n int) func(int, damageCase) bool {
	seen := map[[2]string]int{}
	return func(_ int, c damageCase) bool {
		at := [2]string{f.row(c), c.kind}
		seen[at]++
		return seen[at]%n == 1%n
	}
}

// damageThorough says which of the very many cases are looked at in all ways.
const damageThorough = 16

// one judges a case: opened for writing, and for reading only; a sample is
// written to.
func (r *damageRun) one(lab *damageLab, table *damageTable, number int, c damageCase) {
	lab.scratch = append(lab.scratch[:0], r.f.image...)
	image := c.image(lab.scratch)
	if bytes.Equal(image, r.f.image) {
		return // nothing changed, such as zeros over zeros
	}
	row := r.f.row(c)
	for _, readOnly := range []bool{false, true} {
		if readOnly && (number%2 != 0 || c.sparse && number%31 != 0) {
			continue
		}
		j := &damageJudge{f: r.f, lab: lab, image: image, readOnly: readOnly, quick: c.sparse && number%damageThorough != 0, verify: r.verify}
		var outcome string
		switch {
		case r.verify != VerifyFirst:
			outcome = j.exercise()
		default:
			outcome = j.run(number%7 == 0 && (!c.sparse || number%211 == 0))
		}
		for i, p := range j.problems {
			j.problems[i] = fmt.Sprintf("%s: %s, %s (%s), read-only %t: %s", r.f.name, c.kind, c.what, row, readOnly, p)
		}
		table.add(row, c.kind, outcome, j.problems)
	}
}

const damageProblems = 20

func (d *damageTable) report(t *testing.T) {
	t.Helper()
	for _, p := range d.problems[:min(len(d.problems), damageProblems)] {
		t.Error(p)
	}
}
