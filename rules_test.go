package lightning_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// The explorer drives the model of rules_model_test.go through random steps,
// faults and crashes, and holds every promise against what it saw before:
//
//   - A commit acknowledged in Sync mode, or followed by a DB.Sync, survives
//     everything; one acknowledged in an unsynced mode survives a kill.
//   - An open yields a state that some transaction left, whole, on the line of
//     history that earlier opens showed. What an open dropped never comes back.
//   - A reader sees the same state all its life. It may fail only when its
//     snapshot is newer than D and a sync has failed.
//   - Damage at rest and lost writes end in an error, never in wrong data. An
//     open may then fall back only as far as the newest durableTxID on the disk.

var (
	rulesRuns = flag.Int("rules.runs", 20000, "random runs of the model of the rules")
	rulesSeed = flag.Uint64("rules.seed", 0, "seed of the first run of the model (0: a fixed default)")
)

const (
	rulesDefaultSeed = 20260
	rulesSteps       = 90
	rulesBound       = 500000 // runs within which a dropped rule must be found out
)

type ruleAction uint8

const (
	actSeal ruleAction = iota
	actStep
	actFlush
	actReaderBegin
	actReaderRead
	actReaderEnd
	actSyncBegin
	actSyncEnd
	actMode
	actKill
	actPowerCut
	actOpenReadOnly
	actFailSync
	actFailMeta
	actEvict
	actTruncate
	actRot
	actLoseWrite
)

var ruleWeights = map[ruleAction]int{
	actSeal: 20, actStep: 24, actFlush: 12, actReaderBegin: 7, actReaderRead: 5, actReaderEnd: 4,
	actSyncBegin: 4, actSyncEnd: 4, actMode: 5, actKill: 4, actPowerCut: 4, actOpenReadOnly: 2,
	actFailSync: 2, actFailMeta: 1, actEvict: 4, actTruncate: 4, actRot: 1, actLoseWrite: 1,
}

// ruleCrashWeights make an application that does the same again after each crash.
var ruleCrashWeights = map[ruleAction]int{
	actSeal: 24, actStep: 14, actFlush: 24, actMode: 3, actKill: 3, actPowerCut: 14, actFailSync: 2,
}

var ruleDecks = [...][]ruleAction{ruleDeckOf(ruleWeights), ruleDeckOf(ruleWeights), ruleDeckOf(ruleCrashWeights)}

func ruleDeckOf(weights map[ruleAction]int) (deck []ruleAction) {
	for a := actSeal; a <= actLoseWrite; a++ {
		for range weights[a] {
			deck = append(deck, a)
		}
	}
	return deck
}

// ruleStep carries its own randomness, so that steps can be taken out of a
// failing run without changing the others.
type ruleStep struct {
	act  ruleAction
	seed uint64
}

func ruleStepsOf(seed uint64) []ruleStep {
	rng := rand.New(rand.NewPCG(seed, 0))
	deck := ruleDecks[seed%uint64(len(ruleDecks))]
	steps := make([]ruleStep, 30+rng.IntN(rulesSteps-30))
	for i := range steps {
		steps[i] = ruleStep{deck[rng.IntN(len(deck))], rng.Uint64()}
	}
	return steps
}

type ruleWorld struct {
	off    ruleSet
	disk   *ruleDisk
	engine *ruleEngine // nil: closed
	rng    *rand.Rand

	line     []ruleState // by txid: the history as opens and commits showed it
	ever     map[ruleTx]map[ruleState]bool
	begun    ruleTx // newest transaction that a flush has carried
	safe     ruleTx // survives a power cut
	killSafe ruleTx // survives a kill
	damaged  bool   // at rest: the next open decides the run
	over     bool

	tracing bool
	trace   []string
}

// runRules returns the first broken promise.
func runRules(steps []ruleStep, off ruleSet, tracing bool) (trace []string, broken error) {
	w := &ruleWorld{off: off, disk: newRuleDisk(), tracing: tracing, begun: 1, safe: 1, killSafe: 1}
	w.line = make([]ruleState, 2, 64)
	w.ever = map[ruleTx]map[ruleState]bool{1: {{}: true}}
	for _, s := range steps {
		if broken = w.do(s); broken != nil || w.over {
			return w.trace, broken
		}
	}
	last := uint64(len(steps))
	for i, act := range []ruleAction{actPowerCut, actSeal, actSeal, actFlush, actKill, actSeal} {
		if broken = w.do(ruleStep{act, last + uint64(i)}); broken != nil || w.over {
			return w.trace, broken
		}
	}
	return w.trace, nil
}

func (w *ruleWorld) log(format string, args ...any) {
	if w.tracing {
		w.trace = append(w.trace, fmt.Sprintf(format, args...))
	}
}

// do performs one step; one that does not apply does nothing.
func (w *ruleWorld) do(s ruleStep) error {
	w.rng = rand.New(rand.NewPCG(s.seed, 1))
	w.disk.rng = w.rng
	switch s.act {
	case actKill:
		w.kill("kill")
		return nil
	case actPowerCut:
		w.kill("power cut")
		w.disk.powerCut()
		w.killSafe = w.safe
		return nil
	case actFailSync, actFailMeta, actLoseWrite:
		w.arm(s.act)
		return nil
	case actEvict:
		if !w.disk.lied {
			for range 1 + w.rng.IntN(8) {
				w.disk.evict(w.rng.IntN(w.disk.cache.length))
			}
			w.log("evict some clean pages")
		}
		return nil
	case actRot:
		if w.rng.IntN(2) == 0 {
			w.kill("kill")
			w.damaged = true
			if page := w.rng.IntN(w.disk.medium.length); page > 2 && w.rng.IntN(2) == 0 {
				w.disk.cut(page)
				w.log("the file is cut to %d pages", page)
			} else {
				w.disk.rot(page)
				w.log("page %d rots", page)
			}
		}
		return nil
	}
	if w.engine == nil {
		return w.open(s.act == actOpenReadOnly)
	}
	return w.use(s.act)
}

func (w *ruleWorld) arm(act ruleAction) {
	switch act {
	case actFailSync:
		w.disk.failSync = true
		w.log("the next sync will fail")
	case actFailMeta:
		w.disk.failWrite = true
		w.log("the next meta write will fail")
	case actLoseWrite:
		w.disk.loseWrite = w.rng.IntN(3) == 0
	}
}

func (w *ruleWorld) kill(how string) {
	if w.engine != nil {
		w.engine = nil
		w.log("%s", how)
	}
}

func (w *ruleWorld) open(readOnly bool) error {
	w.damaged = w.damaged || w.disk.lied
	e, err := openRuleEngine(w.disk, readOnly, w.off)
	w.damaged = w.damaged || w.disk.lied
	if errors.Is(err, errRuleIO) {
		w.killSafe = w.safe
		w.log("open: the sync failed")
		return nil
	}
	if w.damaged {
		w.over = true
		return w.judgeDamaged(e, err)
	}
	if err != nil {
		return fmt.Errorf("open (read-only %v) reports %w on an undamaged disk", readOnly, err)
	}
	t := e.published.txid
	state, err := e.read(e.published)
	w.log("open (read-only %v): transaction %d %v, rejected newer slot %v", readOnly, t, state, e.rejected)
	switch {
	case err != nil:
		return fmt.Errorf("first read after open: %w", err)
	case t < w.killSafe:
		return fmt.Errorf("open yields transaction %d, but %d was promised", t, w.killSafe)
	case t > w.begun || state != w.line[t]:
		return fmt.Errorf("open yields transaction %d = %v, which is not in the history", t, state)
	}
	w.line = w.line[:t+1]
	w.begun, w.safe, w.killSafe = t, t, t
	w.engine = e
	return nil
}

// judgeDamaged allows an error, or a state that is right and not older than
// what the disk itself says is durable.
func (w *ruleWorld) judgeDamaged(e *ruleEngine, err error) error {
	w.log("open of the damaged file: error %v", err)
	if err != nil {
		return nil
	}
	var recorded ruleTx
	for slot := range 2 {
		if c := &w.disk.medium.cells[slot]; c.kind == cellMeta {
			recorded = max(recorded, c.meta.durable)
		}
	}
	t := e.published.txid
	state, err := e.read(e.published)
	if err == nil && !w.ever[t][state] {
		return fmt.Errorf("damage is returned as data: transaction %d = %v", t, state)
	}
	if t < recorded {
		return fmt.Errorf("silent rollback to %d, the disk records %d as durable", t, recorded)
	}
	return nil
}

func (w *ruleWorld) use(act ruleAction) error {
	e := w.engine
	switch act {
	case actSeal:
		w.seal()
	case actStep:
		return w.flush(1 + w.rng.IntN(4))
	case actFlush:
		return w.flush(1 << 20)
	case actReaderBegin:
		if len(e.readers) < 4 {
			m := e.published
			e.readers = append(e.readers, &ruleReader{m, w.line[m.txid]})
			w.log("reader begins at %d", m.txid)
		}
		return w.readAll()
	case actReaderRead:
		return w.readAll()
	case actReaderEnd:
		if n := len(e.readers); n > 0 {
			i := w.rng.IntN(n)
			w.log("reader of %d ends", e.readers[i].meta.txid)
			e.readers = slices.Delete(e.readers, i, i+1)
		}
	case actSyncBegin:
		if e.beginSync() {
			w.log("DB.Sync of %d begins", e.written.txid)
		}
	case actSyncEnd:
		return w.endSync()
	case actMode:
		e.synced = !e.synced
		w.log("mode: synced %v", e.synced)
	case actTruncate:
		if e.truncate() {
			w.log("truncate to %d pages", e.planLen)
		}
	}
	return nil
}

// seal runs a transaction. Most depend on the txid alone: after a crash an
// application often does the same again, and lost pages may come back to life.
func (w *ruleWorld) seal() {
	e := w.engine
	if e.readOnly || e.poisoned {
		return
	}
	t := e.head + 1
	change := map[int]int{int(t) % ruleLeaves: int(t)%3 + 1}
	if w.rng.IntN(5) == 0 {
		change = map[int]int{w.rng.IntN(ruleLeaves): w.rng.IntN(4)}
		if w.rng.IntN(3) == 0 {
			change[w.rng.IntN(ruleLeaves)] = w.rng.IntN(3)
		}
	}
	if err := e.seal(change); err != nil {
		w.log("transaction %d: %v", t, err)
		return
	}
	state := w.line[t-1]
	for i, v := range change {
		state[i] = v
	}
	w.line = append(w.line[:t], state)
	if w.ever[t] == nil {
		w.ever[t] = map[ruleState]bool{}
	}
	w.ever[t][state] = true
	w.log("transaction %d sealed: %v", t, state)
}

// flush begins one if none is under way and does up to n of its steps.
func (w *ruleWorld) flush(n int) error {
	e := w.engine
	if e.flight == nil {
		if !e.beginFlush(w.rng.IntN(6) == 0) {
			return nil
		}
		f := e.flight
		w.begun = f.meta.txid
		w.log("flush of %d begins: pages %v, slot %d, D %d, large %v, synced %v, frees %v",
			f.meta.txid, pagesOf(f.pages), f.slot, e.durable.txid, f.large, f.synced, e.freed)
	}
	for ; n > 0 && e.flight != nil; n-- {
		f := e.flight
		done, err := e.step()
		w.log("  step of flush %d: %d left, error %v", f.meta.txid, len(f.steps), err)
		if err != nil {
			w.killSafe = w.safe
			return w.readAll()
		}
		if done {
			w.killSafe = f.meta.txid
			if f.synced {
				w.safe = f.meta.txid
			}
		}
	}
	return w.readAll()
}

func pagesOf(cells []ruleCell) (pages []int) {
	for _, c := range cells {
		pages = append(pages, c.page)
	}
	return pages
}

func (w *ruleWorld) endSync() error {
	e := w.engine
	if e.syncing == nil {
		return nil
	}
	t := e.syncing.meta.txid
	err := e.endSync()
	w.log("DB.Sync of %d ends: error %v", t, err)
	if err != nil {
		w.killSafe = w.safe
		return w.readAll()
	}
	w.safe = max(w.safe, t)
	return nil
}

// readAll lets every reader look at its snapshot again.
func (w *ruleWorld) readAll() error {
	e := w.engine
	for _, r := range e.readers {
		got, err := e.read(r.meta)
		switch {
		case errors.Is(err, errRuleUnproven), err != nil && w.disk.lied:
		case err != nil:
			return fmt.Errorf("reader of %d: %w", r.meta.txid, err)
		case got != r.expect:
			return fmt.Errorf("reader of %d sees %v, began with %v", r.meta.txid, got, r.expect)
		}
	}
	return nil
}

// exploreRules returns the number of runs until a promise broke, and the run's seed.
func exploreRules(off ruleSet, first uint64, runs int) (n int, seed uint64, broken error) {
	for i := range runs {
		seed = first + uint64(i)
		if _, broken = runRules(ruleStepsOf(seed), off, false); broken != nil {
			return i + 1, seed, broken
		}
	}
	return runs, 0, nil
}

// shrinkRules takes out steps for as long as the run still fails.
func shrinkRules(steps []ruleStep, off ruleSet) []ruleStep {
	for size := len(steps) / 2; size > 0; {
		smaller := false
		for at := 0; at+size <= len(steps); {
			fewer := slices.Delete(slices.Clone(steps), at, at+size)
			if _, broken := runRules(fewer, off, false); broken != nil {
				steps, smaller = fewer, true
			} else {
				at += size
			}
		}
		if !smaller || size > 1 {
			size /= 2
		}
	}
	return steps
}

// ruleStory is the shortest failing run found, told step by step.
func ruleStory(seed uint64, off ruleSet) string {
	steps := shrinkRules(ruleStepsOf(seed), off)
	trace, broken := runRules(steps, off, true)
	return fmt.Sprintf("-rules.seed=%d -rules.runs=1: %v\n(%d steps left)\n%s",
		seed, broken, len(steps), strings.Join(trace, "\n"))
}

func rulesFirstSeed() uint64 {
	if *rulesSeed != 0 {
		return *rulesSeed
	}
	return rulesDefaultSeed
}

func TestRules(t *testing.T) {
	seed := rulesFirstSeed()
	t.Logf("-rules.seed=%d -rules.runs=%d", seed, *rulesRuns)
	if _, bad, broken := exploreRules(ruleSet{}, seed, *rulesRuns); broken != nil {
		t.Fatal(ruleStory(bad, ruleSet{}))
	}
}

// Each rule is there because leaving it out breaks a promise.
func TestRules_EachRuleIsNeeded(t *testing.T) {
	rules := []struct {
		name string
		off  ruleSet
	}{
		{"A: reuse by latest instead of D", ruleSet{reuseByLatest: true}},
		{"A: second case without a meta written", ruleSet{reuseBeforeMeta: true}},
		{"A: second case, meta written but not published", ruleSet{reuseUnpublished: true}},
		{"A: reuse of what the flush under way frees", ruleSet{reuseInFlight: true}},
		{"A: readers ignored", ruleSet{ignoreReaders: true}},
		{"B: slot = txid mod 2", ruleSet{slotByParity: true}},
		{"C: no validation", ruleSet{acceptUnvalidated: true}},
		{"C: prune at txid-1", ruleSet{pruneAtLatest: true}},
		{"C: prune at durableTxID+1", ruleSet{pruneOneTooMany: true}},
		{"D: rejected slot not erased", ruleSet{noErase: true}},
		{"D: erased without a sync of its own", ruleSet{eraseUnsynced: true}},
		{"D: stale cache validated", ruleSet{validateCache: true}},
		{"D: medium validated, stale cache read", ruleSet{keepStaleCache: true}},
		{"E: sync again and go on", ruleSet{syncAgain: true}},
		{"E: unproven snapshots served after a failed sync", ruleSet{serveUnproven: true}},
		{"F: silent rollback", ruleSet{silentRollback: true}},
		{"open: no sync before D = t", ruleSet{noOpenSync: true}},
		{"open: sync only where durableTxID < txid", ruleSet{openSyncIfNeeded: true}},
		{"open: read-only takes the cache as it is", ruleSet{readOnlyFromCache: true}},
		{"DB.Sync: commits write meanwhile", ruleSet{commitDuringSync: true}},
		{"large: pages not synced first", ruleSet{largeUnsynced: true}},
		{"large: own durableTxID in the unsynced modes", ruleSet{largeMetaUnsynced: true}},
		{"truncation: D ignored", ruleSet{truncateBeforeD: true}},
		{"truncation: readers ignored", ruleSet{truncateReaders: true}},
	}
	first := rulesFirstSeed()
	for _, r := range rules {
		n, seed, broken := exploreRules(r.off, first, rulesBound)
		if broken == nil {
			t.Errorf("%-52s not found in %d runs", r.name, n)
			continue
		}
		t.Logf("%-52s %6d runs, seed %d: %v", r.name, n, seed, broken)
	}
}

// Growth is synced before a meta refers to it so that a full disk is met
// there. Safety does not hang on it: the sync of the commit carries the length
// with the pages, and rule C turns down a meta beyond the end of the file.
func TestRules_GrowthIsSafeWithoutItsSync(t *testing.T) {
	off := ruleSet{growUnsynced: true}
	if _, bad, broken := exploreRules(off, rulesFirstSeed(), *rulesRuns); broken != nil {
		t.Fatal(ruleStory(bad, off))
	}
}
