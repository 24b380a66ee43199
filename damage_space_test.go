package lightning

import (
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lightning-db/lightning/internal/memdir"
	"github.com/lightning-db/lightning/page"
)

// buildSpaceDamageFile makes a file of a process that was killed after a synced
// commit that wrote pages of the map of free pages: an index and a bitmap if
// folded, else a page of the log.
func buildSpaceDamageFile(t *testing.T, dir, name string, folded bool) *damageFile {
	t.Helper()
	path := filepath.Join(dir, name+".db")
	db, err := Open(path, 0o600, &Options{PageSize: damagePage, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.AllocSize = damageAlloc
	b := &damageBuilder{
		t: t, db: db, path: path, model: newDamageModel(), states: map[uint64]*damageModel{},
		history: map[page.ID][][]byte{}, seen: map[page.ID]map[uint64]bool{}, seed: maphash.MakeSeed(),
	}
	b.fill()
	logPages := 1
	if folded {
		logPages = db.space.logLimit()
	}
	for n := 0; ; n++ {
		if n > 50_000 {
			t.Fatal("the map of free pages is not written")
		}
		// Only the last commits are synced: the one before is what Open goes back to.
		near := len(db.space.inline) > page.InlineCapacity-400 && len(db.space.log) >= logPages
		if near && db.NoSync {
			if err := db.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		db.NoSync = !near
		b.rewrite(n)
		m := &db.published.Load().meta
		if near && m.SpaceLog.Birth == m.TxID && !folded || near && m.Space.Birth == m.TxID && folded {
			break
		}
	}
	f := &damageFile{name: name, image: b.read(), history: b.history}
	b.truths(f)
	return f
}

// fill makes a bucket of several leaves that is not touched again.
func (b *damageBuilder) fill() {
	b.commit(func(tx *Tx, m *damageModel) error {
		w := damageWriter{m: newDamageModel()}
		m.buckets["old"] = w.m
		if w.b, w.err = tx.CreateBucket([]byte("old")); w.err != nil {
			return w.err
		}
		for i := range 12 {
			w.put(fmt.Sprintf("key%02d", i), damageText(i, 700))
		}
		w.put("big", damageText(12, 5000))
		return w.err
	})
}

// rewrite changes a bucket of several leaves.
func (b *damageBuilder) rewrite(n int) {
	b.commit(func(tx *Tx, m *damageModel) error {
		w := damageWriter{m: m.buckets["churn"]}
		if w.m == nil {
			w.m = newDamageModel()
			m.buckets["churn"] = w.m
		}
		if w.b, w.err = tx.CreateBucketIfNotExists([]byte("churn")); w.err != nil {
			return w.err
		}
		for i := range 3 {
			w.put(fmt.Sprintf("key%02d", (n*7+i*11)%damageChurnKey), damageText(n, 900))
		}
		return w.err
	})
}

// Pages of the map of free pages that the last commit wrote are no different
// from its data: damage to them takes a file that was not closed back to the
// commit before. Older pages, of data too, are reported.
func TestDamage_UnprovenSpaceMap(t *testing.T) {
	every, share := 8**damageEvery, 1
	if testing.Short() {
		share = 13
	}
	for name, kinds := range map[string][]string{"folded": {"index*", "bitmap*"}, "spilled": {"log*"}} {
		t.Run(name, func(t *testing.T) {
			dir := memdir.Temp(t)
			f := buildSpaceDamageFile(t, dir, name, name == "folded")
			shared := f.share(share)
			table := (&damageRun{f: f, dir: dir, every: every, limit: damageProblems, pick: func(n int, c damageCase) bool {
				return f.used(c.at) && c.at >= 2 && (!c.sparse || c.kind == "flip") && shared(n, c)
			}}).run(t)
			t.Logf("%d pages, %d states\n%v", f.pages(), table.states, table)
			table.report(t)
			rows := table.byRow()
			for _, kind := range kinds {
				if rows[kind] == nil {
					t.Errorf("no page of type %s", kind)
				}
			}
			for row, outcomes := range rows {
				allowed := []string{damageRefused, damageReported}
				if row[len(row)-1] == '*' {
					allowed = []string{damageBack, damageRefused}
				}
				for outcome, n := range outcomes {
					if !slices.Contains(allowed, outcome) {
						t.Errorf("%s: %s %d times, want %v", row, outcome, n, allowed)
					}
				}
			}
			for _, row := range []string{"branch", "leaf", "value"} {
				if rows[row][damageReported] == 0 {
					t.Errorf("%s: damage was never reported by what reads it", row)
				}
			}
		})
	}
}

// A value of one page lost the lowest bit of its length in pages: Tx.Page said
// that -1 pages follow, and the page table of lightning-cli, which goes on
// behind them, never ended.
func TestDamage_PageTableGoesOnBehindDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "damaged.db")
	db, err := Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	putOne(t, db, "key", []byte(text('v', 2000)))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	values := 0
	for id := range len(image) / DefaultPageSize {
		if page.TypeOf(image[id*DefaultPageSize:]) == page.TypeValue {
			flipBit(t, path, int64(id)*DefaultPageSize+4, 1)
			values++
		}
	}
	if values == 0 {
		t.Fatal("no value has pages of its own")
	}
	if db, err = Open(path, 0o600, &Options{ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(func(tx *Tx) error {
		for id := range len(image) / DefaultPageSize {
			info, err := tx.Page(id)
			if err != nil {
				return err
			}
			if info != nil && info.OverflowCount < 0 {
				t.Errorf("page %d, %s: %d pages follow", id, info.Type, info.OverflowCount)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
