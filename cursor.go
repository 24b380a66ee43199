package lightning

import (
	"bytes"
	"runtime/debug"
	"slices"

	"github.com/lightning-db/lightning/page"
)

// Cursor walks the keys of a bucket in order. It is used by one goroutine at a
// time and valid until the transaction ends. Nested buckets have a nil value.
// When the bucket is changed during the walk, by Delete or otherwise, the
// cursor goes on from the key where it stood and skips none.
type Cursor struct {
	bucket *Bucket
	state  cursorState
	gen    uint64 // of the tree when path was taken
	key    []byte // where the cursor stands, but for the entries of the window handed out since
	path   []step
	steps  [6]step // first storage of path
	window window
}

// window is a stretch of entries, from the one that path leads to, whose places
// in the leaf are known already: Next hands them out without touching the
// page, so it cannot fault. Only leaves that nobody edits have one.
type window struct {
	leaf  page.Node
	spots [32]page.Spot
	next  uint8 // index of the next entry to hand out, at least 1
	end   uint8 // how many there are, 0 = there is no window
	wide  bool  // the walk has gone on for a while, look far ahead
	asked uint8 // for how many leaves was asked at once, the last time
	left  uint8 // how many of them are still to come
}

// firstLook is how many entries the first window of a walk holds: many walks
// are short.
const firstLook = 12

type cursorState uint8

const (
	cursorFresh cursorState = iota // not positioned
	cursorOn                       // at key
	cursorGap                      // key is gone; path leads to its successor's place
	cursorPast                     // behind the last key
)

func (b *Bucket) cursor() *Cursor { return &Cursor{bucket: b} }

// Bucket returns the bucket of the cursor.
func (c *Cursor) Bucket() *Bucket { return c.bucket }

// First moves to the first key and returns it, or nil if there is none.
func (c *Cursor) First() (key, value []byte) {
	defer c.bucket.tx.unguard(debug.SetPanicOnFault(true))
	if !c.start() {
		return nil, nil
	}
	return c.result(c.edge(false))
}

// Last moves to the last key and returns it, or nil if there is none.
func (c *Cursor) Last() (key, value []byte) {
	defer c.bucket.tx.unguard(debug.SetPanicOnFault(true))
	if !c.start() {
		return nil, nil
	}
	return c.result(c.edge(true))
}

// Seek moves to the given key, or to the next greater one, and returns it, or
// nil if there is none; then Prev leads to the last key.
func (c *Cursor) Seek(seek []byte) (key, value []byte) {
	defer c.bucket.tx.unguard(debug.SetPanicOnFault(true))
	if !c.start() {
		return nil, nil
	}
	return c.result(c.seek(seek))
}

// Next moves to the next key and returns it, or nil at the end, where the
// cursor stays.
func (c *Cursor) Next() (key, value []byte) {
	if w := &c.window; w.next < w.end && c.gen == c.bucket.tree.gen && c.bucket.usable() {
		s := w.spots[w.next%uint8(len(w.spots))]
		w.next++
		return w.leaf.KeyOf(s), w.leaf.ValueOf(s)
	}
	return c.nextWindow()
}

// nextWindow is Next where the window has ended.
func (c *Cursor) nextWindow() (key, value []byte) {
	defer c.bucket.tx.unguard(debug.SetPanicOnFault(true))
	if !c.bucket.usable() || c.state == cursorFresh || c.state == cursorPast {
		return nil, nil
	}
	c.catchUp()
	ok, err := c.next()
	if ok && err == nil && c.look() {
		c.state = cursorOn
		s := c.window.spots[0]
		return c.window.leaf.KeyOf(s), c.window.leaf.ValueOf(s)
	}
	return c.result(ok, err)
}

// look fills the window from the entry on that path leads to, if it can.
func (c *Cursor) look() bool {
	s := &c.path[len(c.path)-1]
	if s.n != nil && s.n.owner == c.bucket.tx {
		return false
	}
	w := &c.window
	out := w.spots[:]
	if !w.wide {
		out = out[:firstLook]
	}
	w.wide = true
	w.leaf, w.next, w.end = s.img, 1, uint8(s.img.Spots(s.i, out))
	return w.end > 0
}

// catchUp makes path and key those of the entry handed out last, and ends the
// window.
func (c *Cursor) catchUp() {
	w := &c.window
	if w.end > 0 {
		c.path[len(c.path)-1].i += int(w.next) - 1
		c.key = w.leaf.KeyOf(w.spots[w.next-1])
	}
	w.end = 0
}

// Prev moves to the previous key and returns it, or nil at the start, where the
// cursor stays.
func (c *Cursor) Prev() (key, value []byte) {
	defer c.bucket.tx.unguard(debug.SetPanicOnFault(true))
	switch {
	case !c.bucket.usable() || c.state == cursorFresh:
		return nil, nil
	case c.state == cursorPast:
		c.start()
		return c.result(c.edge(true))
	}
	c.catchUp()
	return c.result(c.prev())
}

// Delete removes the key at which the cursor stands; Next then leads to the
// key after it. It fails with ErrIncompatibleValue for a nested bucket and
// with ErrCursorUnpositioned before the cursor was moved. Behind the last key
// it does nothing.
func (c *Cursor) Delete() error {
	if err := c.bucket.mutable(); err != nil {
		return err
	}
	switch c.state {
	case cursorFresh:
		return ErrCursorUnpositioned
	case cursorPast:
		return nil
	}
	c.catchUp()
	return c.bucket.Delete(c.key)
}

// start resets the cursor for an absolute move; false if it cannot be used.
func (c *Cursor) start() bool {
	c.state = cursorFresh
	if c.path == nil {
		c.path = c.steps[:0]
	}
	c.path = c.path[:0]
	c.window.end, c.window.wide, c.window.asked, c.window.left = 0, false, 0, 0
	c.gen = c.bucket.tree.gen
	return c.bucket.usable()
}

// result returns the entry at the path if ok, and remembers where it is.
func (c *Cursor) result(ok bool, err error) (key, value []byte) {
	if err == nil && ok {
		key, value, err = c.entry()
	}
	if err != nil {
		c.state = cursorFresh
		c.bucket.tx.fail(err)
		return nil, nil
	}
	return key, value
}

// entry returns key and value where the path ends.
func (c *Cursor) entry() (key, value []byte, err error) {
	t := &c.bucket.tree
	s := &c.path[len(c.path)-1]
	cell := s.img.Cell(s.i)
	if key, err = t.keyOf(s.view, &cell); err != nil {
		return nil, nil, err
	}
	if !cell.IsBucket() {
		if value, err = t.valueOf(s.view, &cell); err != nil {
			return nil, nil, err
		}
		value = t.tx.keep(s.view, value)
	}
	c.key = t.tx.keep(s.view, key)
	c.state = cursorOn
	return c.key, value, nil
}

// edge moves to the first or last entry.
func (c *Cursor) edge(last bool) (bool, error) {
	v, err := c.bucket.tree.top()
	if err == nil && v.img == nil {
		c.state = cursorPast
	}
	if err != nil || v.img == nil {
		return false, err
	}
	return true, c.descend(v, last)
}

// descend extends the path from v to its first or last leaf entry.
func (c *Cursor) descend(v view, last bool) error {
	for {
		i := 0
		if last {
			i = v.img.Count() - 1
		}
		c.path = append(c.path, step{v, i})
		if !v.img.IsBranch() {
			return nil
		}
		var err error
		if v, err = c.bucket.tree.child(v, i); err != nil {
			return err
		}
	}
}

// seek takes the path to key or its successor; false if there is none.
func (c *Cursor) seek(key []byte) (bool, error) {
	var err error
	if c.path, _, err = c.bucket.tree.seek(c.path, key); err != nil {
		return false, err
	}
	if len(c.path) == 0 {
		c.state = cursorPast
		return false, nil
	}
	s := &c.path[len(c.path)-1]
	if s.i < s.img.Count() {
		return true, nil
	}
	s.i = s.img.Count() - 1
	ok, err := c.forward()
	if err == nil && !ok {
		c.state = cursorPast
	}
	return ok, err
}

// resync takes the path anew if the tree was changed since.
func (c *Cursor) resync() error {
	t := &c.bucket.tree
	if c.gen == t.gen {
		return nil
	}
	path, found, err := t.seek(c.path[:0], c.key)
	if err != nil {
		return err
	}
	c.path, c.gen = path, t.gen
	c.state = cursorOn
	if !found {
		c.state = cursorGap
	}
	return nil
}

func (c *Cursor) next() (bool, error) {
	if err := c.resync(); err != nil || len(c.path) == 0 {
		return false, err
	}
	if c.state == cursorOn {
		return c.forward()
	}
	s := &c.path[len(c.path)-1]
	if s.i < s.img.Count() {
		return true, nil
	}
	s.i = s.img.Count() - 1
	ok, err := c.forward()
	if err == nil && !ok {
		c.state = cursorPast
	}
	return ok, err
}

// forward moves one entry on; at the end the path stays and it returns false.
func (c *Cursor) forward() (bool, error) {
	s := &c.path[len(c.path)-1]
	if s.i+1 < s.img.Count() {
		s.i++
		return true, nil
	}
	for d := len(c.path) - 2; d >= 0; d-- {
		if c.path[d].i+1 < c.path[d].img.Count() {
			return true, c.turn(d, 1)
		}
	}
	return false, nil
}

// turn leaves the leaf at its end for the next one in direction by, 1 or -1,
// below the branch at depth d. The keys there must follow those here: a file
// made by an enemy could lead in circles.
func (c *Cursor) turn(d, by int) error {
	t := &c.bucket.tree
	from := c.path[len(c.path)-1]
	s := &c.path[d]
	s.i += by
	c.readAhead(s, by)
	v, err := t.child(s.view, s.i)
	if err != nil {
		return err
	}
	c.path = c.path[:d+1]
	if err := c.descend(v, by < 0); err != nil {
		return err
	}
	to := c.path[len(c.path)-1]
	here, err := t.key(from.view, from.i)
	if err != nil {
		return err
	}
	there, err := t.key(to.view, to.i)
	if err != nil {
		return err
	}
	if bytes.Compare(here, there) != -by {
		return t.tx.db.corrupt(uint64(page.IDOf(to.img)), "keys are not in order with those of the page before", nil)
	}
	return nil
}

// readAhead has the leaves read that a walk in direction by is going to need below s,
// the more the longer it has gone on: many walks are short.
func (c *Cursor) readAhead(s *step, by int) {
	db := c.bucket.tx.db
	if !db.sparing.Load() || s.n != nil || s.img.Level() != 1 {
		return
	}
	w := &c.window
	if w.left > 0 {
		w.left--
		return
	}
	w.asked = min(max(2*w.asked, 1), maxAhead)
	if w.asked > 1 {
		w.left = uint8(db.readAhead(s.img, s.i, by, int(w.asked)) - 1)
	}
}

func (c *Cursor) prev() (bool, error) {
	if err := c.resync(); err != nil || len(c.path) == 0 {
		return false, err
	}
	for d, s := range slices.Backward(c.path) {
		if s.i == 0 {
			continue
		}
		if d == len(c.path)-1 {
			c.path[d].i--
			return true, nil
		}
		return true, c.turn(d, -1)
	}
	return false, nil
}
