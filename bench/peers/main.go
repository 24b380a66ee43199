// Peers measures Lightning DB beside other embedded databases: the same work,
// equal durability, one process for each measurement, the engines taking turns.
//
//	cd bench/peers && go run . -report ../../docs
//
// README.md says what is compared and how.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lightning-db/lightning/bench/peers/engines"
	"github.com/lightning-db/lightning/bench/peers/report"
	"github.com/lightning-db/lightning/bench/peers/runner"
	"github.com/lightning-db/lightning/bench/peers/workloads"
)

func main() {
	if err := start(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func start(args []string) error {
	if len(args) == 1 && args[0] == workloads.ChildArgument {
		return runner.Child(os.Stdin, os.Stdout)
	}
	s, err := parse(args)
	if err != nil {
		return err
	}
	info, results, err := s.results()
	if err != nil {
		return err
	}
	if s.report != "" {
		if err := report.Write(s.report, info, results); err != nil {
			return err
		}
	}
	for _, r := range results {
		if r.Error != "" {
			return errors.New("some measurements failed")
		}
	}
	return nil
}

// settings are what the command line says.
type settings struct {
	runner.Config
	report, json, from string
	args               []string
}

func parse(args []string) (*settings, error) {
	s := &settings{args: args}
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	names := f.String("engines", engines.Names(engines.All()), "engines to measure, with commas between")
	match := f.String("workloads", ".", "regular expression over family/workload, as in speed/get-tx")
	f.IntVar(&s.Keys, "keys", 1_000_000, "keys in the database")
	f.IntVar(&s.Rounds, "rounds", 5, "measurements of each engine and workload")
	f.Float64Var(&s.Seconds, "seconds", 3, "seconds of measuring in each process")
	growth := f.String("growth", "10000,1000000", "numbers of keys of the family growth, with commas between; empty = none")
	f.Int64Var(&s.Memory, "memory", 0, "bytes of page cache of the family memory, whose database is three times that; 0 = without it")
	f.StringVar(&s.Dir, "dir", "", "directory for the databases, which must not be in memory; default: a new one here, removed at the end")
	f.StringVar(&s.report, "report", "", "directory to write PEERS.md and the plots in peers/ to")
	f.StringVar(&s.json, "json", "", "file to write the raw results to, one JSON object a line")
	f.StringVar(&s.from, "from", "", "files of raw results to report on, with commas between, instead of measuring")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	var err error
	if s.Engines, err = engines.ByName(strings.Split(*names, ",")); err != nil {
		return nil, err
	}
	if s.Match, err = regexp.Compile(*match); err != nil {
		return nil, err
	}
	if s.Growth, err = numbers(*growth); err != nil {
		return nil, fmt.Errorf("-growth: %w", err)
	}
	if s.Keys < 1000 || s.Rounds < 1 || s.Seconds <= 0 || s.Memory < 0 {
		return nil, errors.New("there must be 1000 keys, a round and some time")
	}
	return s, nil
}

// numbers reads numbers of keys with commas between them.
func numbers(list string) (all []int, err error) {
	if list == "" {
		return nil, nil
	}
	for field := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		if n < 1000 {
			return nil, fmt.Errorf("%d keys are too few", n)
		}
		all = append(all, n)
	}
	return all, nil
}

// results measures, or reads what was measured before.
func (s *settings) results() (info report.Info, results []runner.Result, err error) {
	if s.from != "" {
		return readAll(strings.Split(s.from, ","))
	}
	if s.Dir == "" {
		if s.Dir, err = os.MkdirTemp(".", "data-"); err != nil {
			return info, nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(s.Dir)) }()
	}
	if s.Dir, err = absolute(s.Dir); err != nil {
		return info, nil, err
	}
	if err := onDisk(s.Dir); err != nil {
		return info, nil, err
	}
	info = report.Info{
		Machine: report.Describe(s.Dir), Command: s.command(),
		Rounds: s.Rounds, Seconds: s.Seconds, Memory: s.Memory,
	}
	raw := io.Discard
	if s.json != "" {
		f, err := os.Create(s.json)
		if err != nil {
			return info, nil, err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		raw = f
	}
	results, err = s.measure(info, raw)
	return info, results, err
}

// measure runs, and writes what is known to raw as soon as it is.
func (s *settings) measure(info report.Info, raw io.Writer) (results []runner.Result, err error) {
	s.Log = os.Stderr
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	encoder := json.NewEncoder(raw)
	if err := encoder.Encode(info); err != nil {
		return nil, err
	}
	err = runner.Run(ctx, s.Config, func(r runner.Result) error {
		results = append(results, r)
		return encoder.Encode(r)
	})
	return results, err
}

// absolute returns the name of a directory as the kernel has it in its list of
// mappings.
func absolute(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

// onDisk refuses a directory in memory, where nothing is durable.
func onDisk(dir string) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return err
	}
	if stat.Type == unix.TMPFS_MAGIC {
		return fmt.Errorf("%s is in memory; name a directory on a disk with -dir", dir)
	}
	return nil
}

// readAll reads the raw results of runs on one machine, which must have measured as
// often and as long.
func readAll(names []string) (info report.Info, results []runner.Result, err error) {
	for i, name := range names {
		of, some, err := readResults(name)
		if err != nil {
			return info, nil, err
		}
		results = append(results, some...)
		if i == 0 {
			info = of
			continue
		}
		if !slices.Equal(of.Machine, info.Machine) || of.Rounds != info.Rounds || of.Seconds != info.Seconds {
			return info, nil, fmt.Errorf("%s and %s were measured on different machines, or not as often or as long", names[0], name)
		}
		info.Command += "\n" + of.Command
		info.Memory = max(info.Memory, of.Memory)
	}
	return info, results, nil
}

// readResults reads a file of raw results: what the run was, and its results.
func readResults(name string) (info report.Info, results []runner.Result, err error) {
	f, err := os.Open(name)
	if err != nil {
		return info, nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	decoder := json.NewDecoder(bufio.NewReader(f))
	if err := decoder.Decode(&info); err != nil {
		return info, nil, fmt.Errorf("%s: %w", name, err)
	}
	for {
		var r runner.Result
		if err := decoder.Decode(&r); err == io.EOF {
			return info, results, nil
		} else if err != nil {
			return info, nil, fmt.Errorf("%s: %w", name, err)
		}
		results = append(results, r)
	}
}

// command returns the command line, without the names of places that only this
// machine has.
func (s *settings) command() string {
	words := []string{"go", "run", "."}
	for _, arg := range s.args {
		if name, value, ok := strings.Cut(arg, "="); ok && filepath.IsAbs(value) {
			arg = name + "=" + filepath.Base(value)
		} else if filepath.IsAbs(arg) {
			arg = filepath.Base(arg)
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}
