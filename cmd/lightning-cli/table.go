package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// writeRow writes one row of a table, its cells parted by tabs.
func writeRow(w *tabwriter.Writer, cells ...any) error {
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = fmt.Sprint(cell)
	}
	_, err := fmt.Fprintln(w, strings.Join(row, "\t"))
	return err
}
