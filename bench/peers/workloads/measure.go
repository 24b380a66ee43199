package workloads

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// block is the number of operations between two looks at the clock.
const block = 256

// stopwatch adds up the time in which it ran.
type stopwatch struct {
	sum   time.Duration
	began time.Time
}

func (w *stopwatch) start() { w.began = time.Now() }
func (w *stopwatch) stop()  { w.sum += time.Since(w.began) }

// tally is the outcome of repeating an operation.
type tally struct {
	n      int
	time   time.Duration
	allocs uint64
}

func (t tally) nanoseconds() float64 { return float64(t.time.Nanoseconds()) / float64(t.n) }
func (t tally) perSecond() float64   { return float64(t.n) / t.time.Seconds() }
func (t tally) allocsEach() float64  { return float64(t.allocs) / float64(t.n) }

// repeat calls op with 0, 1, 2, … until the cell's time is over. Between blocks
// it keeps the limit of memory, off the clock.
func (c *Cell) repeat(op func(i int) error) (tally, error) {
	var t tally
	var watch stopwatch
	began := mallocs()
	for limit := c.duration(); watch.sum < limit; t.n += block {
		watch.start()
		for i := range block {
			if err := op(t.n + i); err != nil {
				return t, err
			}
		}
		watch.stop()
		own, err := c.relieve()
		if err != nil {
			return t, err
		}
		began += own
	}
	t.time, t.allocs = watch.sum, mallocs()-began
	return t, nil
}

// repeatTimed is repeat with a look at the clock for each operation.
func (c *Cell) repeatTimed(op func(i int) error) (tally, *hdrhistogram.Histogram, error) {
	h := newHistogram()
	var t tally
	began := mallocs()
	for limit := c.duration(); t.time < limit; t.n++ {
		start := time.Now()
		if err := op(t.n); err != nil {
			return t, nil, err
		}
		d := time.Since(start)
		t.time += d
		if err := h.RecordValue(max(1, d.Nanoseconds())); err != nil {
			return t, nil, err
		}
		if t.n%block == block-1 {
			own, err := c.relieve()
			if err != nil {
				return t, nil, err
			}
			began += own
		}
	}
	t.allocs = mallocs() - began
	return t, h, nil
}

// relieve keeps the limit of memory, if there is one, and returns how many
// objects that has allocated.
func (c *Cell) relieve() (allocs uint64, err error) {
	if c.drop == nil {
		return 0, nil
	}
	before := mallocs()
	err = c.drop.relieve()
	return mallocs() - before, err
}

func (c *Cell) duration() time.Duration { return time.Duration(c.Seconds * float64(time.Second)) }

// newHistogram counts times of up to ten minutes, in nanoseconds.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, (10 * time.Minute).Nanoseconds(), 3)
}

// percentile returns the value below which p percent of the times lie.
func percentile(h *hdrhistogram.Histogram, p float64) float64 {
	return float64(h.ValueAtQuantile(p))
}

// mallocs returns how many objects this process has allocated on Go's heap.
func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

// readWritten returns how many bytes this process has handed to write calls.
// What is written through a mapping is not among them. The kernel's other
// account, of dirtied pages, says more than is written where pages come in
// large folios.
func readWritten() (float64, error) {
	content, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(content) {
		if number, ok := bytes.CutPrefix(line, []byte("wchar: ")); ok {
			return strconv.ParseFloat(string(bytes.TrimSpace(number)), 64)
		}
	}
	return 0, errors.New("/proc/self/io has no line wchar")
}

// writtenEach returns the bytes that each of the n operations of run, which
// returns n, has written, as far as the engine's writes can be seen.
func (c *Cell) writtenEach(m Metrics, run func() (n int, err error)) error {
	before, err := readWritten()
	if err != nil {
		return err
	}
	n, err := run()
	if err != nil {
		return err
	}
	after, err := readWritten()
	if err == nil && !c.engine.WritesMapped {
		m[writtenCalls.Name] = (after - before) / float64(n)
	}
	return err
}

// fileSizes returns the sum of the lengths of the files in dir, and that of the
// disk space they take.
func fileSizes(dir string) (length, allocated float64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) { // a background task of the engine was quicker
			return nil
		}
		if err != nil {
			return err
		}
		length += float64(info.Size())
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			allocated += float64(stat.Blocks) * 512
		}
		return nil
	})
	return length, allocated, err
}

// anonymous returns how many bytes of memory this process has that are not
// pages of files.
func anonymous() (float64, error) {
	f, err := os.Open("/proc/self/smaps_rollup")
	if err != nil {
		return 0, err
	}
	kilobytes := -1.0
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		if rest, ok := bytes.CutPrefix(scanner.Bytes(), []byte("Anonymous:")); ok {
			_, err = fmt.Sscanf(string(rest), "%f kB", &kilobytes)
		}
	}
	if err = errors.Join(err, scanner.Err(), f.Close()); err != nil {
		return 0, err
	}
	if kilobytes < 0 {
		return 0, errors.New("smaps_rollup has no line Anonymous")
	}
	return kilobytes * 1024, nil
}

// closeWith closes c after err happened and returns both errors.
func closeWith(err error, c io.Closer) error {
	return errors.Join(err, c.Close())
}

// Sink takes what reads come to, so that the compiler cannot drop them. It is
// exported because nobody reads it.
var Sink int

// touch is a use of a value that reads its ends.
func touch(value []byte) {
	Sink += int(value[0]) + int(value[len(value)-1])
}

// touchEntry is touch for entries of a scan.
func touchEntry(key, value []byte) {
	Sink += int(key[len(key)-1]) + int(value[0]) + int(value[len(value)-1])
}
