package runner

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"github.com/lightning-db/lightning/bench/peers/workloads"
)

// Numbers of commits of the two runs whose difference is counted, so that what
// opening and closing flush does not count.
const (
	fewCommits  = 50
	manyCommits = 250
)

// countFlushes adds a result with the flushes of a commit, counted from the
// system calls, to a cell that has that metric.
func (r *run) countFlushes(c cell) error {
	wanted := false
	for _, m := range c.workload.Metrics {
		wanted = wanted || m == workloads.Flushes
	}
	if !wanted {
		return nil
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		r.logf("flushes are not counted: %v", err)
		return nil
	}
	for _, e := range r.Engines {
		if !c.workload.Takes(e) {
			continue
		}
		few, err := r.flushesOf(strace, c, e.Name, fewCommits)
		if err != nil {
			r.logf("flushes of %s are not counted: %v", e.Name, err)
			continue
		}
		many, err := r.flushesOf(strace, c, e.Name, manyCommits)
		if err != nil {
			return err
		}
		each := float64(many-few) / (manyCommits - fewCommits)
		r.logf("%s: %.2f flushes a commit", e.Name, each)
		result := Result{Family: c.family, Workload: c.workload.Name, Engine: e.Name, Keys: c.keys, Metrics: workloads.Metrics{workloads.Flushes.Name: each}}
		if err := r.emit(result); err != nil {
			return err
		}
	}
	return r.ctx.Err()
}

// flushesOf counts the flushes of a process that commits n times.
func (r *run) flushesOf(strace string, c cell, engine string, n int) (flushes int, err error) {
	err = r.inDir(c, engine, func(dir string) error {
		trace := filepath.Join(r.Dir, "trace")
		job := r.job(c, engine, 0, dir)
		job.Workload, job.Commits = workloads.CountedPuts, n
		prefix := []string{strace, "-f", "-q", "-o", trace, "-e", "signal=none", "-e", "trace=openat,close,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,msync,sync_file_range"}
		if _, err := r.child(prefix, job); err != nil {
			return err
		}
		content, err := os.ReadFile(trace)
		if err != nil {
			return err
		}
		flushes, err = countFlushes(content)
		if err != nil {
			return err
		}
		return os.Remove(trace)
	})
	return flushes, err
}

var (
	flushCall  = regexp.MustCompile(`^\d+ +(fsync|fdatasync|msync|sync_file_range)\(`)
	writeCall  = regexp.MustCompile(`^\d+ +(?:write|writev|pwrite64|pwritev|pwritev2)\((\d+),`)
	closeCall  = regexp.MustCompile(`^\d+ +close\((\d+)`)
	openedSync = regexp.MustCompile(`^\d+ +openat\(.*O_D?SYNC.* = (\d+)$`)
)

// countFlushes counts the calls in a trace that wait for the medium: flushes,
// and writes to files that were opened to be written through.
func countFlushes(trace []byte) (n int, err error) {
	through := make(map[string]bool)
	scanner := bufio.NewScanner(bytes.NewReader(trace))
	for scanner.Scan() {
		line := scanner.Bytes()
		if m := openedSync.FindSubmatch(line); m != nil {
			through[string(m[1])] = true
		} else if m := closeCall.FindSubmatch(line); m != nil {
			delete(through, string(m[1]))
		} else if m := writeCall.FindSubmatch(line); m != nil && through[string(m[1])] || flushCall.Match(line) {
			n++
		}
	}
	if err := scanner.Err(); err != nil {
		return 0, fmt.Errorf("trace: %w", err)
	}
	return n, nil
}
