package boltfile

import (
	"bytes"
	"fmt"
	"io"
)

// MaxDepth is how many levels of buckets below the root a walk enters.
const MaxDepth = 10_000

// maxLevels is more levels than a tree of bbolt can have: a branch has two
// children at the least.
const maxLevels = 100

// Kind says what an Entry is.
type Kind uint8

// What a walk comes to.
const (
	BeginBucket Kind = iota // a bucket; what follows until its EndBucket is in it
	Pair                    // a key and its value
	EndBucket               // the end of the innermost bucket
)

// Entry is a step of a walk. Its slices stay valid and must not be written to.
type Entry struct {
	Kind     Kind
	Key      []byte // of the pair, or the name of the bucket; nil for the root bucket and for EndBucket
	Value    []byte // of a pair; empty, not nil, if it has no bytes
	Sequence uint64 // of the bucket that begins
}

// Position is a place in the order of a walk: behind Key, with all that it
// holds if it is a bucket, in the bucket at Path; behind the beginning of that
// bucket if Key is empty. The root bucket has an empty path.
type Position struct {
	Path [][]byte `json:"path"`
	Key  []byte   `json:"key"`
}

// Walker goes over the entries of a file in order: the root bucket first,
// whose end is io.EOF. It is used by one goroutine at a time.
type Walker struct {
	file    *File
	seen    visited
	buckets []*bucketWalk // from the root to the innermost
	begun   bool
	err     error // of Next, for good
}

// bucketWalk is a bucket that the walk is in.
type bucketWalk struct {
	levels []level // from the root page to the leaf
	last   []byte  // key before; the next one is greater
}

// level is a page of the way from a bucket's root to a leaf.
type level struct {
	n      *node
	next   int    // element to come to
	lo, hi []byte // keys are from lo, included, to hi, excluded; nil is no bound
}

// contains reports whether key is in the bounds.
func (l *level) contains(key []byte) bool {
	return bytes.Compare(key, l.lo) >= 0 && (l.hi == nil || bytes.Compare(key, l.hi) < 0)
}

// Walk returns a walk over the entries behind from, or over all if it is nil.
// It fails with ErrPosition, a *DamageError or an error of the file system.
func (f *File) Walk(from *Position) (*Walker, error) {
	w := &Walker{file: f, seen: make(visited, f.meta.end/64+1)}
	root, err := f.load(f.meta.root, w.seen)
	if err != nil {
		return nil, err
	}
	w.push(root)
	if from == nil {
		return w, nil
	}
	w.begun = true
	for _, name := range from.Path {
		if err := w.top().seek(name, w.seen); err != nil {
			return nil, err
		}
		e, err := w.step()
		if err != nil && err != io.EOF {
			return nil, err
		}
		if err != nil || e.Kind != BeginBucket || !bytes.Equal(e.Key, name) {
			return nil, fmt.Errorf("%w: %q", ErrPosition, name)
		}
	}
	if len(from.Key) > 0 {
		return w, w.top().seek(append(bytes.Clone(from.Key), 0), w.seen)
	}
	return w, nil
}

// Next returns the next entry, and io.EOF behind the last one. It fails with a
// *DamageError or an error of the file system, then for good.
func (w *Walker) Next() (Entry, error) {
	if w.err != nil {
		return Entry{}, w.err
	}
	if !w.begun {
		w.begun = true
		return Entry{Kind: BeginBucket, Sequence: w.file.meta.sequence}, nil
	}
	e, err := w.step()
	if err == io.EOF && len(w.buckets) > 1 {
		w.buckets = w.buckets[:len(w.buckets)-1]
		return Entry{Kind: EndBucket}, nil
	}
	w.err = err
	return e, err
}

func (w *Walker) top() *bucketWalk { return w.buckets[len(w.buckets)-1] }

func (w *Walker) push(root *node) {
	w.buckets = append(w.buckets, &bucketWalk{levels: []level{{n: root}}})
}

// step returns the next entry of the innermost bucket, or io.EOF, and enters a
// bucket that it comes to.
func (w *Walker) step() (Entry, error) {
	n, e, key, err := w.top().next(w.seen)
	if err != nil {
		return Entry{}, err
	}
	if e.bucket {
		return w.enter(n, e, key)
	}
	value, err := n.value(e)
	return Entry{Kind: Pair, Key: key, Value: value}, err
}

// enter begins the walk of the bucket at e.
func (w *Walker) enter(n *node, e element, name []byte) (Entry, error) {
	if len(w.buckets) > MaxDepth {
		return Entry{}, w.file.damage(n.page, "buckets are nested deeper than %d levels", MaxDepth)
	}
	if e.valBytes < bucketHeaderBytes {
		return Entry{}, w.file.damage(n.page, "the bucket %.64q has a header of %d bytes", name, e.valBytes)
	}
	header, err := n.bytes(e.value, bucketHeaderBytes)
	if err != nil {
		return Entry{}, err
	}
	var root *node
	if page := le.Uint64(header); page != 0 {
		root, err = w.file.load(page, w.seen)
	} else {
		var b []byte
		if b, err = n.bytes(e.value+bucketHeaderBytes, e.valBytes-bucketHeaderBytes); err == nil {
			root, err = w.file.inline(n.page, b)
		}
	}
	if err != nil {
		return Entry{}, err
	}
	w.push(root)
	return Entry{Kind: BeginBucket, Key: name, Sequence: le.Uint64(header[8:])}, nil
}

// next returns the next element of the bucket's leaves, or io.EOF.
func (b *bucketWalk) next(seen visited) (*node, element, []byte, error) {
	for len(b.levels) > 0 {
		l := &b.levels[len(b.levels)-1]
		switch {
		case l.next == l.n.count:
			b.levels = b.levels[:len(b.levels)-1]
		case l.n.branch:
			if err := b.descend(seen); err != nil {
				return nil, element{}, nil, err
			}
		default:
			e := l.n.element(l.next)
			l.next++
			key, err := b.checkedKey(l, e)
			return l.n, e, key, err
		}
	}
	return nil, element{}, nil, io.EOF
}

// descend goes from the branch that the walk is at to its next child.
func (b *bucketWalk) descend(seen visited) (err error) {
	l := &b.levels[len(b.levels)-1]
	e := l.n.element(l.next)
	down := level{lo: l.lo, hi: l.hi}
	if down.lo, err = l.n.key(e); err != nil {
		return err
	}
	if !l.contains(down.lo) {
		return l.n.file.damage(l.n.page, "the key %.64q is outside of the bounds in the branch above", down.lo)
	}
	if l.next++; l.next < l.n.count {
		if down.hi, err = l.n.key(l.n.element(l.next)); err != nil {
			return err
		}
	}
	if len(b.levels) == maxLevels {
		return l.n.file.damage(l.n.page, "the tree has more than %d levels", maxLevels)
	}
	if down.n, err = l.n.file.load(e.child, seen); err == nil {
		b.levels = append(b.levels, down)
	}
	return err
}

// checkedKey returns the key of e, which must be greater than the one before
// and in the bounds that the branches above set.
func (b *bucketWalk) checkedKey(l *level, e element) ([]byte, error) {
	key, err := l.n.key(e)
	if err != nil {
		return nil, err
	}
	switch {
	case len(key) == 0:
		return nil, l.n.file.damage(l.n.page, "a key is empty")
	case b.last != nil && bytes.Compare(key, b.last) <= 0:
		return nil, l.n.file.damage(l.n.page, "the key %.64q is not greater than the one before", key)
	case !l.contains(key):
		return nil, l.n.file.damage(l.n.page, "the key %.64q is outside of the bounds in the branch above", key)
	}
	b.last = key
	return key, nil
}

// seek moves a bucket that is at its beginning to the first key that is not
// less than key.
func (b *bucketWalk) seek(key []byte, seen visited) error {
	for {
		l := &b.levels[len(b.levels)-1]
		for ; l.next < l.n.count; l.next++ {
			i := l.next
			if l.n.branch {
				i++ // the child's keys end where the next one's begin
			}
			if i == l.n.count {
				break
			}
			at, err := l.n.key(l.n.element(i))
			if err != nil {
				return err
			}
			if order := bytes.Compare(at, key); order > 0 || order == 0 && !l.n.branch {
				break
			}
		}
		if !l.n.branch {
			return nil
		}
		if err := b.descend(seen); err != nil {
			return err
		}
	}
}
