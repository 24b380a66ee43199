// Command clients runs the tests of programs and libraries that are built on
// bbolt: once as they are, once with bbolt replaced by Lightning DB. A test that
// passes on bbolt has to pass here.
//
//	compat/clients/run            # what a few minutes allow
//	compat/clients/run -all       # all
//	compat/clients/run storm      # the packages whose names contain a word
//	compat/clients/run -control   # shows that an engine which does not delete is caught
//
// The packages come from the module proxy, in the versions that the go.mod of
// each directory here pins. Its last line is for machines:
//
//	clients: N packages, same=N, lost=0
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "clients:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args []string) error {
	flags := flag.NewFlagSet("clients", flag.ContinueOnError)
	all := flags.Bool("all", false, "run all packages, not only the fast ones")
	control := flags.Bool("control", false, "make Delete do nothing, and fail if no client notices")
	verbose := flags.Bool("v", false, "print what the failing tests print")
	root := flags.String("root", ".", "directory of the engine's module")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := filepath.Abs(*root)
	if err != nil {
		return err
	}
	chosen := choose(suites, *all, flags.Args())
	if len(chosen) == 0 {
		return fmt.Errorf("no package is called %s", strings.Join(flags.Args(), " or "))
	}
	scratch, err := os.MkdirTemp("", "clients-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	b := &bench{root: dir, scratch: scratch}
	if *control {
		if err := b.breakDelete(); err != nil {
			return err
		}
	}
	r := &report{out: out, verbose: *verbose}
	for _, s := range chosen {
		c, err := b.compare(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.pkg, err)
		}
		r.add(c)
	}
	return r.end(*control)
}

// choose returns the suites that were asked for.
func choose(from []suite, all bool, words []string) []suite {
	var chosen []suite
	for _, s := range from {
		wanted := all || s.fast && len(words) == 0
		for _, w := range words {
			wanted = wanted || strings.Contains(s.dir+" "+s.pkg, w)
		}
		if wanted {
			chosen = append(chosen, s)
		}
	}
	return chosen
}

// report prints what was compared, and adds it up.
type report struct {
	out      io.Writer
	verbose  bool
	packages []comparison
}

// add prints what is new about a package, since the run takes long.
func (r *report) add(c comparison) {
	r.packages = append(r.packages, c)
	fmt.Fprintf(r.out, "%s\n", c.suite.pkg)
	fmt.Fprintf(r.out, "  bbolt      %v\n", c.bbolt)
	fmt.Fprintf(r.out, "  Lightning  %v\n", c.lightning)
	for _, test := range c.lost {
		fmt.Fprintf(r.out, "  LOST %s\n", test)
		if r.verbose {
			fmt.Fprintln(r.out, indent(c.lightning.outputOf(test)))
		}
	}
	for _, test := range c.unsteady {
		fmt.Fprintf(r.out, "  passed when run again: %s\n", test)
	}
	for _, test := range c.excepted {
		fmt.Fprintf(r.out, "  left out: %s: %s\n", test, c.suite.except[test])
	}
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ")
}

// end prints the table and the last line.
func (r *report) end(control bool) error {
	fmt.Fprintln(r.out)
	table := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "bbolt\t\t\tLightning\t\t\t\t\t")
	fmt.Fprintln(table, "passed\tfailed\ttime\tpassed\tfailed\ttime\tlost\tleft out\tpackage\t")
	same, lost := 0, 0
	for _, c := range r.packages {
		was, is := c.bbolt, c.lightning
		fmt.Fprintf(table, "%d\t%d\t%s\t%d\t%d\t%s\t%d\t%d\t%s\t\n", was.count(pass), was.count(fail), seconds(was.elapsed),
			is.count(pass), is.count(fail), seconds(is.elapsed), len(c.lost), len(c.excepted), c.suite.pkg)
		lost += len(c.lost)
		if len(c.lost) == 0 {
			same++
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "clients: %d packages, same=%d, lost=%d\n", len(r.packages), same, lost)
	switch {
	case control && lost == 0:
		return fmt.Errorf("an engine that does not delete was not noticed by any test")
	case !control && lost > 0:
		return fmt.Errorf("%d tests pass on bbolt and not here; -v prints what they say", lost)
	}
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
