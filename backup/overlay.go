package backup

import (
	"fmt"
	"math"

	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

// overlay is the file that the parts make when they are laid over each other, without
// the bytes: which extent each page belongs to, and whether all that the extent leads to is
// still there. It takes 44 bytes a page, and 16 for each reference.
//
// An extent is whole when it is brought and all extents that it refers to are whole. When
// a later part brings another extent over one of its pages it is gone, and whatever leads to it
// is not whole any more. Each extent is lost once, so that this takes no more
// time than bringing them.
type overlay struct {
	part  uint32 // number of the part that is laid, from 1 on
	pages map[page.ID]*[256]covered
	links []link // from extents to those that refer to them; 0 is none
}

// covered is a page of the overlay.
type covered struct {
	part   uint32 // that brought it; 0 = none
	back   uint32 // its distance from the first page of its extent, which has the rest
	digest page.Digest
	pages  uint32 // of the extent
	above  uint32 // first link to who refers to the extent
	level  uint16
	typ    page.Type
	lost   bool // not whole
}

// link leads to an extent that refers to another.
type link struct {
	from page.ID
	part uint32 // that brought it
	next uint32
}

func newOverlay() *overlay {
	return &overlay{pages: make(map[page.ID]*[256]covered), links: make([]link, 1)}
}

// next begins the next part.
func (o *overlay) next() { o.part++ }

func (o *overlay) at(id page.ID) *covered {
	chunk := o.pages[id>>8]
	if chunk == nil {
		chunk = new([256]covered)
		o.pages[id>>8] = chunk
	}
	return &chunk[id&255]
}

// bring lays the extent b over what is there. Who refers to it was brought before.
func (o *overlay) bring(d walk.Demand, b []byte) error {
	for i := range d.Pages {
		id := d.Ref.ID + page.ID(i)
		c := o.at(id)
		o.lose(id)
		*c = covered{part: o.part, back: clamp(i)}
	}
	c := o.at(d.Ref.ID)
	c.digest, c.pages, c.typ, c.level = d.Ref.Digest, clamp(d.Pages), page.TypeOf(b), uint16(page.LevelOf(b))
	return o.refer(d)
}

// keep holds that an older extent which the part refers to is there and whole.
func (o *overlay) keep(d walk.Demand) error {
	c := covered{}
	if chunk := o.pages[d.Ref.ID>>8]; chunk != nil {
		c = chunk[d.Ref.ID&255]
	}
	switch {
	case c.part == 0 || c.digest != d.Ref.Digest || c.pages != clamp(d.Pages):
		return &walk.Fault{Page: d.Ref.ID, Problem: fmt.Sprintf(
			"extent born in transaction %d is not what the parts before have: the database's past is not that of the backup", d.Ref.Birth)}
	case c.lost:
		return &walk.Fault{Page: d.Ref.ID, Problem: fmt.Sprintf(
			"extent born in transaction %d is referred to, or leads to pages, that were written over since: the database's past is not that of the backup", d.Ref.Birth)}
	}
	if err := d.MatchKind(c.typ, int(c.level)); err != nil {
		return err
	}
	return o.refer(d)
}

// refer notes who refers to the extent.
func (o *overlay) refer(d walk.Demand) error {
	if d.Parent == 0 {
		return nil // the meta page
	}
	if uint64(len(o.links)) > math.MaxUint32 {
		return fmt.Errorf("more than %d references", uint32(math.MaxUint32))
	}
	c := o.at(d.Ref.ID)
	if c.above != 0 && o.links[c.above].part == o.part {
		return &walk.Fault{Page: d.Ref.ID, Problem: "page is referred to twice"}
	}
	o.links = append(o.links, link{from: d.Parent, part: o.part, next: c.above})
	c.above = uint32(len(o.links) - 1)
	return nil
}

// lose marks the extent that has the page and all that lead to it.
func (o *overlay) lose(id page.ID) {
	c := o.at(id)
	first := id - page.ID(c.back)
	if extent := o.at(first); c.part == 0 || extent.part != c.part || extent.lost {
		return // free, or lost before
	}
	o.at(first).lost = true
	lost := []page.ID{first}
	for len(lost) > 0 {
		c := o.at(lost[len(lost)-1])
		lost = lost[:len(lost)-1]
		for l := c.above; l != 0; l = o.links[l].next {
			if up := o.at(o.links[l].from); up.part == o.links[l].part && up.back == 0 && !up.lost {
				up.lost = true
				lost = append(lost, o.links[l].from)
			}
		}
	}
}

// clamp makes n a uint32. An extent of 2^32 pages has 16 TiB; its digest says the rest.
func clamp(n int) uint32 { return uint32(min(uint64(n), math.MaxUint32)) }
