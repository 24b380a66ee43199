package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// app is what the commands of one run share: the streams and the global flags.
type app struct {
	in  io.Reader
	out *bufio.Writer
	err io.Writer

	format  outputFormat
	quiet   bool
	timeout time.Duration
	keyFile string

	bucketEnc encoding
	keyEnc    encoding
	valueEnc  encoding
}

// outputFormat is the value of the flag --output.
type outputFormat string

const (
	formatText outputFormat = "text"
	formatJSON outputFormat = "json"
)

func (f *outputFormat) String() string { return string(*f) }

// Type is the name of the flag's value in help texts.
func (f *outputFormat) Type() string { return "text|json" }

// Set is called by the flag parser.
func (f *outputFormat) Set(s string) error {
	switch outputFormat(s) {
	case formatText, formatJSON:
		*f = outputFormat(s)
		return nil
	}
	return fmt.Errorf("%q is not one of text, json", s)
}

// run executes one command line and returns its exit code. SIGINT and SIGTERM stop it between two
// steps with the current transaction rolled back; a second signal kills the process at once.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return runContext(ctx, args, stdin, stdout, stderr)
}

// runContext is run with the caller's way to interrupt: the end of ctx.
func runContext(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{
		in: stdin, out: bufio.NewWriter(stdout), err: stderr,
		format: wantedFormat(args), bucketEnc: encText, keyEnc: encText, valueEnc: encText,
	}
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if flushErr := a.out.Flush(); err == nil && flushErr != nil {
		err = fmt.Errorf("write output: %w", flushErr)
	}
	if err != nil {
		a.reportError(err)
	}
	return exitCode(err)
}

// wantedFormat looks for --output before the flags are parsed, so that an error in the flags
// themselves is reported in the form the caller can read.
func wantedFormat(args []string) outputFormat {
	for i, arg := range args {
		switch arg {
		case "--":
			return formatText
		case "-ojson", "-o=json", "--output=json":
			return formatJSON
		case "-o", "--output":
			if i+1 < len(args) && args[i+1] == "json" {
				return formatJSON
			}
		}
	}
	return formatText
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "lightning-cli COMMAND",
		Short: "Look into, edit, check, fill and empty a Lightning DB file",
		Long: `lightning-cli works on a Lightning DB file that no other process writes to. Commands that read
take a shared lock, so several may run at once; commands that write take an exclusive one.

` + encodingHelp + `
Exit codes:
` + exitHelp() + `
With -o json each command prints one JSON object (scan: one a line), and errors and warnings go to
stderr as one JSON object a line: {"error":{"code":3,"kind":"not-found","message":"..."}}.

The integrity key is never given on the command line, where other users could see it: it is the whole
content of the file named by --integrity-key-file or by LIGHTNING_INTEGRITY_KEY_FILE.`,
		Example: `  lightning-cli create app.db
  lightning-cli put app.db users/eu alice 'admin' --create-buckets
  lightning-cli get app.db users/eu alice
  lightning-cli check app.db
  lightning-cli import photos.db ~/photos && lightning-cli export photos.db /restore`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q; see lightning-cli --help", args[0])
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error {
			return usagef("a command is required; see lightning-cli --help")
		},
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w; see %s --help", err, cmd.CommandPath())
	})
	flags := root.PersistentFlags()
	flags.VarP(&a.format, "output", "o", "form of the output")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "no progress, warnings or summaries; data and errors only")
	flags.DurationVar(&a.timeout, "timeout", time.Second, "how long to wait for the file lock; 0 waits for ever")
	flags.StringVar(&a.keyFile, "integrity-key-file", "",
		"file that holds the integrity key (default $"+keyFileEnv+")")
	root.AddCommand(
		newCreate(a), newPut(a), newGet(a), newDelete(a), newScan(a), newBuckets(a), newStats(a),
		newCheck(a), newPages(a), newBackup(a), newVerifyBackup(a), newRestore(a), newDiff(a), newProve(a), newVerifyProof(a), newSetReadOnly(a), newRepair(a), newCompact(a), newSalvage(a), newRebuildSpace(a), newImport(a), newExport(a), newMigrate(a),
		newChaos(a), newVersion(a),
	)
	return root
}

// argCount is a cobra.PositionalArgs that reports a usage error.
func argCount(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usagef("wrong number of arguments (%d); usage: %s", len(args), cmd.UseLine())
		}
		return nil
	}
}

func (a *app) bucketFlag(cmd *cobra.Command) {
	cmd.Flags().Var(&a.bucketEnc, "bucket-encoding", "encoding of bucket names")
}

func (a *app) keyFlag(cmd *cobra.Command) {
	cmd.Flags().Var(&a.keyEnc, "key-encoding", "encoding of keys")
}

func (a *app) valueFlag(cmd *cobra.Command) {
	cmd.Flags().Var(&a.valueEnc, "value-encoding", "encoding of values")
}

// json reports whether the output is for a machine.
func (a *app) json() bool { return a.format == formatJSON }

// printf writes to stdout. A failed write is kept by the buffer and reported when the run ends.
func (a *app) printf(format string, args ...any) {
	fmt.Fprintf(a.out, format, args...)
}

// emit writes v to stdout as one line of JSON.
func (a *app) emit(v any) error {
	return writeJSON(a.out, v)
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// warn tells the operator about something that did not stop the command.
func (a *app) warn(format string, args ...any) error {
	if a.quiet {
		return nil
	}
	message := fmt.Sprintf(format, args...)
	if a.json() {
		return writeJSON(a.err, map[string]string{"warning": message})
	}
	_, err := fmt.Fprintf(a.err, "lightning-cli: warning: %s\n", message)
	return err
}

// reportError is the last word of a run. There is nowhere left to report its own failure.
func (a *app) reportError(err error) {
	if errors.Is(err, context.Canceled) {
		err = fmt.Errorf("interrupted: %w", err)
	}
	if a.json() {
		if jsonErr := writeJSON(a.err, newErrorReport(err)); jsonErr == nil {
			return
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "lightning-cli: %v\n", err)
	if action := suggestion(err); action != "" {
		fmt.Fprintf(&text, "  what to do: %s\n", action)
	}
	fmt.Fprint(a.err, text.String())
}
