package lightning

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"

	"github.com/lightning-db/lightning/page"
)

// What may come of damage.
const (
	damageRefused  = "refused"  // Open fails with a typed error
	damageReported = "reported" // what is touched fails, the rest is right
	damageHarmless = "harmless" // all is right, Check is clean
	damageBack     = "back"     // the state before, with a warning
	damageBackMute = "back, mute"
	damageNew      = "new" // an empty file is a new database
)

// damageJudge judges one damaged image of a file.
type damageJudge struct {
	f        *damageFile
	lab      *damageLab
	image    []byte
	changed  []page.ID // pages that are not as they were, those cut off included
	readOnly bool
	quick    bool // reads each key once, and runs Check
	verify   Verify

	db       *DB
	truth    *damageTruth
	hits     map[page.ID]bool
	noticed  bool
	problems []string
}

func (j *damageJudge) wrong(format string, args ...any) {
	j.problems = append(j.problems, fmt.Sprintf(format, args...))
}

// changedPages compares an image with the one that it was made from.
func changedPages(was, is []byte) (changed []page.ID) {
	for at := 0; at < len(was); at += damagePage {
		if at+damagePage > len(is) || !bytes.Equal(was[at:at+damagePage], is[at:at+damagePage]) {
			changed = append(changed, page.ID(at/damagePage))
		}
	}
	return changed
}

// run opens the image and reads all of it. It returns the outcome; what must
// not be is in problems.
func (j *damageJudge) run(write bool) (outcome string) {
	defer func() {
		if r := recover(); r != nil {
			j.wrong("panic: %v\n%s", r, debug.Stack())
			outcome = "panic"
		}
	}()
	j.changed = changedPages(j.f.image, j.image)
	if err := j.lab.set(j.image); err != nil {
		j.wrong("make the image: %v", err)
		return ""
	}
	log := &damageLogger{}
	db, err := Open(j.lab.path, 0o600, &Options{ReadOnly: j.readOnly, Verify: j.verify, Logger: log})
	if err != nil {
		j.refusal(err)
		return damageRefused
	}
	j.db = db
	outcome = j.opened(log.warnings.Load() > 0)
	if write && j.truth != nil {
		j.write()
	}
	if err := j.db.Close(); err != nil {
		j.wrong("Close: %v", err)
	}
	return outcome
}

// refusal judges the error of Open.
func (j *damageJudge) refusal(err error) {
	var open *OpenError
	typed := errors.Is(err, ErrChecksum) || errors.Is(err, ErrInvalid) || errors.Is(err, ErrVersionMismatch) || errors.Is(err, ErrIntegrityKey)
	if !errors.As(err, &open) || !typed || open.Path != j.lab.path {
		j.wrong("Open fails with %T: %v", err, err)
	}
	hits := j.f.now.hits(j.changed)
	slots := slices.ContainsFunc(j.changed, func(id page.ID) bool { return id < 2 })
	if len(hits) == 0 && !slots && len(j.image) >= int(j.f.now.end)*damagePage {
		j.wrong("refused without damage: %v", err)
	}
	if c := corruption(err); c != nil && !j.named(c) {
		j.wrong("Open names page %d: %v", c.Page, err)
	}
	if got, err := os.ReadFile(j.lab.path); err != nil || !bytes.Equal(got, j.image) {
		j.wrong("a refused Open changed the file (%v)", err)
	}
}

// named reports whether the error names a damaged page, the extent around it
// or the extent that refers to that, in any state of the file.
func (j *damageJudge) named(c *CorruptionError) bool {
	if c.Path != j.lab.path {
		return false
	}
	at := page.ID(c.Page)
	if slices.Contains(j.changed, at) || len(j.image) < int(at+1)*damagePage {
		return true
	}
	for _, tr := range []*damageTruth{j.f.now, j.f.back} {
		if tr == nil {
			continue
		}
		for start := range tr.hits(j.changed) {
			if start == at || tr.parent[start] == at {
				return true
			}
		}
	}
	return false
}

// opened finds out which state was opened, whether it may be, and reads it.
func (j *damageJudge) opened(warned bool) string {
	tx, now, back := j.db.published.Load().meta.TxID, j.f.now, j.f.back
	outcome := ""
	switch {
	case tx == now.tx:
		j.truth = now
	case back != nil && (tx == back.tx || j.f.between[tx] != nil):
		j.truth, outcome = back, damageBack
		if tx != back.tx {
			j.truth = j.f.between[tx]
		}
		if !j.mayGoBack() {
			j.wrong("back at transaction %d without damage to %d", tx, now.tx)
		}
		if !warned {
			// A valid older meta in its place: the commit was never there.
			outcome = damageBackMute
			if !j.olderMeta() {
				j.wrong("back at transaction %d without a warning", tx)
			}
		}
	case len(j.image) == 0 && tx == 1:
		return damageNew
	default:
		j.wrong("opened transaction %d", tx)
		return "other"
	}
	if slices.Contains(j.changed, 1-j.truth.slot) && j.slotMeta(1-j.truth.slot) == nil && !warned {
		j.wrong("meta slot %d is damaged, and no warning", 1-j.truth.slot)
	}
	j.hits = j.truth.hits(j.changed)
	j.readAll()
	if j.noticed != (len(j.hits) > 0) {
		j.wrong("damaged extents in use: %v, noticed: %t", j.hits, j.noticed)
	}
	switch {
	case outcome != "":
		return outcome
	case j.noticed:
		return damageReported
	}
	return damageHarmless
}

// mayGoBack reports whether the newest transaction was damaged where that
// cannot be told from a commit that was cut short.
func (j *damageJudge) mayGoBack() bool {
	now := j.f.now
	if slices.Contains(j.changed, now.slot) || len(j.image) < int(now.end)*damagePage {
		return true
	}
	return slices.ContainsFunc(j.changed, func(id page.ID) bool {
		kind := now.kind[id]
		return kind != "" && kind[len(kind)-1] == '*'
	})
}

// olderMeta reports whether the slot of the newest transaction holds a valid
// meta of an older one.
func (j *damageJudge) olderMeta() bool {
	m := j.slotMeta(j.f.now.slot)
	return m != nil && m.TxID < j.f.now.tx
}

func (j *damageJudge) slotMeta(slot page.ID) *page.Meta {
	if len(j.image) < int(slot+1)*damagePage {
		return nil
	}
	b := j.image[slot*damagePage:][:page.MetaSize]
	id, err := page.PeekMeta(b)
	if err != nil {
		return nil
	}
	m, err := page.DecodeMeta(b, j.db.hasher, id.KeyCheck)
	if err != nil {
		return nil
	}
	return m
}

// view runs fn in a transaction of its own and returns its error, which must
// be one of damage or nil.
func (j *damageJudge) view(what string, fn func(tx *Tx) error) error {
	err := j.db.View(fn)
	j.expect(what, err)
	return err
}

// expect takes an error that must be typed and name the damage.
func (j *damageJudge) expect(what string, err error) {
	if err == nil {
		return
	}
	j.noticed = true
	if c := corruption(err); c == nil {
		j.wrong("%s fails with %T: %v", what, err, err)
	} else if !j.named(c) {
		j.wrong("%s names page %d: %v", what, c.Page, err)
	}
}

// verdict compares whether something failed with whether it had to.
func (j *damageJudge) verdict(what string, err error, must, may []page.ID) {
	switch {
	case err == nil && touched(j.hits, must):
		j.wrong("%s succeeds on damage", what)
	case err != nil && !touched(j.hits, may):
		j.wrong("%s fails where nothing is damaged: %v", what, err)
	}
}
