// Package runner measures: it starts a process for each engine, workload and
// round, one after the other, the engines taking turns.
package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/lightning-db/lightning/bench/peers/engines"
	"github.com/lightning-db/lightning/bench/peers/workloads"
)

// Config says what to measure.
type Config struct {
	Engines []engines.Engine
	Match   *regexp.Regexp // selects by family/workload; nil = all
	Keys    int
	Rounds  int
	Seconds float64 // of measuring in each process
	Growth  []int   // numbers of keys of the family growth
	Memory  int64   // limit in bytes of the family memory; 0 = without the family
	Dir     string  // an existing directory for the databases
	Log     io.Writer
}

// Result is what one process measured.
type Result struct {
	Family   string
	Workload string
	Engine   string
	Keys     int
	Round    int
	Metrics  workloads.Metrics `json:",omitempty"`
	Error    string            `json:",omitempty"`
}

// Run measures and hands each result to emit. An engine that fails costs its
// result only; an error is returned when the run itself cannot go on.
func Run(ctx context.Context, config Config, emit func(Result) error) error {
	r := &run{Config: config, ctx: ctx, emit: emit, failed: make(map[string]bool)}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r.self = self
	cells := r.plan()
	if len(cells) == 0 {
		return errors.New("nothing to measure is selected")
	}
	for i, c := range cells {
		if err := r.measure(c); err != nil {
			return err
		}
		if err := r.tidy(c, cells[i+1:]); err != nil {
			return err
		}
	}
	return nil
}

type run struct {
	Config
	ctx    context.Context
	self   string
	emit   func(Result) error
	failed map[string]bool // databases that could not be built
	group  *group          // limits the memory of children; nil = none
}

// measure runs a cell of the plan: all rounds of all engines.
func (r *run) measure(c cell) error {
	if c.memory > 0 && r.group == nil {
		if g, err := newGroup(cgroupRoot, c.memory); err != nil {
			r.logf("the page cache is dropped between blocks of operations, since there is no control group: %v", err)
		} else {
			r.group = g
			defer func() { r.group = nil }()
			defer g.remove(r.logf)
		}
	}
	for round := range c.rounds {
		if c.workload.Limit != nil && c.family == Speed {
			if err := r.do(c, workloads.LimitEngine, round); err != nil {
				return err
			}
		}
		for i := range r.Engines {
			e := r.Engines[(i+round)%len(r.Engines)]
			if !c.workload.Takes(e) {
				continue
			}
			if err := r.prepare(c, e); err != nil {
				return err
			}
			if err := r.do(c, e.Name, round); err != nil {
				return err
			}
		}
	}
	return r.countFlushes(c)
}

// do measures one engine once and emits the result.
func (r *run) do(c cell, engine string, round int) error {
	result := Result{Family: c.family, Workload: c.workload.Name, Engine: engine, Keys: c.keys, Round: round}
	began := time.Now()
	err := r.inDir(c, engine, func(dir string) error {
		var err error
		result.Metrics, err = r.child(nil, r.job(c, engine, round, dir))
		return err
	})
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	if err != nil {
		result.Error = err.Error()
	}
	r.logf("%s/%s keys=%d round=%d %s: %v %s (%.1f s)", c.family, c.workload.Name, c.keys, round, engine, result.Metrics, result.Error, time.Since(began).Seconds())
	return r.emit(result)
}

func (r *run) job(c cell, engine string, round int, dir string) workloads.Job {
	job := workloads.Job{
		Engine: engine, Workload: c.workload.Name, Keys: c.keys, Round: round,
		Seconds: r.Seconds, Dir: dir, Cache: c.memory,
	}
	if r.group == nil {
		job.Memory = c.memory
	}
	return job
}

// child does a job in a process of its own, started by the command prefix.
func (r *run) child(prefix []string, job workloads.Job) (workloads.Metrics, error) {
	input, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	command := append(prefix, r.self, workloads.ChildArgument)
	cmd := exec.CommandContext(r.ctx, command[0], command[1:]...)
	var out, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(append(input, '\n')), &out, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if r.group != nil {
		r.group.apply(cmd)
	}
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, lastLine(stderr.Bytes()))
	}
	var m workloads.Metrics
	if err := json.Unmarshal(out.Bytes(), &m); err != nil {
		return nil, fmt.Errorf("answer %q: %w", out.Bytes(), err)
	}
	return m, nil
}

// lastLine returns what a process that failed said in the end.
func lastLine(text []byte) []byte {
	text = bytes.TrimSpace(text)
	return text[bytes.LastIndexByte(text, '\n')+1:]
}

// Child is the other side: it does the job that comes through in and writes
// what it measured to out.
func Child(in io.Reader, out io.Writer) error {
	var job workloads.Job
	if err := json.NewDecoder(in).Decode(&job); err != nil {
		return err
	}
	m, err := workloads.Run(job)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(m)
}

func (r *run) logf(format string, args ...any) {
	fmt.Fprintf(r.Log, format+"\n", args...)
}

// inDir runs fn with the directory of the database that the cell works on: an
// empty one, the one that was built, or a copy of it.
func (r *run) inDir(c cell, engine string, fn func(dir string) error) (err error) {
	base := r.baseDir(c, engine)
	if r.failed[base] {
		return errors.New("its database could not be built")
	}
	if engine != workloads.LimitEngine && c.workload.Base != workloads.Empty && !c.workload.Writes {
		return fn(base)
	}
	dir := filepath.Join(r.Dir, "cell")
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if engine != workloads.LimitEngine && c.workload.Base != workloads.Empty {
		if err := copyDir(dir, base); err != nil {
			return err
		}
	}
	return fn(dir)
}
