package walk

import (
	"fmt"
	"slices"

	"github.com/lightning-db/lightning/page"
)

// Demand is an extent that must be as the reference to it says.
type Demand struct {
	Ref   page.Ref
	Pages int
	Types []page.Type // allowed
	Level int         // AnyLevel where it does not matter

	Parent page.ID // page that refers to it; 0 = the meta page
}

// AnyLevel is the level of a root, which may have any.
const AnyLevel = -1

// The types that are allowed at the ends of references.
var (
	treeTypes  = []page.Type{page.TypeBranch, page.TypeLeaf}
	indexTypes = []page.Type{page.TypeSpaceIndex}
	bitsTypes  = []page.Type{page.TypeSpaceLeaf}
	logTypes   = []page.Type{page.TypeSpaceLog}
	valueTypes = []page.Type{page.TypeValue}
	keyTypes   = []page.Type{page.TypeKey}
)

// Tree returns what a reference to the root of a bucket asks for.
func Tree(r page.Ref) Demand { return Demand{Ref: r, Pages: 1, Types: treeTypes, Level: AnyLevel} }

// SpaceTop returns what the reference to the top of the map of free pages asks for.
func SpaceTop(r page.Ref) Demand { return Demand{Ref: r, Pages: 1, Types: indexTypes, Level: AnyLevel} }

// SpaceLog returns what a reference to a page of the space log asks for.
func SpaceLog(r page.Ref) Demand { return Demand{Ref: r, Pages: 1, Types: logTypes, Level: AnyLevel} }

// SpaceChild returns what a reference in a space index of the given level asks for.
func SpaceChild(r page.Ref, level int) Demand {
	if level == 1 {
		return Demand{Ref: r, Pages: 1, Types: bitsTypes, Level: AnyLevel}
	}
	return Demand{Ref: r, Pages: 1, Types: indexTypes, Level: level - 1}
}

// Child returns what the reference at in the node n asks for.
func Child(n page.Node, at page.RefAt, pageSize int) Demand {
	d := Demand{Ref: page.GetRef(n[at.Offset:]), Pages: 1, Level: AnyLevel}
	switch at.Kind {
	case page.RefKey:
		d.Types, d.Pages = keyTypes, page.ExtentPages(at.Length, pageSize)
	case page.RefValue:
		d.Types, d.Pages = valueTypes, page.ExtentPages(at.Length, pageSize)
	case page.RefChild:
		d.Types, d.Level = treeTypes, n.Level()-1
	case page.RefBucket:
		d.Types = treeTypes
	}
	return d
}

// Kind names the types that d allows.
func (d *Demand) Kind() string {
	s := d.Types[0].String()
	for _, t := range d.Types[1:] {
		s += " or " + t.String()
	}
	return s
}

// Match returns a *Fault if the extent b is not what d asks for; digests are
// not looked at.
func (d *Demand) Match(b []byte) error {
	if err := page.MatchHeader(b, d.Ref, page.TypeOf(b), d.Pages); err != nil {
		return &Fault{Page: d.Ref.ID, Problem: "header", Err: err}
	}
	if err := d.MatchKind(page.TypeOf(b), page.LevelOf(b)); err != nil {
		return err
	}
	if err := page.Validate(b); err != nil {
		return &Fault{Page: d.Ref.ID, Problem: "structure", Err: err}
	}
	return nil
}

// MatchKind returns a *Fault if d asks for another type or level.
func (d *Demand) MatchKind(t page.Type, level int) error {
	if !slices.Contains(d.Types, t) {
		return &Fault{Page: d.Ref.ID, Problem: fmt.Sprintf("type is %v, want %v", t, d.Types)}
	}
	if d.Level != AnyLevel && level != d.Level {
		return &Fault{Page: d.Ref.ID, Problem: fmt.Sprintf("level is %d, want %d: leaves at different depths", level, d.Level)}
	}
	return nil
}

// Fault says what is wrong with an extent.
type Fault struct {
	Page      page.ID
	Want, Got page.Digest // where digests differ
	Problem   string      // else
	Err       error       // cause, may be nil
}

// Error names the page and what is wrong with it.
func (f *Fault) Error() string {
	s := fmt.Sprintf("page %d: %s", f.Page, f.Problem)
	if f.Want != f.Got {
		s += fmt.Sprintf(" (digest %x, want %x)", f.Got[:6], f.Want[:6])
	}
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }
