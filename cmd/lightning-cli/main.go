// Command lightning-cli looks into, edits, checks, fills and empties a Lightning DB file at rest.
//
// Reading order: root.go wires the commands and the flags they share, exit.go holds the exit codes,
// encoding.go says how bytes are spelt, db.go opens files; each command then has a file of its own.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
