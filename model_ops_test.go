package lightning_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	lightning "github.com/lightning-db/lightning"
)

// A modelTx is a write transaction with the state that it should have.
type modelTx struct {
	t        *testing.T
	rng      *rand.Rand
	pageSize int
	root     *lightning.Bucket
	want     *modelBucket
	kept     []keptSlice
}

// A keptSlice was returned by the transaction and must stay as it was until its end.
type keptSlice struct {
	slice []byte
	want  string
}

// A modelOp is done with probability weight / the sum of all weights.
type modelOp struct {
	weight int
	do     func(mt *modelTx, b *lightning.Bucket, m *modelBucket)
}

var modelOpTable = []modelOp{
	{30, (*modelTx).put},
	{12, (*modelTx).delete},
	{10, (*modelTx).get},
	{10, (*modelTx).walk},
	{5, (*modelTx).createBucket},
	{1, (*modelTx).deleteBucket},
	{3, (*modelTx).moveBucket},
	{4, (*modelTx).sequence},
	{2, (*modelTx).deleteRange},
	{1, (*modelTx).clear},
	{3, (*modelTx).cursorDelete},
	{6, (*modelTx).fill},
}

func (mt *modelTx) run(ops int) {
	total := 0
	for _, op := range modelOpTable {
		total += op.weight
	}
	for range ops {
		n := mt.rng.IntN(total)
		for _, op := range modelOpTable {
			if n -= op.weight; n < 0 {
				b, m := mt.pick()
				op.do(mt, b, m)
				break
			}
		}
		if mt.t.Failed() {
			return
		}
	}
	for _, kept := range mt.kept {
		if string(kept.slice) != kept.want {
			mt.t.Errorf("a slice changed during its transaction: got %.40q, want %.40q", kept.slice, kept.want)
		}
	}
	if err := compareModel(mt.root, mt.want); err != nil {
		mt.t.Errorf("before the end of the transaction: %v", err)
	}
}

// pick returns a bucket, at a random depth.
func (mt *modelTx) pick() (*lightning.Bucket, *modelBucket) {
	b, m := mt.root, mt.want
	for mt.rng.IntN(3) > 0 {
		name, ok := mt.child(m)
		if !ok {
			break
		}
		i, _ := m.search(name)
		child := b.Bucket([]byte(name))
		if child == nil {
			mt.t.Errorf("bucket %.40q cannot be opened", name)
			break
		}
		b, m = child, m.items[i].bucket
	}
	return b, m
}

// child returns the name of one of the buckets in m.
func (mt *modelTx) child(m *modelBucket) (string, bool) {
	var names []string
	for _, item := range m.items {
		if item.bucket != nil {
			names = append(names, item.key)
		}
	}
	if len(names) == 0 {
		return "", false
	}
	return names[mt.rng.IntN(len(names))], true
}

// key returns a key: mostly one of a few hundred, sometimes a very short or a very long one.
func (mt *modelTx) key() string {
	number := mt.rng.IntN(400)
	switch n := mt.rng.IntN(100); {
	case n < 75:
		return fmt.Sprintf("key-%04d", number)
	case n < 85:
		return string(rune('!' + number%90))
	case n < 97:
		return fmt.Sprintf("%s%04d", strings.Repeat("long", 1+number%60), number)
	default:
		size := min(lightning.MaxKeySize, 1+mt.rng.IntN(3*mt.pageSize))
		return fmt.Sprintf("%04d%s", number%20, strings.Repeat("h", size))[:size]
	}
}

// existing returns a key of m if there is one, or else any key.
func (mt *modelTx) existing(m *modelBucket) string {
	if len(m.items) == 0 || mt.rng.IntN(5) == 0 {
		return mt.key()
	}
	return m.items[mt.rng.IntN(len(m.items))].key
}

// value returns a value: mostly short, sometimes near the size of a page, rarely of several pages.
func (mt *modelTx) value() string {
	var size int
	switch n := mt.rng.IntN(100); {
	case n < 5:
		size = 0
	case n < 75:
		size = 1 + mt.rng.IntN(100)
	case n < 90:
		size = mt.rng.IntN(mt.pageSize/2 + 10)
	case n < 97:
		size = mt.pageSize - 100 + mt.rng.IntN(200)
	default:
		size = mt.rng.IntN(5 * mt.pageSize)
	}
	token := fmt.Sprintf("%016x", mt.rng.Uint64())
	return strings.Repeat(token, size/len(token)+1)[:size]
}

func (mt *modelTx) wantErr(what string, got, want error) {
	if !errors.Is(got, want) {
		mt.t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

func (mt *modelTx) put(b *lightning.Bucket, m *modelBucket) {
	key := mt.key()
	if mt.rng.IntN(3) == 0 {
		key = mt.existing(m)
	}
	value := mt.value()
	err := b.Put([]byte(key), []byte(value))
	if i, found := m.search(key); found && m.items[i].bucket != nil {
		want := lightning.ErrIncompatibleValue
		if len(key) > lightning.MaxKeySize {
			want = lightning.ErrKeyTooLarge
		}
		mt.wantErr("Put on a bucket", err, want)
		return
	}
	mt.wantErr("Put", err, nil)
	m.set(modelItem{key: key, value: value})
}

// fill puts a run of keys in order, so that buckets grow beyond one page.
func (mt *modelTx) fill(b *lightning.Bucket, m *modelBucket) {
	first, value := mt.rng.IntN(400), mt.value()
	for i := range mt.rng.IntN(60) {
		key := fmt.Sprintf("key-%04d", (first+i)%400)
		if at, found := m.search(key); found && m.items[at].bucket != nil {
			continue
		}
		mt.wantErr("Put", b.Put([]byte(key), []byte(value)), nil)
		m.set(modelItem{key: key, value: value})
	}
}

func (mt *modelTx) delete(b *lightning.Bucket, m *modelBucket) {
	key := mt.existing(m)
	err := b.Delete([]byte(key))
	i, found := m.search(key)
	switch {
	case found && m.items[i].bucket != nil:
		mt.wantErr("Delete of a bucket", err, lightning.ErrIncompatibleValue)
		return
	case found:
		m.cut(i, i+1)
	}
	mt.wantErr("Delete", err, nil)
}

func (mt *modelTx) get(b *lightning.Bucket, m *modelBucket) {
	key := mt.existing(m)
	got := b.Get([]byte(key))
	i, found := m.search(key)
	if !found || m.items[i].bucket != nil {
		if got != nil {
			mt.t.Errorf("Get(%.40q): got %.40q, want nil", key, got)
		}
		return
	}
	if string(got) != m.items[i].value {
		mt.t.Errorf("Get(%.40q): got %.40q, want %.40q", key, got, m.items[i].value)
	}
	mt.kept = append(mt.kept, keptSlice{got, m.items[i].value})
}

// walk seeks a key and moves to and fro a few times.
func (mt *modelTx) walk(b *lightning.Bucket, m *modelBucket) {
	c := b.Cursor()
	key := mt.existing(m)
	k, v := c.Seek([]byte(key))
	i, _ := m.search(key)
	for step := 0; ; step++ {
		if i < 0 || i >= len(m.items) {
			if k != nil {
				mt.t.Errorf("cursor beyond the ends: got %.40q, want nil", k)
			}
			return
		}
		if err := sameItem(k, v, m.items[i]); err != nil {
			mt.t.Errorf("cursor after %d steps: %v", step, err)
			return
		}
		mt.kept = append(mt.kept, keptSlice{k, m.items[i].key}, keptSlice{v, m.items[i].value})
		if step == 12 {
			return
		}
		if mt.rng.IntN(3) > 0 {
			k, v = c.Next()
			i++
		} else {
			k, v = c.Prev()
			i--
		}
	}
}

func (mt *modelTx) createBucket(b *lightning.Bucket, m *modelBucket) {
	name := mt.key()
	child, err := b.CreateBucket([]byte(name))
	if i, found := m.search(name); found {
		want := lightning.ErrIncompatibleValue
		if m.items[i].bucket != nil {
			want = lightning.ErrBucketExists
		}
		mt.wantErr("CreateBucket", err, want)
		return
	}
	mt.wantErr("CreateBucket", err, nil)
	item := modelItem{key: name, bucket: &modelBucket{}}
	m.set(item)
	if child != nil {
		mt.fill(child, item.bucket)
	}
}

func (mt *modelTx) deleteBucket(b *lightning.Bucket, m *modelBucket) {
	name := mt.existing(m)
	if child, ok := mt.child(m); ok {
		name = child
	}
	err := b.DeleteBucket([]byte(name))
	i, found := m.search(name)
	switch {
	case !found:
		mt.wantErr("DeleteBucket", err, lightning.ErrBucketNotFound)
	case m.items[i].bucket == nil:
		mt.wantErr("DeleteBucket", err, lightning.ErrIncompatibleValue)
	default:
		mt.wantErr("DeleteBucket", err, nil)
		m.cut(i, i+1)
	}
}

func (mt *modelTx) moveBucket(b *lightning.Bucket, m *modelBucket) {
	name, ok := mt.child(m)
	if !ok {
		return
	}
	i, _ := m.search(name)
	child := m.items[i].bucket
	dst, dstModel := mt.pick()
	err := b.MoveBucket([]byte(name), dst)
	_, taken := dstModel.search(name)
	switch {
	case dstModel == m:
		mt.wantErr("MoveBucket to where it is", err, lightning.ErrSameBuckets)
	case taken || child.holds(dstModel):
		if err == nil {
			mt.t.Errorf("MoveBucket onto a key or into itself: got nil, want an error")
		}
	default:
		mt.wantErr("MoveBucket", err, nil)
		m.cut(i, i+1)
		dstModel.set(modelItem{key: name, bucket: child})
	}
}

func (mt *modelTx) sequence(b *lightning.Bucket, m *modelBucket) {
	if b == mt.root {
		return
	}
	if mt.rng.IntN(3) == 0 {
		m.seq = mt.rng.Uint64N(1 << 40)
		mt.wantErr("SetSequence", b.SetSequence(m.seq), nil)
	}
	m.seq++
	got, err := b.NextSequence()
	if err != nil || got != m.seq {
		mt.t.Errorf("NextSequence: got %d (error %v), want %d", got, err, m.seq)
	}
}

func (mt *modelTx) deleteRange(b *lightning.Bucket, m *modelBucket) {
	var from, to []byte
	i, j := 0, len(m.items)
	if mt.rng.IntN(8) > 0 {
		from = []byte(mt.existing(m))
		i, _ = m.search(string(from))
	}
	if mt.rng.IntN(8) > 0 {
		to = []byte(mt.existing(m))
		if from != nil && bytes.Compare(from, to) > 0 && mt.rng.IntN(10) > 0 {
			from, to = to, from
			i, _ = m.search(string(from))
		}
		j, _ = m.search(string(to))
	}
	j = max(i, j)
	got, err := b.DeleteRange(from, to)
	for _, item := range m.items[i:j] {
		if item.bucket != nil {
			mt.wantErr("DeleteRange over a bucket", err, lightning.ErrIncompatibleValue)
			if got != 0 {
				mt.t.Errorf("DeleteRange over a bucket: %d deleted, want none", got)
			}
			return
		}
	}
	if err != nil || got != j-i {
		mt.t.Errorf("DeleteRange(%.40q, %.40q): %d deleted (error %v), want %d", from, to, got, err, j-i)
	}
	m.cut(i, j)
}

func (mt *modelTx) clear(b *lightning.Bucket, m *modelBucket) {
	mt.wantErr("Clear", b.Clear(), nil)
	m.items = nil
}

// cursorDelete deletes a run of plain keys through a cursor.
func (mt *modelTx) cursorDelete(b *lightning.Bucket, m *modelBucket) {
	key := mt.existing(m)
	i, _ := m.search(key)
	c := b.Cursor()
	k, v := c.Seek([]byte(key))
	for range 1 + mt.rng.IntN(40) {
		if i >= len(m.items) {
			if k != nil {
				mt.t.Errorf("cursor past the end: got %.40q, want nil", k)
			}
			return
		}
		if err := sameItem(k, v, m.items[i]); err != nil {
			mt.t.Errorf("Delete/Next: %v", err)
			return
		}
		err := c.Delete()
		if m.items[i].bucket != nil {
			mt.wantErr("Cursor.Delete on a bucket", err, lightning.ErrIncompatibleValue)
			i++
		} else {
			mt.wantErr("Cursor.Delete", err, nil)
			m.cut(i, i+1)
		}
		k, v = c.Next()
	}
}
