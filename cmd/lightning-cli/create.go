package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	lightning "github.com/lightning-db/lightning"
	"github.com/spf13/cobra"
)

const (
	leastPageSize = 4 << 10
	mostPageSize  = 64 << 10
)

func newCreate(a *app) *cobra.Command {
	var pageSize byteSize
	cmd := &cobra.Command{
		Use:   "create DB",
		Short: "Create an empty database",
		Long: `Create an empty database that only its owner can read and write. A file that exists already is an
error and is left as it is. The page size and the integrity key are fixed for the life of the file.`,
		Example: `  lightning-cli create app.db
  lightning-cli create big.db --page-size 16K
  lightning-cli create audit.db --integrity-key-file /etc/lightning/audit.key`,
		Args: argCount(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.create(cmd.Context(), args[0], int(min(pageSize, gib)))
		},
	}
	cmd.Flags().Var(&pageSize, "page-size", "bytes a page, a power of two from 4K to 64K (default: the engine's)")
	return cmd
}

func (a *app) create(ctx context.Context, path string, pageSize int) error {
	if err := checkPageSize(pageSize); err != nil {
		return err
	}
	if _, err := a.integrityKey(); err != nil {
		return err
	}
	// Reserve the name first: of two processes that create the same database only one succeeds.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, databaseMode)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	db, err := a.open(ctx, path, writeOrCreate, pageSize)
	if errors.Is(err, lightning.ErrTimeout) {
		return err // another process has opened the file since: it is theirs to keep
	}
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	size := db.Info().PageSize
	if err := db.Close(); err != nil {
		return fmt.Errorf("close %s: %w", path, err)
	}
	if a.json() {
		return a.emit(map[string]any{"path": path, "page_size": size})
	}
	if !a.quiet {
		a.printf("created %s, page size %d\n", path, size)
	}
	return nil
}

// checkPageSize refuses a size that pages cannot have; 0 is the default.
func checkPageSize(n int) error {
	if n != 0 && (n < leastPageSize || n > mostPageSize || n&(n-1) != 0) {
		return usagef("page size %d is not a power of two from %d to %d", n, leastPageSize, mostPageSize)
	}
	return nil
}
