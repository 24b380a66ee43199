package main

import (
	"context"
	"slices"
	"strconv"
	"text/tabwriter"

	lightning "github.com/lightning-db/lightning"
	"github.com/spf13/cobra"
)

// pageRow is one line of the page table.
type pageRow struct {
	ID       int    `json:"id"`
	Type     string `json:"type"`
	Count    int    `json:"count"`
	Overflow int    `json:"overflow"`
}

func newPages(a *app) *cobra.Command {
	var types []string
	cmd := &cobra.Command{
		Use:   "pages DB [ID...]",
		Short: "Show the table of pages",
		Long: `Show for each page, or for the pages with the numbers given, its type, the number of items in it and
the number of pages that follow it in the same extent, as its header says: check is the command that
verifies them. A number past the end of the file makes the exit code 3.
Types are meta, branch, leaf, value, key, freelist, free, and overflow for a page inside an extent.`,
		Example: `  lightning-cli pages app.db
  lightning-cli pages app.db 0 1 17
  lightning-cli pages app.db --type branch,leaf -o json`,
		Args: argCount(1, 1<<20),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids := make([]int, 0, len(args)-1)
			for _, arg := range args[1:] {
				id, err := strconv.Atoi(arg)
				if err != nil || id < 0 {
					return usagef("%q is not a page number", arg)
				}
				ids = append(ids, id)
			}
			return a.pages(cmd.Context(), args[0], ids, types)
		},
	}
	cmd.Flags().StringSliceVar(&types, "type", nil, "only pages of these types, parted by commas")
	return cmd
}

func (a *app) pages(ctx context.Context, path string, ids []int, types []string) error {
	rows := []pageRow{}
	err := a.withDB(ctx, path, readExisting, func(db *lightning.DB) error {
		return view(db, func(tx *lightning.Tx) error {
			visit := func(row pageRow) {
				if len(types) == 0 || slices.Contains(types, row.Type) {
					rows = append(rows, row)
				}
			}
			if len(ids) > 0 {
				return somePages(tx, ids, visit)
			}
			return allPages(ctx, tx, visit)
		})
	})
	if err != nil {
		return err
	}
	return a.printPages(rows)
}

func somePages(tx *lightning.Tx, ids []int, visit func(pageRow)) error {
	for _, id := range ids {
		row, err := readPage(tx, id)
		if err != nil {
			return err
		}
		if row == nil {
			return notFoundf("page %d not found", id)
		}
		visit(*row)
	}
	return nil
}

func allPages(ctx context.Context, tx *lightning.Tx, visit func(pageRow)) error {
	for id := 0; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		row, err := readPage(tx, id)
		if err != nil || row == nil {
			return err
		}
		visit(*row)
		id++
		if row.Type != "free" {
			id += row.Overflow
		}
	}
}

// readPage returns the row of page id, nil if there is no such page.
func readPage(tx *lightning.Tx, id int) (*pageRow, error) {
	info, err := tx.Page(id)
	if err != nil || info == nil {
		return nil, err
	}
	return &pageRow{ID: id, Type: info.Type, Count: info.Count, Overflow: info.OverflowCount}, nil
}

func (a *app) printPages(rows []pageRow) error {
	if a.json() {
		return a.emit(struct {
			Pages []pageRow `json:"pages"`
		}{rows})
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	err := writeRow(w, "ID", "TYPE", "ITEMS", "OVERFLOW")
	for _, row := range rows {
		if err != nil {
			return err
		}
		err = writeRow(w, row.ID, row.Type, row.Count, row.Overflow)
	}
	if err != nil {
		return err
	}
	return w.Flush()
}
