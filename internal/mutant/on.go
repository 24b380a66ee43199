//go:build mutants

package mutant

import "sync/atomic"

var current atomic.Uint32

// Is reports whether the engine has the defect.
func Is(m Mutant) bool { return current.Load() == uint32(m) }

// Set gives the engine one defect, None to take it away. It holds for every
// database of the process.
func Set(m Mutant) { current.Store(uint32(m)) }
