package differential_test

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// machine runs programs on one engine and writes down what it sees.
type machine[D database[T], T transaction[B, C], B bucket[B, C], C cursor[B]] struct {
	engine engine[D, T, B]
	dir    string
	db     D

	txs     []*txn[T]
	buckets []*bucketHandle[T, B]
	cursors []*cursorHandle[T, B, C]
	seen    []string // a line for each operation
	plain   bool     // the root bucket has plain keys, which bbolt's Compact dies of
}

// txn is an open transaction.
type txn[T any] struct {
	tx       T
	writable bool
	managed  bool
	writes   int             // so far
	deletes  map[string]bool // paths of the buckets that keys were deleted from
	dirty    map[string]bool // paths of the buckets changed
}

// bucketHandle is a bucket of an open transaction.
type bucketHandle[T, B any] struct {
	b    B
	txn  *txn[T]
	path string
}

// cursorHandle is a cursor. Where bbolt does not say what a move gives, because
// the bucket was changed since the cursor was placed, it is not moved.
type cursorHandle[T, B, C any] struct {
	c      C
	bucket *bucketHandle[T, B]
	placed bool
	writes int // of the transaction, when it was placed
}

// run runs the program on a new database in dir and returns what was seen.
func run[D database[T], T transaction[B, C], B bucket[B, C], C cursor[B]](e engine[D, T, B], dir string, program []op) []string {
	m := &machine[D, T, B, C]{engine: e, dir: dir}
	if m.open() {
		m.guarded(func() {
			m.all(program)
			m.end()
		})
	}
	return m.seen
}

// guarded makes a panic the last thing seen.
func (m *machine[D, T, B, C]) guarded(run func()) {
	defer func() {
		if p := recover(); p != nil {
			m.log("panic: %v", p)
		}
	}()
	run()
}

func (m *machine[D, T, B, C]) log(format string, args ...any) {
	m.seen = append(m.seen, fmt.Sprintf(format, args...))
}

func (m *machine[D, T, B, C]) open() bool {
	db, err := m.engine.open(filepath.Join(m.dir, "db"))
	m.db = db
	if err != nil {
		m.log("open: %v", err)
	}
	return err == nil
}

func (m *machine[D, T, B, C]) all(program []op) {
	for _, o := range program {
		m.step(o)
	}
}

// step runs one operation. A panic is something seen, too.
func (m *machine[D, T, B, C]) step(o op) {
	defer func() {
		if p := recover(); p != nil {
			if p == errOwn {
				m.log("%s: own panic", kindNames[o.Kind])
				return
			}
			m.log("%s: panic", kindNames[o.Kind])
			panic(fmt.Sprintf("%v in %v", p, o))
		}
	}()
	switch o.Kind {
	case opBegin:
		m.begin(o.A%3 == 0)
	case opStats:
		txN, openTxN := m.engine.stats(m.db)
		m.log("stats: %d begun, %d open", txN, openTxN)
	case opReopen:
		m.reopen()
	case opManaged:
		m.managed(o)
	case opCommit, opRollback, opRoot, opDump, opInspect, opOnCommit:
		if len(m.txs) > 0 {
			m.stepTx(o, m.txs[o.A%len(m.txs)])
		}
	case opMoveTo, opRemove:
		if len(m.cursors) > 0 {
			m.stepCursor(o, m.cursors[o.A%len(m.cursors)])
		}
	default:
		if len(m.buckets) > 0 {
			m.stepBucket(o, m.buckets[o.A%len(m.buckets)])
		}
	}
}

// writer returns the open writable transaction, nil if there is none.
func (m *machine[D, T, B, C]) writer() *txn[T] {
	for _, x := range m.txs {
		if x.writable {
			return x
		}
	}
	return nil
}

func (m *machine[D, T, B, C]) begin(writable bool) {
	if len(m.txs) >= 4 || writable && m.writer() != nil {
		return // it would wait for itself
	}
	tx, err := m.db.Begin(writable)
	m.log("begin %t: %s", writable, m.engine.err(err))
	if err == nil {
		m.adopt(tx, writable, false)
	}
}

// adopt takes a transaction that has begun.
func (m *machine[D, T, B, C]) adopt(tx T, writable, managed bool) *txn[T] {
	m.log("transaction %d", tx.ID())
	x := &txn[T]{tx: tx, writable: writable, managed: managed, dirty: make(map[string]bool), deletes: make(map[string]bool)}
	m.txs = append(m.txs, x)
	m.buckets = append(m.buckets, &bucketHandle[T, B]{tx.Cursor().Bucket(), x, "/"})
	return x
}

// forget drops the handles that keep says nothing of.
func (m *machine[D, T, B, C]) forget(gone func(*bucketHandle[T, B]) bool) {
	m.buckets = slices.DeleteFunc(m.buckets, gone)
	m.cursors = slices.DeleteFunc(m.cursors, func(c *cursorHandle[T, B, C]) bool { return gone(c.bucket) })
}

func (m *machine[D, T, B, C]) ended(x *txn[T]) {
	m.txs = slices.DeleteFunc(m.txs, func(y *txn[T]) bool { return x == y })
	m.forget(func(h *bucketHandle[T, B]) bool { return h.txn == x })
}

func (m *machine[D, T, B, C]) managed(o op) {
	if len(m.txs) >= 4 {
		return
	}
	how, writable := []func(func(T) error) error{m.db.View, m.db.Update, m.db.Batch}[o.A%3], o.A%3 > 0
	if writable && m.writer() != nil {
		return
	}
	var x *txn[T]
	defer func() {
		if x != nil {
			m.ended(x)
		}
	}()
	err := how(func(tx T) error {
		if x != nil { // Batch runs a function again
			m.ended(x)
		}
		x = m.adopt(tx, writable, true)
		m.all(o.Sub)
		switch o.B % 6 {
		case 0:
			return errOwn
		case 1:
			panic(errOwn)
		}
		return nil
	})
	m.log("managed %d: %s", o.A%3, m.engine.err(err))
}

func (m *machine[D, T, B, C]) stepTx(o op, x *txn[T]) {
	switch o.Kind {
	case opCommit:
		if x.managed {
			return
		}
		err := x.tx.Commit()
		m.log("commit: %s", m.engine.err(err))
		if x.writable {
			m.ended(x)
			m.log("again: %s, %s, %d", m.engine.err(x.tx.Commit()), m.engine.err(x.tx.Rollback()), x.tx.ID())
		}
	case opRollback:
		if x.managed {
			return
		}
		m.log("rollback: %s", m.engine.err(x.tx.Rollback()))
		m.ended(x)
		m.log("again: %s, %s", m.engine.err(x.tx.Rollback()), m.engine.err(x.tx.DeleteBucket([]byte("A"))))
	case opRoot:
		m.buckets = append(m.buckets, &bucketHandle[T, B]{x.tx.Cursor().Bucket(), x, "/"})
	case opDump:
		m.dump(x.tx)
	case opInspect:
		if !x.writable { // bbolt counts the pages, which know nothing of what is not committed
			m.log("inspect: %s", m.engine.inspect(x.tx))
		}
	case opOnCommit:
		x.tx.OnCommit(func() { m.log("hook %d", o.N) })
	}
}

// child appends a handle of a nested bucket.
func (m *machine[D, T, B, C]) child(h *bucketHandle[T, B], key []byte, b B) {
	if len(m.buckets) < 24 {
		m.buckets = append(m.buckets, &bucketHandle[T, B]{b, h.txn, nested(h.path, key)})
	}
}

func nested(path string, key []byte) string { return fmt.Sprintf("%s%x/", path, key) }

// wrote notes a change below the bucket. All cursors of the transaction have to
// be placed anew.
func wrote[T, B any](h *bucketHandle[T, B]) {
	h.txn.writes++
	h.txn.dirty[h.path] = true
}

func (m *machine[D, T, B, C]) stepBucket(o op, h *bucketHandle[T, B]) {
	b := h.b
	var none B
	switch o.Kind {
	case opOpen:
		child := b.Bucket(o.Key)
		m.log("open %.20q: %t", o.Key, child != none)
		if child != none {
			m.child(h, o.Key, child)
		}
	case opCreate:
		create := b.CreateBucket
		if o.B%2 == 0 {
			create = b.CreateBucketIfNotExists
		}
		child, err := create(o.Key)
		m.log("create %.20q: %s", o.Key, m.engine.err(err))
		if err == nil {
			wrote(h)
			h.txn.dirty[nested(h.path, o.Key)] = true
			m.child(h, o.Key, child)
		}
	case opDropBucket:
		err := b.DeleteBucket(o.Key)
		m.log("drop %.20q: %s", o.Key, m.engine.err(err))
		if err == nil {
			wrote(h)
			m.forgetBelow(h.txn, nested(h.path, o.Key))
		}
	case opMove:
		m.move(o, h, m.buckets[o.B%len(m.buckets)])
	case opPut:
		m.put(h, o.Key, bytes.Repeat([]byte{'v', byte(o.A), byte(o.B)}, o.N/3+1)[:o.N])
	case opGet:
		v := b.Get(o.Key)
		m.log("get %.20q: %t %s", o.Key, v == nil, digest(v))
	case opDelete:
		m.delete(h, o.Key)
	case opSequence:
		m.sequence(o, h)
	case opCursor:
		if len(m.cursors) < 8 {
			m.cursors = append(m.cursors, &cursorHandle[T, B, C]{c: b.Cursor(), bucket: h})
		}
	case opForEach:
		m.forEach(o, h)
	case opMany:
		for i := range o.N {
			m.put(h, fmt.Appendf(nil, "%s%03d", o.Key, i), []byte(strings.Repeat("many", o.B)))
		}
	case opManyDel:
		for i := range o.N {
			m.delete(h, fmt.Appendf(nil, "%s%03d", o.Key, i))
		}
	}
}

func (m *machine[D, T, B, C]) put(h *bucketHandle[T, B], key, value []byte) {
	if err := h.b.Put(key, value); err != nil {
		m.log("put %.20q: %s", key, m.engine.err(err))
	} else {
		wrote(h)
	}
}

func (m *machine[D, T, B, C]) delete(h *bucketHandle[T, B], key []byte) {
	if m.engine.defect == "delete does nothing" && h.txn.writable {
		return
	}
	if err := h.b.Delete(key); err != nil {
		m.log("delete %.20q: %s", key, m.engine.err(err))
	} else {
		wrote(h)
		h.txn.deletes[h.path] = true
	}
}

func (m *machine[D, T, B, C]) forgetBelow(x *txn[T], path string) {
	m.forget(func(h *bucketHandle[T, B]) bool { return h.txn == x && strings.HasPrefix(h.path, path) })
}

// move moves a bucket, but for what bbolt gets wrong: into its own descendant,
// and with changes of the same transaction.
func (m *machine[D, T, B, C]) move(o op, from, to *bucketHandle[T, B]) {
	path := nested(from.path, o.Key)
	if from.txn == to.txn && strings.HasPrefix(to.path, path) {
		return
	}
	for dirty := range from.txn.dirty {
		if strings.HasPrefix(dirty, path) {
			return
		}
	}
	var err error
	if o.N%2 == 0 {
		err = from.txn.tx.MoveBucket(o.Key, from.b, to.b)
	} else {
		err = from.b.MoveBucket(o.Key, to.b)
	}
	m.log("move %.20q from %s to %s: %s", o.Key, from.path, to.path, m.engine.err(err))
	if err == nil {
		wrote(from)
		wrote(to)
		m.forgetBelow(from.txn, path)
		to.txn.dirty[nested(to.path, o.Key)] = true
	}
}

// sequence leaves the root bucket's alone, which bbolt forgets.
func (m *machine[D, T, B, C]) sequence(o op, h *bucketHandle[T, B]) {
	if h.path == "/" {
		return
	}
	switch o.B % 3 {
	case 0:
		m.log("sequence: %d", h.b.Sequence())
	case 1:
		err := error(nil)
		if m.engine.defect != "a sequence is not set" || !h.txn.writable {
			err = h.b.SetSequence(uint64(o.N) << 40)
		}
		m.log("set sequence: %s", m.engine.err(err))
		if err == nil {
			wrote(h)
		}
	case 2:
		n, err := h.b.NextSequence()
		m.log("next sequence: %d, %s", n, m.engine.err(err))
		if err == nil {
			wrote(h)
		}
	}
}

func (m *machine[D, T, B, C]) stepCursor(o op, c *cursorHandle[T, B, C]) {
	current := !c.placed || c.writes == c.bucket.txn.writes // not placed: it has not seen anything yet
	if o.Kind == opRemove {
		if !c.placed || !current {
			return
		}
		err := c.c.Delete()
		m.log("remove: %s", m.engine.err(err))
		if err == nil {
			wrote(c.bucket)
			c.bucket.txn.deletes[c.bucket.path] = true
		}
		return
	}
	var k, v []byte
	how := o.B % 7
	switch how {
	case 0:
		k, v = c.c.First()
	case 1:
		k, v = c.c.Last()
	case 2:
		k, v = c.c.Seek(o.Key)
	default:
		if !current || how >= 5 && c.bucket.txn.deletes[c.bucket.path] { // bbolt's Prev stops at leaves that are empty until the commit
			return
		}
		if how < 5 && m.engine.defect != "next is previous" {
			k, v = c.c.Next()
		} else {
			k, v = c.c.Prev()
		}
	}
	if how <= 2 {
		c.placed, c.writes = true, c.bucket.txn.writes
	}
	m.log("move to %d: %s %t %s", how, digest(k), v == nil, digest(v))
}

func (m *machine[D, T, B, C]) forEach(o op, h *bucketHandle[T, B]) {
	n := 0
	entry := func(k, v []byte) error {
		n++
		m.log("each: %s %t %s", digest(k), v == nil, digest(v))
		if n == o.N {
			return errOwn
		}
		return nil
	}
	var err error
	switch o.B % 3 {
	case 0:
		err = h.b.ForEach(entry)
	case 1:
		err = h.b.ForEachBucket(func(k []byte) error { return entry(k, nil) })
	case 2:
		var none B
		err = h.txn.tx.ForEach(func(k []byte, b B) error {
			if b == none {
				return entry(k, []byte("plain"))
			}
			return entry(k, nil)
		})
	}
	m.log("for each: %s", m.engine.err(err))
}

// digest writes a key or a value.
func digest(b []byte) string {
	if len(b) <= 24 {
		return fmt.Sprintf("%q", b)
	}
	h := fnv.New64a()
	h.Write(b)
	return fmt.Sprintf("%q... of %d bytes %x", b[:8], len(b), h.Sum64())
}

// dump writes down all that the transaction sees.
func (m *machine[D, T, B, C]) dump(tx T) {
	m.dumpBucket("/", tx.Cursor().Bucket())
}

func (m *machine[D, T, B, C]) dumpBucket(path string, b B) {
	m.log("bucket %.60s: sequence %d", path, b.Sequence())
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if v != nil {
			m.log("%s = %s", digest(k), digest(v))
			m.plain = m.plain || path == "/"
			continue
		}
		child := b.Bucket(k)
		var none B
		if child == none {
			m.log("%s is no bucket", digest(k))
			continue
		}
		m.dumpBucket(nested(path, k), child)
	}
}

func (m *machine[D, T, B, C]) reopen() {
	if len(m.txs) > 0 {
		return
	}
	m.log("close: %s", m.engine.err(m.db.Close()))
	m.log("closed: %q, %s, %s", m.db.Path(), m.engine.err(m.db.Close()), m.engine.err(m.db.View(func(T) error { return nil })))
	m.open()
}

// end closes what is open and looks at what is left, also in copies of it.
func (m *machine[D, T, B, C]) end() {
	for len(m.txs) > 0 {
		m.stepTx(op{Kind: opRollback}, m.txs[0])
	}
	m.reopen()
	m.view(m.db, func(tx T) {
		m.log("inspect: %s", m.engine.inspect(tx))
		m.dump(tx)
		var copied bytes.Buffer
		n, err := tx.WriteTo(&copied)
		if err != nil || n != tx.Size() || n != int64(copied.Len()) {
			m.log("WriteTo: %v, %d bytes of %d, says %d", err, copied.Len(), tx.Size(), n)
		}
		if err := os.WriteFile(filepath.Join(m.dir, "copy"), copied.Bytes(), 0o600); err != nil {
			m.log("copy: %v", err)
		}
	})
	for _, name := range []string{"copy", "compacted"} {
		db, err := m.engine.open(filepath.Join(m.dir, name))
		if err != nil {
			m.log("%s: %v", name, err)
			continue
		}
		if name == "compacted" && !m.plain {
			if err := m.engine.compact(db, m.db, 10_000); err != nil {
				m.log("compact: %s", m.engine.err(err))
			}
		}
		m.view(db, m.dump)
		m.log("%s closed: %s", name, m.engine.err(db.Close()))
	}
	m.log("close: %s", m.engine.err(m.db.Close()))
}

// view runs fn in a read transaction and checks the database.
func (m *machine[D, T, B, C]) view(db D, fn func(T)) {
	err := db.View(func(tx T) error {
		fn(tx)
		for _, err := range m.engine.check(tx) {
			m.log("check: %v", err)
		}
		return nil
	})
	m.log("view: %s", m.engine.err(err))
}
