// Package mutant switches single rules and checks of the engine off, so that
// tests can show that they would be missed: the mutation check of chaos/ breaks
// each in turn and expects the crash explorer to notice. Only builds with the
// tag mutants can do that; in all others Is is the constant false and costs
// nothing.
package mutant

// Mutant is one defect that the engine can be given.
type Mutant uint8

// The defects. The rules are those of docs/ARCHITECTURE.md.
const (
	None Mutant = iota

	ReuseAtOnce      // rule A: freed pages are reused whatever the durable state holds
	ReuseUnderReader // rule A: freed pages are reused though a reader sees them
	SlotByNumber     // rule B: a meta goes to the slot of its number, odd or even
	NoValidation     // rule C: unproven pages are not validated at Open
	ValidateNewest   // rule C: only the pages of the newest transaction are validated
	NoLengthCheck    // rule C: a file shorter than its meta says is accepted
	KeepRejected     // rule D: a rejected newer slot is not erased
	TrustCache       // rule D: Open reads the page cache, not the medium
	GoOnAfterSync    // rule E: a failed sync fails its commit only
	RollBackSilently // rule F: a state older than a recorded durable one is accepted

	NoMetaDigest       // meta slots are not checked against their digest
	NoPageDigest       // pages are not checked when first touched
	NoValidationDigest // unproven pages are validated but for their digest
	KeepVerified       // a page that is written again still counts as verified
	PublishEarly       // a commit is visible before its sync has returned

	Count // how many there are, None included
)

var names = [Count]string{
	"none", "reuse at once", "reuse under a reader", "slot by number", "no validation", "validate the newest only",
	"no length check", "keep a rejected slot", "trust the page cache", "go on after a failed sync", "roll back silently",
	"no meta digest", "no page digest", "no digest in validation", "keep pages verified", "publish early",
}

// String names the defect.
func (m Mutant) String() string { return names[m] }
