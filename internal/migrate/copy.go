package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/lightning-db/lightning/internal/boltfile"
)

// progressEvery is how many entries lie between two calls of Options.Progress.
const progressEvery = 256

// boltLeafBytes bounds what lies before an entry in its leaf. A leaf of bbolt
// has up to four entries whatever their size, and 32 bits for where one begins.
const boltLeafBytes = 1<<32 - 1<<20

// leafLimit is boltLeafBytes if the destination has such leaves, otherwise 0.
func (m *migration) leafLimit() int64 {
	if m.result.To == Bolt {
		return boltLeafBytes
	}
	return 0
}

// state is what the marker holds: enough to go on.
type state struct {
	Version  int      `json:"version"`
	Source   identity `json:"source"`
	Begun    bool     `json:"begun"` // something was copied, up to Position
	Position Position `json:"position"`
	Counts   Counts   `json:"counts"`
	// Recent are the sizes of the last three entries of each bucket of the
	// path, the root bucket's first, if the destination has a leaf limit.
	Recent [][3]int64 `json:"recent,omitempty"`
}

const stateVersion = 1

// copier puts what a source holds into a target, or only counts it.
type copier struct {
	m      *migration
	target target // nil to count
	limit  int64  // bytes in a leaf before an entry; 0 is none
	state  state

	changes int // in the open transaction
	bytes   int64
	entries int64 // since the start, for progress
}

// run copies what is behind the state's position. It leaves no transaction
// open, and the target with all that was committed.
func (c *copier) run(ctx context.Context) (err error) {
	var from *Position
	if c.state.Begun {
		from = &c.state.Position
	}
	w, err := c.m.walk(from)
	if errors.Is(err, boltfile.ErrPosition) {
		err = fmt.Errorf("%w (%w)", ErrSourceChanged, err)
	}
	if err != nil {
		return err
	}
	if c.limit > 0 && len(c.state.Recent) != len(c.state.Position.Path)+1 {
		c.state.Recent = make([][3]int64, len(c.state.Position.Path)+1)
	}
	if c.target != nil {
		defer func() {
			if err != nil {
				err = errors.Join(err, c.target.rollback())
			}
		}()
		if err := c.target.begin(c.state.Position.Path); err != nil {
			return c.m.advise(err)
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, err := w.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := c.entry(e); err != nil {
			return err
		}
	}
	c.progress(true)
	c.m.result.Counts = c.state.Counts
	return c.commit()
}

// entry copies e.
func (c *copier) entry(e Entry) error {
	size := int64(len(e.Key) + len(e.Value))
	if err := c.room(size); err != nil {
		return err
	}
	if err := c.fits(e, size); err != nil {
		return c.locate(e, err)
	}
	if c.target != nil {
		if err := apply(c.target, e); err != nil {
			return c.locate(e, err)
		}
	}
	p := &c.state.Position
	switch e.Kind {
	case boltfile.BeginBucket:
		if c.state.Begun {
			p.Path, p.Key = append(p.Path, e.Key), nil
			c.state.Counts.Buckets++
		}
	case boltfile.Pair:
		p.Key = e.Key
		c.state.Counts.Keys++
	case boltfile.EndBucket:
		p.Key = p.Path[len(p.Path)-1]
		p.Path = p.Path[:len(p.Path)-1]
	}
	c.state.Begun = true
	c.state.Counts.Bytes += size
	c.changes++
	c.bytes += size
	c.progress(false)
	return nil
}

func apply(t target, e Entry) error {
	switch e.Kind {
	case boltfile.BeginBucket:
		return t.enter(e.Key, e.Sequence)
	case boltfile.Pair:
		return t.put(e.Key, e.Value)
	}
	t.leave()
	return nil
}

// fits checks that the target can keep e where it belongs.
func (c *copier) fits(e Entry, size int64) error {
	if c.limit == 0 {
		return nil
	}
	if e.Kind == boltfile.EndBucket {
		c.state.Recent = c.state.Recent[:len(c.state.Recent)-1]
		return nil
	}
	last := &c.state.Recent[len(c.state.Recent)-1]
	if last[0]+last[1]+last[2] > c.limit {
		return ErrTooLargeForBolt
	}
	*last = [3]int64{last[1], last[2], size}
	if e.Kind == boltfile.BeginBucket && c.state.Begun {
		c.state.Recent = append(c.state.Recent, [3]int64{})
	}
	return nil
}

// room commits if a change of size bytes more would exceed the bounds of a transaction.
func (c *copier) room(size int64) error {
	if c.target == nil || c.changes == 0 || c.changes < c.m.opts.BatchEntries && c.bytes+size <= c.m.opts.BatchBytes {
		return nil
	}
	if err := c.commit(); err != nil {
		return err
	}
	return c.target.begin(c.state.Position.Path)
}

// commit makes the open transaction durable, together with the position.
func (c *copier) commit() error {
	if c.target == nil {
		return nil
	}
	c.changes, c.bytes = 0, 0
	if err := c.target.commit(&c.state); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func (c *copier) progress(last bool) {
	if c.entries++; !last && c.entries%progressEvery != 0 {
		return
	}
	done, total := c.state.Counts.Bytes, max(c.m.source.used(), c.state.Counts.Bytes)
	if last {
		total = done
	}
	c.m.opts.Progress(Progress{Copying, done, total})
}

// locate adds the path of e to err.
func (c *copier) locate(e Entry, err error) error {
	return fmt.Errorf("copy %s: %w", showPath(c.state.Position.Path, e.Key), err)
}

// showPath spells the key in the bucket at path for a message.
func showPath(path [][]byte, key []byte) string {
	var b strings.Builder
	for _, name := range path {
		fmt.Fprintf(&b, "%.64q/", name)
	}
	if key != nil {
		fmt.Fprintf(&b, "%.64q", key)
	}
	return b.String()
}
