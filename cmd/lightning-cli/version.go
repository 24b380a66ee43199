package main

import (
	"runtime"
	"runtime/debug"
	"text/tabwriter"

	"github.com/lightning-db/lightning/arch"
	"github.com/spf13/cobra"
)

func newVersion(a *app) *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this tool",
		Long:  `Print the version of this tool. With -v also the Go version, the platform, the source revision and the CPU features that the engine uses.`,
		Example: `  lightning-cli version
  lightning-cli version -v -o json`,
		Args: argCount(0, 0),
		RunE: func(*cobra.Command, []string) error {
			return a.version(verbose)
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show how it was built and the CPU features in use")
	return cmd
}

func (a *app) version(verbose bool) error {
	version, revision := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			version = info.Main.Version
		}
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				revision = setting.Value
			}
		}
	}
	fields := [][2]string{{"version", version}}
	if verbose {
		features := arch.Features()
		fields = append(fields,
			[2]string{"revision", revision},
			[2]string{"go", runtime.Version()},
			[2]string{"platform", runtime.GOOS + "/" + runtime.GOARCH},
			[2]string{"cpu", features.String()},
		)
	}
	if a.json() {
		object := make(map[string]string, len(fields))
		for _, field := range fields {
			object[field[0]] = field[1]
		}
		return a.emit(object)
	}
	if !verbose {
		a.printf("lightning-cli %s\n", version)
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	for _, field := range fields {
		if err := writeRow(w, field[0], field[1]); err != nil {
			return err
		}
	}
	return w.Flush()
}
