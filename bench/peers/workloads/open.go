package workloads

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/lightning-db/lightning/bench/peers/engines"
)

// ChildArgument is the first argument of a process that does a job; the job
// comes as JSON through its standard input.
const ChildArgument = "child"

var openMetrics = []Metric{{Name: "open", Unit: Nanoseconds}, {Name: "open and get", Unit: Nanoseconds}}

var openWorkloads = []Workload{
	{
		Name: "open-clean", Title: "Open after Close", Base: Random, Writes: true,
		Metrics: openMetrics, Run: runOpenClean,
	},
	{
		Name: "open-killed", Title: "Open after SIGKILL amid durable commits", Base: Random, Writes: true,
		Metrics: openMetrics, Run: runOpenKilled,
	},
	{
		Name: "handle", Title: "Memory of an open database", Base: Random,
		Metrics: []Metric{
			{Name: "anonymous", Unit: Bytes},
			{Name: "anonymous after gets", Unit: Bytes},
			{Name: "Go heap", Unit: Bytes},
			{Name: "Go heap after gets", Unit: Bytes},
			{Name: "file", Unit: Bytes},
		}, Run: runHandle,
	},
}

// hidden are jobs that other workloads or the runner start.
var hidden = []Workload{
	{Name: victim, Run: runVictim},
	{Name: CountedPuts, Run: runCountedPuts},
}

const victim = "victim"

// CountedPuts is a job of Job.Commits durable puts.
const CountedPuts = "counted-puts"

// openOnce measures opening the database until the first get has returned.
func (c *Cell) openOnce() (open, get time.Duration, err error) {
	key := listKeys(c.space, nil, c.Keys/3, 1)
	began := time.Now()
	err = c.withDB(engines.Options{Durable: true}, func(db engines.DB) error {
		open = time.Since(began)
		s, err := db.NewSession()
		if err != nil {
			return err
		}
		err = required(s.ViewGet(key, touch))
		get = time.Since(began)
		return errors.Join(err, s.Close())
	})
	return open, get, err
}

// runOpenClean opens and closes until the time is over and takes the medians.
func runOpenClean(c *Cell) (Metrics, error) {
	opens, gets := newHistogram(), newHistogram()
	for began := time.Now(); time.Since(began) < c.duration() || opens.TotalCount() < 3; {
		open, get, err := c.openOnce()
		if err != nil {
			return nil, err
		}
		if err := errors.Join(opens.RecordValue(open.Nanoseconds()), gets.RecordValue(get.Nanoseconds())); err != nil {
			return nil, err
		}
	}
	return Metrics{"open": percentile(opens, 50), "open and get": percentile(gets, 50)}, nil
}

// runOpenKilled starts a process that commits, kills it and opens its database.
func runOpenKilled(c *Cell) (Metrics, error) {
	if err := c.killVictim(); err != nil {
		return nil, err
	}
	open, get, err := c.openOnce()
	return Metrics{"open": float64(open.Nanoseconds()), "open and get": float64(get.Nanoseconds())}, err
}

func (c *Cell) killVictim() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	job := c.Job
	job.Workload, job.Commits = victim, 300
	input, err := json.Marshal(job)
	if err != nil {
		return err
	}
	cmd := exec.Command(self, ChildArgument)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err = in.Write(append(input, '\n'))
	if err == nil {
		_, err = bufio.NewReader(out).ReadString('\n')
	}
	err = errors.Join(err, cmd.Process.Kill())
	if waited := cmd.Wait(); waited == nil {
		err = errors.Join(err, errors.New("the process to be killed ended by itself"))
	}
	return err
}

// runVictim says ready after the given number of durable commits and goes on
// until it is killed, or until its starter is gone.
func runVictim(c *Cell) (Metrics, error) {
	return nil, c.withDB(engines.Options{Durable: true, Writers: 1}, func(db engines.DB) error {
		p := c.newPutter(db, c.Round)
		for i := 0; ; i++ {
			if err := p.put(i); err != nil {
				return err
			}
			if i < c.Commits || i%c.Commits != 0 {
				continue
			}
			if _, err := fmt.Println("ready"); err != nil {
				return err
			}
		}
	})
}

// runCountedPuts commits durably a given number of times.
func runCountedPuts(c *Cell) (Metrics, error) {
	return Metrics{}, c.withDB(engines.Options{Durable: true, Writers: 1}, func(db engines.DB) error {
		p := c.newPutter(db, 0)
		for i := range c.Commits {
			if err := p.put(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// memory returns this process's anonymous memory and its live Go heap.
func memory() (anon, heap float64, err error) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	anon, err = anonymous()
	return anon, float64(m.HeapAlloc), err
}

// runHandle measures what a database takes when it is open, and after gets of
// keys all over it.
func runHandle(c *Cell) (m Metrics, err error) {
	keys := c.readOrder(0)
	anon0, heap0, err := memory()
	if err != nil {
		return nil, err
	}
	return m, c.withSession(func(s engines.Session) error {
		anon1, heap1, err := memory()
		if err != nil {
			return err
		}
		for i := range min(keys.len(), 200_000) {
			if err := required(s.ViewGet(keys.at(i), touch)); err != nil {
				return err
			}
		}
		anon2, heap2, err := memory()
		if err != nil {
			return err
		}
		_, allocated, err := fileSizes(c.Dir)
		m = Metrics{
			"anonymous": anon1 - anon0, "anonymous after gets": anon2 - anon0,
			"Go heap": heap1 - heap0, "Go heap after gets": heap2 - heap0,
			"file": allocated,
		}
		runtime.KeepAlive(keys)
		return err
	})
}
