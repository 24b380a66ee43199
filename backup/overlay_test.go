package backup

import (
	"strings"
	"testing"

	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

func TestOverlay(t *testing.T) {
	leaf := page.InitNode(make([]byte, page.MinSize), 0)
	var o *overlay
	demand := func(id, parent page.ID, pages int) walk.Demand {
		d := walk.Tree(page.Ref{ID: id, Birth: 1, Digest: page.Digest{byte(id), byte(pages)}})
		d.Parent, d.Pages = parent, pages
		return d
	}
	bring := func(id, parent page.ID, pages int) {
		t.Helper()
		if err := o.bring(demand(id, parent, pages), leaf); err != nil {
			t.Fatal(err)
		}
	}
	keep := func(d walk.Demand, want string) {
		t.Helper()
		err := o.keep(d)
		switch {
		case want == "" && err != nil:
			t.Errorf("page %d: %v", d.Ref.ID, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("page %d: got %v, want %q", d.Ref.ID, err, want)
		}
	}
	const foreign, over, twice = "is not what the parts before have", "written over since", "referred to twice"

	// 10 leads to 20 and 40, 20 to 30, which has three pages.
	start := func() {
		o = newOverlay()
		o.next()
		bring(10, 0, 1)
		bring(20, 10, 1)
		bring(40, 10, 1)
		bring(30, 20, 3)
		o.next()
	}
	for id := page.ID(30); id < 33; id++ { // a page of the lowest is lost, and so are all above it
		start()
		bring(id, 0, 1)
		keep(demand(10, 0, 1), over)
		keep(demand(20, 50, 1), over)
		keep(demand(40, 51, 1), "")
		if id == 30 {
			keep(demand(30, 50, 3), foreign)
		} else {
			keep(demand(30, 50, 3), over)
		}
	}

	// What has new pages above it is lost with what lies below it, in any later part.
	start()
	bring(60, 0, 1)
	keep(demand(20, 60, 1), "")
	o.next()
	keep(demand(60, 0, 1), "")
	bring(31, 0, 1)
	keep(demand(60, 0, 1), over)
	keep(demand(10, 0, 1), over)

	// What came to the place of what was lost is another extent.
	start()
	bring(30, 0, 1)
	o.next()
	bring(32, 0, 1)
	keep(demand(30, 0, 1), "")
	start()
	bring(10, 0, 1) // no more what refers to 20
	o.next()
	bring(31, 0, 1)
	keep(demand(10, 0, 1), "")

	start()
	keep(demand(20, 60, 1), "")
	keep(demand(20, 61, 1), twice)
	for _, d := range []walk.Demand{demand(40, 60, 2), demand(31, 60, 1), demand(99, 60, 1)} {
		keep(d, foreign)
	}
	d := demand(40, 60, 1)
	d.Ref.Digest[5]++
	keep(d, foreign)
	d = demand(30, 60, 3)
	d.Pages = 2
	keep(d, foreign)
	d = demand(40, 60, 1)
	d.Level = 1
	keep(d, "level")
	d.Types, d.Level = []page.Type{page.TypeValue}, walk.AnyLevel
	keep(d, "type")
}
