package main

import (
	"context"

	lightning "github.com/lightning-db/lightning"
	"github.com/spf13/cobra"
)

func newSetReadOnly(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "set-readonly DB true|false",
		Short: "Make a database read-only for everybody, or writable again",
		Long: `Write into the file, durably, that it is read-only, or take that away. Whatever opens the database
then can read only: programs, this tool, and what is restored from its backups. Use it to stop writes before an
investigation or a move.`,
		Example: `  lightning-cli set-readonly app.db true
  lightning-cli set-readonly app.db false`,
		Args: argCount(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] != "true" && args[1] != "false" {
				return usagef("%q is neither true nor false", args[1])
			}
			return a.setReadOnly(cmd.Context(), args[0], args[1] == "true")
		},
	}
}

func (a *app) setReadOnly(ctx context.Context, path string, on bool) error {
	err := a.withDB(ctx, path, writeExisting, func(db *lightning.DB) error { return db.SetReadOnly(on) })
	switch {
	case err != nil:
		return err
	case a.json():
		return a.emit(map[string]any{"path": path, "readonly": on})
	case !a.quiet && on:
		a.printf("%s: read-only\n", path)
	case !a.quiet:
		a.printf("%s: writable\n", path)
	}
	return nil
}
