//go:build mutants

package lightning

import (
	"testing"

	"github.com/lightning-db/lightning/internal/memdir"
	"github.com/lightning-db/lightning/internal/mutant"
)

// With a digest check of the engine switched off the judge of the damage tests
// finds a wrong outcome; with nothing off, in the same states, none.
func TestDamage_Mutants(t *testing.T) {
	dir := memdir.Temp(t)
	f := buildDamageFile(t, dir, damageClosed)
	killed := buildDamageFile(t, dir, damageKilled)
	for _, c := range []struct {
		mutant mutant.Mutant
		file   *damageFile
		row    func(c damageCase) bool
	}{
		{mutant.NoPageDigest, f, func(c damageCase) bool { return c.at >= 2 && c.kind == "flip" }},
		{mutant.NoMetaDigest, killed, func(c damageCase) bool { return c.at < 2 && c.kind == "flip" }},
	} {
		for _, off := range []mutant.Mutant{mutant.None, c.mutant} {
			run := &damageRun{f: c.file, dir: dir, every: 64, limit: damageProblems, pick: func(n int, d damageCase) bool { return n%7 == 0 && c.row(d) }}
			mutant.Set(off)
			table := run.run(t)
			mutant.Set(mutant.None)
			t.Logf("%v off: %d states, %d wrong", off, table.states, len(table.problems))
			switch {
			case off == mutant.None && len(table.problems) > 0:
				t.Errorf("nothing off, and wrong: %s", table.problems[0])
			case off != mutant.None && len(table.problems) == 0:
				t.Errorf("%v off, and nothing wrong", off)
			case off != mutant.None:
				t.Logf("first: %.300s", table.problems[0])
			}
		}
	}
}
