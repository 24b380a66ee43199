//go:build amd64 || arm64

package powerfs

import (
	"maps"
	"math/rand/v2"
)

// directory is the one directory.
type directory struct {
	durable map[string]*file
	names   map[string]*file // durable with all pending changes
	pending []entryChange
}

// entryChange is a change of names that no sync of the directory has made
// durable. A rename is one change: it is made or lost as a whole.
type entryChange struct {
	remove string // "" = nothing
	add    string // "" = nothing
	file   *file  // added
}

func (c entryChange) apply(names map[string]*file) {
	delete(names, c.remove)
	if c.add != "" {
		names[c.add] = c.file
	}
}

func newDirectory() directory {
	return directory{durable: map[string]*file{}, names: map[string]*file{}}
}

func (d *directory) do(c entryChange) {
	if old := d.names[c.add]; old != nil {
		old.links = 0
	}
	if gone := d.names[c.remove]; gone != nil && gone != c.file {
		gone.links = 0
	}
	c.apply(d.names)
	d.pending = append(d.pending, c)
}

func (d *directory) sync() {
	d.durable = maps.Clone(d.names)
	d.pending = nil
}

// afterCut returns the names that a power cut leaves.
func (d *directory) afterCut(ch chances, rng *rand.Rand) map[string]*file {
	names := maps.Clone(d.durable)
	for i, c := range d.pending {
		// What moves a file that is not there is not made either.
		if c.remove != "" && c.add != "" && names[c.remove] != c.file {
			continue
		}
		if rng.Float64() < ch.keep(i, len(d.pending)) {
			c.apply(names)
		}
	}
	return names
}
