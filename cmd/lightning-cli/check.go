package main

import (
	"context"
	"fmt"

	lightning "github.com/lightning-db/lightning"
	"github.com/spf13/cobra"
)

// checkProblem is one problem that the command check found.
type checkProblem struct {
	Message string `json:"message"`
	Action  string `json:"action,omitempty"`
}

func newCheck(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check DB",
		Short: "Read every page and report all that is wrong",
		Long: `Verify the digest of every page in use, the order of the keys, the references between pages and the
record of free space. Each problem is printed on a line of its own. Nothing is changed.
The exit code is 0 for a sound database, 4 if there are problems, and 6 if the file is not a database
or the integrity key is wrong.`,
		Example: `  lightning-cli check app.db
  lightning-cli check app.db --quiet || echo "exit code $?"
  lightning-cli check app.db -o json | jq -r '.problems[].message'`,
		Args: argCount(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.check(cmd.Context(), args[0])
		},
	}
}

func (a *app) check(ctx context.Context, path string) error {
	problems := []checkProblem{}
	err := a.withDB(ctx, path, readExisting, func(db *lightning.DB) error {
		return db.ViewContext(ctx, func(tx *lightning.Tx) error {
			return a.checkTx(ctx, tx, func(p checkProblem) {
				problems = append(problems, p)
			})
		})
	})
	found := len(problems)
	// A transaction that met damage fails with it; the problems printed say the same in full.
	if err != nil && (found == 0 || exitCode(err) != exitCorrupt) {
		return err
	}
	if a.json() {
		err = a.emit(map[string]any{"path": path, "ok": found == 0, "problems": problems})
		if err != nil {
			return err
		}
	}
	if found > 0 {
		return &codedError{exitCorrupt, fmt.Errorf("check %s: problems found: %d", path, found)}
	}
	if !a.json() && !a.quiet {
		a.printf("%s: no problems found\n", path)
	}
	return nil
}

// checkTx drains Tx.Check, which must have ended before the transaction may.
func (a *app) checkTx(ctx context.Context, tx *lightning.Tx, found func(checkProblem)) error {
	bar := a.newProgress("checking", 0, countItems)
	defer bar.finish()
	for problem := range tx.Check(lightning.WithCheckProgress(bar.set), lightning.WithCheckContext(ctx)) {
		if ctx.Err() != nil {
			continue // what is sent now is the context's error
		}
		p := checkProblem{Message: problem.Error(), Action: suggestion(problem)}
		found(p)
		if a.json() {
			continue
		}
		a.printf("%s\n", p.Message)
		if p.Action != "" {
			a.printf("  what to do: %s\n", p.Action)
		}
	}
	return ctx.Err()
}
