package fuzz

import (
	"bytes"

	lightning "github.com/lightning-db/lightning"
)

// place is where a cursor should stand.
type place struct {
	state placeState
	key   string // for placeKey; it may have been deleted since
}

type placeState uint8

const (
	placeNone placeState = iota // not moved yet
	placeKey
	placePast // behind the last key, also if there is none
)

// next moves the place and returns the key that Next must return.
func (at *place) next(keys []string) (string, bool) {
	if at.state != placeKey {
		return "", false
	}
	i := after(keys, at.key)
	there := i < len(keys) && keys[i] == at.key
	if there {
		i++
	}
	if i < len(keys) {
		at.key = keys[i]
		return at.key, true
	}
	if !there && len(keys) > 0 {
		at.state = placePast
	}
	return "", false
}

// prev moves the place and returns the key that Prev must return.
func (at *place) prev(keys []string) (string, bool) {
	switch at.state {
	case placeNone:
		return "", false
	case placePast:
		return at.edge(keys, len(keys)-1)
	}
	i := after(keys, at.key)
	if i == 0 {
		return "", false
	}
	at.key = keys[i-1]
	return at.key, true
}

// edge moves the place to key i, if there is one.
func (at *place) edge(keys []string, i int) (string, bool) {
	if len(keys) == 0 {
		*at = place{state: placePast}
		return "", false
	}
	*at = place{placeKey, keys[i]}
	return at.key, true
}

func (at *place) seek(keys []string, k string) (string, bool) {
	i := after(keys, k)
	if i < len(keys) {
		return at.edge(keys, i)
	}
	*at = place{state: placePast}
	return "", false
}

// walk moves a cursor about, with changes of the bucket in between.
func (s *session) walk(b *lightning.Bucket, m *model) {
	s.t.Helper()
	c := b.Cursor()
	var at place
	for range 1 + s.p.n(24) {
		keys := m.keys()
		var k, v []byte
		var want string
		var ok bool
		switch move := s.p.n(12); move {
		case 0:
			k, v = c.First()
			want, ok = at.edge(keys, 0)
		case 1:
			k, v = c.Last()
			want, ok = at.edge(keys, len(keys)-1)
		case 2:
			target := s.key()
			k, v = c.Seek(target)
			want, ok = at.seek(keys, string(target))
		case 3, 4, 5:
			k, v = c.Next()
			want, ok = at.next(keys)
		case 6, 7:
			k, v = c.Prev()
			want, ok = at.prev(keys)
		case 8, 9:
			s.deleteAt(c, m, at)
			continue
		case 10:
			s.delete(b, m, s.key())
			continue
		default:
			s.put(b, m, s.key(), s.value())
			continue
		}
		value, plain := m.values[want]
		if (k != nil) != ok || string(k) != want || (v != nil) != (ok && plain) || (ok && !bytes.Equal(v, value)) {
			s.t.Fatalf("cursor in transaction %d is at %s, want %s; value %s, want %s: %v", s.txid+1, show(k), show(want), show(v), show(value), s.tx.Err())
		}
	}
}

func (s *session) deleteAt(c *lightning.Cursor, m *model, at place) {
	s.t.Helper()
	var want error
	switch {
	case at.state == placeNone:
		want = lightning.ErrCursorUnpositioned
	case at.state == placeKey && m.nested[at.key] != nil:
		want = lightning.ErrIncompatibleValue
	}
	s.want("Cursor.Delete at "+show(at.key), c.Delete(), want)
	if at.state == placeKey && want == nil {
		delete(m.values, at.key)
	}
}
