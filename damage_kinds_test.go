package lightning

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/lightning-db/lightning/page"
)

// damageCase is one damaged state of a file.
type damageCase struct {
	kind   string
	at     page.ID // what the table counts it under; damageCut and damageTail are no pages
	what   string
	sparse bool // one of very many: only some are looked at in all ways
	image  func(b []byte) []byte
}

// damageSector is what a disk writes at once.
const damageSector = 512

// cases calls yield for every damage to the file. Of bytes other than those of
// meta slots and headers, and of contents older than the latest, each nth is
// taken, and fewer in pages that nothing refers to.
func (f *damageFile) cases(every int, yield func(damageCase)) {
	f.flips(every, yield)
	f.fills(yield)
	f.exchanges(every, yield)
	f.stale(every, yield)
	f.lengths(yield)
}

// pages is the number of whole pages in the file.
func (f *damageFile) pages() page.ID { return page.ID(len(f.image) / damagePage) }

// near is the number of pages of the newest state and a few behind it.
func (f *damageFile) near() page.ID { return min(f.pages(), f.now.end+2) }

// class is the row of the table that a page belongs to.
func (f *damageFile) class(id page.ID) string {
	switch {
	case id == f.now.slot:
		return "meta newest"
	case id < 2:
		return "meta older"
	case id >= f.now.end:
		return "tail"
	case f.now.kind[id] != "":
		return f.now.kind[id]
	}
	return "free"
}

// used reports whether the page belongs to the newest state.
func (f *damageFile) used(id page.ID) bool { return id < 2 || f.now.kind[id] != "" }

// flips flips one bit of each byte, gives some another value, and of the header of what is in use the
// lowest bit, too, which counts most; every bit and every byte if all are taken.
func (f *damageFile) flips(every int, yield func(damageCase)) {
	const header = 40
	for at := range int(f.pages()) * damagePage {
		id, in := page.ID(at/damagePage), at%damagePage
		if id >= 2 && in < header && f.used(id) {
			bits := 1
			if every == 1 {
				bits = 8
			}
			for bit := range bits {
				yield(damageCase{"header", id, fmt.Sprintf("bit %d of byte %d of page %d", bit, in, id), false, func(b []byte) []byte {
					b[at] ^= 1 << bit
					return b
				}})
			}
		}
		if n := every; id >= 2 && (in >= header || !f.used(id)) {
			if !f.used(id) {
				n *= 16
			}
			if (at+int(id))%n != 0 {
				continue
			}
		}
		yield(damageCase{"flip", id, fmt.Sprintf("byte %d of page %d", in, id), true, func(b []byte) []byte {
			b[at] ^= 1 << (at % 8)
			return b
		}})
		if at%4 == 0 || every == 1 {
			yield(damageCase{"value", id, fmt.Sprintf("byte %d of page %d", in, id), true, func(b []byte) []byte {
				b[at] += 1 + byte(at*167%255) // any value but the one that it has
				return b
			}})
		}
	}
}

// fills overwrites pages and sectors.
func (f *damageFile) fills(yield func(damageCase)) {
	for id := range f.near() {
		for _, fill := range []byte{0, 0xff} {
			yield(damageCase{fmt.Sprintf("%02x page", fill), id, fmt.Sprintf("page %d", id), false, func(b []byte) []byte {
				copy(b[id*damagePage:], bytes.Repeat([]byte{fill}, damagePage))
				return b
			}})
			for s := range damagePage / damageSector {
				yield(damageCase{fmt.Sprintf("%02x sector", fill), id, fmt.Sprintf("sector %d of page %d", s, id), false, func(b []byte) []byte {
					copy(b[int(id)*damagePage+s*damageSector:], bytes.Repeat([]byte{fill}, damageSector))
					return b
				}})
			}
		}
	}
}

// partners returns pages to exchange id with: the next ones of its type, its
// neighbours, the meta slots and some others; all, if every byte is taken.
func (f *damageFile) partners(id page.ID, every int) []page.ID {
	rng := rand.New(rand.NewPCG(uint64(id), 7))
	if every == 1 {
		var all []page.ID
		for other := range f.near() {
			if other != id {
				all = append(all, other)
			}
		}
		return all
	}
	all := []page.ID{0, 1, (id + 1) % f.near(), (id + f.near() - 1) % f.near()}
	same := 0
	for i := range f.near() {
		other := (id + i) % f.near()
		if i > 0 && same < 4 && f.class(other) == f.class(id) {
			all = append(all, other)
			same++
		}
	}
	for range 4 {
		all = append(all, page.ID(rng.IntN(int(f.near()))))
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return slices.DeleteFunc(all, func(other page.ID) bool { return other == id })
}

// exchanges swaps pages and copies pages over others.
func (f *damageFile) exchanges(every int, yield func(damageCase)) {
	page := func(b []byte, id page.ID) []byte { return b[id*damagePage:][:damagePage] }
	for id := range f.near() {
		for _, other := range f.partners(id, every) {
			yield(damageCase{"misplaced", id, fmt.Sprintf("page %d over %d", other, id), false, func(b []byte) []byte {
				copy(page(b, id), page(b, other))
				return b
			}})
			yield(damageCase{"swap", f.graver(id, other), fmt.Sprintf("pages %d and %d", id, other), false, func(b []byte) []byte {
				was := bytes.Clone(page(b, id))
				copy(page(b, id), page(b, other))
				copy(page(b, other), was)
				return b
			}})
		}
	}
}

// graver returns the one of two damaged pages that decides what may come of it.
func (f *damageFile) graver(a, b page.ID) page.ID {
	rank := func(id page.ID) int {
		switch kind := f.now.kind[id]; {
		case id == f.now.slot && f.back != nil && max(a, b) >= 2:
			return 4
		case id == f.now.slot && f.back == nil, id < 2 && id != f.now.slot:
			return 1
		case strings.HasSuffix(kind, "*"):
			return 3
		case kind != "":
			return 2
		}
		return 0
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// staleLatest is how many earlier contents of a page are all taken.
const staleLatest = 12

// stale gives pages the contents that they had after earlier commits.
func (f *damageFile) stale(every int, yield func(damageCase)) {
	for id := range f.pages() {
		versions := f.history[id]
		for i, was := range versions {
			if back := len(versions) - i; back > staleLatest && back%(4*every) != 0 && every > 1 {
				continue
			}
			yield(damageCase{"stale", id, fmt.Sprintf("page %d as it was, version %d", id, i), i < len(versions)-staleLatest, func(b []byte) []byte {
				copy(b[id*damagePage:], was)
				return b
			}})
		}
	}
}

// Rows of the table for changed lengths.
const (
	damageCut  = page.ID(1 << 60) // within the pages of the newest state
	damageTail = damageCut + 1    // beyond
)

// lengths cuts the file and appends to it.
func (f *damageFile) lengths(yield func(damageCase)) {
	cut := func(n int) {
		row := damageTail
		if n < int(f.now.end)*damagePage {
			row = damageCut
		}
		if n >= 0 && n < len(f.image) {
			yield(damageCase{"cut", row, fmt.Sprintf("at %d", n), false, func(b []byte) []byte { return b[:n] }})
		}
	}
	for id := range int(f.pages()) + 1 {
		for _, off := range []int{-1, 0, 1, 511, 2048} {
			cut(id*damagePage + off)
		}
	}
	for _, n := range []int{1, 511, damagePage, 2*damagePage + 7} {
		for _, fill := range []byte{0, 0xff, 'g'} {
			yield(damageCase{"append", damageTail, fmt.Sprintf("%d bytes of %02x", n, fill), false, func(b []byte) []byte {
				return append(b, bytes.Repeat([]byte{fill}, n)...)
			}})
		}
	}
}

// row names the row of the table for a case.
func (f *damageFile) row(c damageCase) string {
	switch c.at {
	case damageCut:
		return "length within"
	case damageTail:
		return "length beyond"
	}
	return f.class(c.at)
}
