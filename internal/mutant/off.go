//go:build !mutants

package mutant

// Is reports whether the engine has the defect: never, in this build.
func Is(Mutant) bool { return false }
