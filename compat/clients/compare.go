package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	bboltModule  = "go.etcd.io/bbolt"
	engineModule = "github.com/lightning-db/lightning"
)

// bench runs tests on either engine.
type bench struct {
	root    string // directory of the engine's module
	scratch string
	overlay string // file for go test -overlay, "" for none: what the control breaks
}

// comparison is what became of a package's tests on both engines.
type comparison struct {
	suite            suite
	bbolt, lightning outcome
	lost             []string // passed on bbolt, did not here, twice
	unsteady         []string // the same, but only once: clients' tests depend on time
	excepted         []string // the same, for a reason that the suite tells
}

func (b *bench) compare(ctx context.Context, s suite) (c comparison, err error) {
	c.suite = s
	if c.bbolt, err = b.test(ctx, s, false); err != nil {
		return c, fmt.Errorf("on bbolt: %w", err)
	}
	if c.bbolt.count(pass) == 0 {
		return c, fmt.Errorf("no test passes on bbolt:\n%s", indent(c.bbolt.outputOf("")))
	}
	if c.lightning, err = b.test(ctx, s, true); err != nil {
		return c, fmt.Errorf("on Lightning DB: %w", err)
	}
	c.judge()
	if len(c.lost) > 0 && b.overlay == "" {
		first := c.lost
		if c.lightning, err = b.test(ctx, s, true); err != nil {
			return c, fmt.Errorf("on Lightning DB, again: %w", err)
		}
		c.judge()
		c.lost = slices.DeleteFunc(c.lost, func(test string) bool { return !slices.Contains(first, test) })
		c.unsteady = slices.DeleteFunc(first, func(test string) bool { return slices.Contains(c.lost, test) })
	}
	for test := range s.except {
		if c.bbolt.results[test] != pass {
			return c, fmt.Errorf("%s is left out, but does not pass on bbolt either", test)
		}
	}
	return c, nil
}

// judge finds the tests that passed on bbolt only.
func (c *comparison) judge() {
	c.lost, c.excepted = nil, nil
	for _, test := range slices.Sorted(maps.Keys(c.bbolt.results)) {
		if c.bbolt.results[test] != pass || c.lightning.results[test] == pass {
			continue
		}
		if _, ok := c.suite.except[test]; ok {
			c.excepted = append(c.excepted, test)
		} else {
			c.lost = append(c.lost, test)
		}
	}
}

// test runs the suite's tests in a copy of its module.
func (b *bench) test(ctx context.Context, s suite, replaced bool) (o outcome, err error) {
	dir, err := b.module(ctx, s, replaced)
	if err != nil {
		return o, err
	}
	if err := b.checkEngine(ctx, s, dir, replaced); err != nil {
		return o, err
	}
	args := []string{"test", "-json", "-count=1", "-timeout=40m"}
	if b.overlay != "" && replaced { // who deletes until nothing is left goes on for ever
		args = append(args, "-overlay="+b.overlay, "-timeout=1m")
	}
	cmd := command(ctx, dir, append(append(args, s.args...), s.pkg)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return o, err
	}
	if err := ctx.Err(); err != nil {
		return o, err
	}
	o, err = parse(&stdout)
	if err == nil && len(o.results) == 0 {
		err = fmt.Errorf("no test ran:\n%s%s", indent(o.outputOf("")), indent(stderr.String()))
	}
	return o, err
}

// module copies the suite's module, with bbolt replaced if it is to be.
func (b *bench) module(ctx context.Context, s suite, replaced bool) (dir string, err error) {
	name := s.dir + "-bbolt"
	if replaced {
		name = s.dir + "-lightning"
	}
	dir = filepath.Join(b.scratch, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil // of the package before
	}
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(b.root, "compat", "clients", s.dir))); err != nil {
		return "", err
	}
	if !replaced {
		return dir, nil
	}
	sums, err := os.ReadFile(filepath.Join(b.root, "go.sum"))
	if err != nil {
		return "", err
	}
	own, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), append(own, sums...), 0o644); err != nil {
		return "", err
	}
	return dir, output(command(ctx, dir, "mod", "edit",
		"-replace="+bboltModule+"="+filepath.Join(b.root, "compat", "bbolt"),
		"-replace="+engineModule+"="+b.root), new(bytes.Buffer))
}

// checkEngine makes sure that the tests run on the engine that they should run on.
func (b *bench) checkEngine(ctx context.Context, s suite, dir string, replaced bool) error {
	var deps bytes.Buffer
	args := []string{"list", "-deps", "-test"}
	for _, arg := range s.args {
		if strings.HasPrefix(arg, "-tags") {
			args = append(args, arg)
		}
	}
	if err := output(command(ctx, dir, append(args, s.pkg)...), &deps); err != nil {
		return err
	}
	list := strings.Fields(deps.String())
	if s.apart != !slices.Contains(list, bboltModule) || slices.Contains(list, engineModule) != (replaced && !s.apart) {
		return fmt.Errorf("the package is built with bbolt: %t, with Lightning DB: %t",
			slices.Contains(list, bboltModule), slices.Contains(list, engineModule))
	}
	return nil
}

// command is a go command in dir, whose go.mod it may complete.
func command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "PWD="+dir)
	return cmd
}

// output runs cmd. Its error has what the command said.
func output(cmd *exec.Cmd, stdout *bytes.Buffer) error {
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = stdout, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, indent(stderr.String()))
	}
	return nil
}
