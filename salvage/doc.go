// Package salvage saves what can be saved of a damaged database, when no copy
// helps, into a new one, and lists what is lost.
//
// The source is opened read-only and read page by page; what cannot be read is noted. Each
// value that is saved has a Grade that says what justifies it. The weakest, Orphan, is left out
// unless Options.Orphans asks for it. docs/adr/0023-salvage.md has the reasons.
//
// Reading order: salvage.go (what a run does), report.go, source.go (pages), walk.go
// (a tree and what is missing in it), fill.go (what else can be put there), orphans.go, output.go.
package salvage
