package fuzz

import (
	"bytes"
	"errors"
	"sort"

	lightning "github.com/lightning-db/lightning"
)

// session is one writable transaction of a program and the state that it
// should have made so far.
type session struct {
	*machine
	tx   *lightning.Tx
	work *model
}

// pick returns a bucket of the database and its model.
func (s *session) pick() (*lightning.Bucket, *model, []string) {
	s.t.Helper()
	paths := s.work.paths()
	path := paths[s.p.n(min(len(paths), 256))]
	b := s.tx.Cursor().Bucket()
	for _, name := range path {
		if b = b.Bucket([]byte(name)); b == nil {
			s.t.Fatalf("bucket %q of %q does not open: %v", name, path, s.tx.Err())
		}
	}
	return b, s.work.at(path), path
}

// want fails the test unless err is the given error, or nil.
func (s *session) want(what string, err, want error) {
	s.t.Helper()
	if !errors.Is(err, want) || (want == nil) != (err == nil) {
		s.t.Fatalf("transaction %d: %s: error %v, want %v", s.txid+1, what, err, want)
	}
}

func (s *session) key() []byte {
	kind := s.p.byte()
	return key(kind, s.p.n(64), s.pageSize)
}

func (s *session) value() []byte {
	s.serial++
	return value(s.p.byte(), s.serial, s.pageSize)
}

// operation runs the next operation of the program.
func (s *session) operation() {
	s.t.Helper()
	b, m, path := s.pick()
	switch s.p.n(20) {
	case 0, 1, 2:
		s.put(b, m, s.key(), s.value())
	case 3, 4, 5:
		s.putMany(b, m)
	case 6:
		s.delete(b, m, s.key())
	case 7, 8:
		s.deleteSome(b, m)
	case 9:
		k := s.key()
		v, plain := m.values[string(k)]
		if got := b.Get(k); (got != nil) != plain || !bytes.Equal(got, v) {
			s.t.Fatalf("Get(%s) is %s, want %s", show(k), show(got), show(v))
		}
	case 10, 11:
		s.walk(b, m)
	case 12:
		s.createBucket(b, m, s.bucketName())
	case 13:
		s.createIfNotExists(b, m, s.bucketName())
	case 14:
		s.deleteBucket(b, m, s.bucketName())
	case 15:
		s.moveBucket(b, m, path)
	case 16:
		s.sequence(b, m)
	case 17:
		s.deleteRange(b, m)
	case 18:
		if s.p.n(4) == 0 {
			s.want("Clear", b.Clear(), nil)
			m.values, m.nested = map[string][]byte{}, map[string]*model{}
		}
	case 19:
		if err := compare(s.tx, s.work); err != nil {
			s.t.Fatalf("inside transaction %d: %v", s.txid+1, err)
		}
	}
}

func (s *session) put(b *lightning.Bucket, m *model, k, v []byte) {
	s.t.Helper()
	var want error
	switch {
	case len(k) == 0:
		want = lightning.ErrKeyRequired
	case len(k) > lightning.MaxKeySize:
		want = lightning.ErrKeyTooLarge
	case m.nested[string(k)] != nil:
		want = lightning.ErrIncompatibleValue
	}
	s.want("Put "+show(k), b.Put(k, v), want)
	if want == nil {
		m.values[string(k)] = v
	}
}

// putMany puts keys in ascending, descending or mixed order, so that trees
// become high.
func (s *session) putMany(b *lightning.Bucket, m *model) {
	s.t.Helper()
	kind, sizes, count, stride := s.p.byte(), s.p.byte(), 1+s.p.n(64), 1+2*s.p.n(32)
	b.FillPercent = []float64{lightning.DefaultFillPercent, 1, 0.1, 0.9}[s.p.n(4)]
	at := s.p.n(64)
	for range count {
		if s.work.size() > maxBytes {
			return
		}
		s.serial++
		v := value(sizes, s.serial, s.pageSize)
		if s.serial%8 == 0 {
			v = value(sizes+1, s.serial, s.pageSize)
		}
		s.put(b, m, key(kind, at, s.pageSize), v)
		at = (at + stride) % 64
		kind += byte(s.serial % 2)
	}
}

func (s *session) delete(b *lightning.Bucket, m *model, k []byte) {
	s.t.Helper()
	var want error
	if m.nested[string(k)] != nil {
		want = lightning.ErrIncompatibleValue
	}
	s.want("Delete "+show(k), b.Delete(k), want)
	delete(m.values, string(k))
}

// deleteSome deletes every few keys of a bucket.
func (s *session) deleteSome(b *lightning.Bucket, m *model) {
	s.t.Helper()
	keys := m.keys()
	from, every, limit := s.p.n(min(len(keys), 256)), 1+s.p.n(4), 1+s.p.n(100)
	for i := from; i < len(keys) && limit > 0; i += every {
		s.delete(b, m, []byte(keys[i]))
		limit--
	}
}

func (s *session) bucketName() []byte {
	if kind := s.p.byte(); kind < 200 {
		return []byte{'B', '0' + kind%6}
	}
	k := s.key()
	if len(k) > lightning.MaxKeySize {
		return bytes.Repeat([]byte("N"), 40000) // names have no limit
	}
	return k
}

// clash returns the error for a name that must lead to a bucket.
func clash(m *model, name []byte) error {
	switch {
	case m.nested[string(name)] != nil:
		return nil
	case m.values[string(name)] != nil,
		len(name) == 0 && len(m.values)+len(m.nested) == 0: // as in bbolt
		return lightning.ErrIncompatibleValue
	}
	return lightning.ErrBucketNotFound
}

func (s *session) createBucket(b *lightning.Bucket, m *model, name []byte) {
	s.t.Helper()
	var want error
	switch {
	case len(name) == 0:
		want = lightning.ErrBucketNameRequired
	case m.nested[string(name)] != nil:
		want = lightning.ErrBucketExists
	case m.values[string(name)] != nil:
		want = lightning.ErrIncompatibleValue
	}
	_, err := b.CreateBucket(name)
	s.want("CreateBucket "+show(name), err, want)
	if want == nil {
		m.nested[string(name)] = newModel()
	}
}

func (s *session) createIfNotExists(b *lightning.Bucket, m *model, name []byte) {
	s.t.Helper()
	var want error
	switch {
	case len(name) == 0:
		want = lightning.ErrBucketNameRequired
	case m.values[string(name)] != nil:
		want = lightning.ErrIncompatibleValue
	}
	got, err := b.CreateBucketIfNotExists(name)
	s.want("CreateBucketIfNotExists "+show(name), err, want)
	if want != nil {
		return
	}
	if m.nested[string(name)] == nil {
		m.nested[string(name)] = newModel()
	}
	if b.Bucket(name) != got {
		s.t.Fatalf("two handles for the bucket %s", show(name))
	}
}

func (s *session) deleteBucket(b *lightning.Bucket, m *model, name []byte) {
	s.t.Helper()
	want := clash(m, name)
	s.want("DeleteBucket "+show(name), b.DeleteBucket(name), want)
	if want == nil {
		delete(m.nested, string(name))
	}
}

func (s *session) moveBucket(b *lightning.Bucket, m *model, path []string) {
	s.t.Helper()
	name := s.bucketName()
	dst, to, dstPath := s.pick()
	want := clash(m, name)
	switch {
	case want != nil:
	case m == to:
		want = lightning.ErrSameBuckets
	case below(dstPath, append(path[:len(path):len(path)], string(name))):
		want = lightning.ErrMoveIntoSelf
	case to.nested[string(name)] != nil:
		want = lightning.ErrBucketExists
	case to.values[string(name)] != nil:
		want = lightning.ErrIncompatibleValue
	}
	s.want("MoveBucket "+show(name), b.MoveBucket(name, dst), want)
	if want == nil {
		to.nested[string(name)] = m.nested[string(name)]
		delete(m.nested, string(name))
	}
}

// below reports whether path is that of the bucket at top or inside it.
func below(path, top []string) bool {
	if len(path) < len(top) {
		return false
	}
	for i := range top {
		if path[i] != top[i] {
			return false
		}
	}
	return true
}

func (s *session) sequence(b *lightning.Bucket, m *model) {
	s.t.Helper()
	if s.p.n(2) == 0 {
		m.seq = uint64(s.p.byte()) << 40
		s.want("SetSequence", b.SetSequence(m.seq), nil)
		return
	}
	m.seq++
	got, err := b.NextSequence()
	s.want("NextSequence", err, nil)
	if got != m.seq {
		s.t.Fatalf("NextSequence is %d, want %d", got, m.seq)
	}
}

func (s *session) deleteRange(b *lightning.Bucket, m *model) {
	s.t.Helper()
	from, to := s.key(), s.key()
	if from != nil && to != nil && bytes.Compare(from, to) > 0 {
		from, to = to, from
	}
	var hit []string
	var want error
	for _, k := range m.keys() {
		if (from != nil && k < string(from)) || (to != nil && k >= string(to)) {
			continue
		}
		if hit = append(hit, k); m.nested[k] != nil {
			want = lightning.ErrIncompatibleValue
		}
	}
	n, err := b.DeleteRange(from, to)
	s.want("DeleteRange "+show(from)+" to "+show(to), err, want)
	if want != nil {
		return
	}
	if n != len(hit) {
		s.t.Fatalf("DeleteRange %s to %s deleted %d keys, want %d", show(from), show(to), n, len(hit))
	}
	for _, k := range hit {
		delete(m.values, k)
	}
}

// after returns the index of the first key that is not below k.
func after(keys []string, k string) int { return sort.SearchStrings(keys, k) }
