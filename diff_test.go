package lightning_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/seed"
)

// contents is what a state holds: by path and key, the value, or what is known of
// a bucket.
func contents(tb testing.TB, tx *lightning.Tx) map[string]string {
	tb.Helper()
	all := map[string]string{}
	var walk func(path string, b *lightning.Bucket)
	walk = func(path string, b *lightning.Bucket) {
		for k, v := range b.All() {
			name := fmt.Sprintf("%s/%x", path, k)
			if v != nil {
				all[name] = fmt.Sprintf("value %x", v)
				continue
			}
			child := b.Bucket(k)
			all[name] = fmt.Sprintf("bucket %d", child.Sequence())
			walk(name, child)
		}
	}
	if err := tx.ForEach(func(name []byte, b *lightning.Bucket) error {
		path := fmt.Sprintf("/%x", name)
		all[path] = fmt.Sprintf("bucket %d", b.Sequence())
		walk(path, b)
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
	return all
}

// diffOf is what Diff says, in the same form, and in its order.
func diffOf(tb testing.TB, from, to *lightning.Tx) (old, new map[string]string, order []string) {
	tb.Helper()
	old, new = map[string]string{}, map[string]string{}
	if err := lightning.Diff(tb.Context(), from, to, func(d *lightning.Difference) error {
		var name strings.Builder
		for _, p := range append(slices.Clone(d.Path), d.Key) {
			fmt.Fprintf(&name, "/%x", p)
		}
		order = append(order, name.String())
		for _, side := range []struct {
			in     map[string]string
			value  []byte
			bucket bool
			seq    uint64
		}{{old, d.Old, d.OldBucket, d.OldSeq}, {new, d.New, d.NewBucket, d.NewSeq}} {
			switch {
			case side.bucket:
				side.in[name.String()] = fmt.Sprintf("bucket %d", side.seq)
			case side.value != nil:
				side.in[name.String()] = fmt.Sprintf("value %x", side.value)
			}
		}
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
	return old, new, order
}

// compare holds Diff to what a look at all keys says.
func compareDiff(t *testing.T, what string, from, to *lightning.Tx) {
	t.Helper()
	a, b := contents(t, from), contents(t, to)
	wantOld, wantNew := map[string]string{}, map[string]string{}
	for k, v := range a {
		if b[k] != v {
			wantOld[k] = v
		}
	}
	for k, v := range b {
		if a[k] != v {
			wantNew[k] = v
		}
	}
	old, new, order := diffOf(t, from, to)
	if !maps.Equal(old, wantOld) || !maps.Equal(new, wantNew) {
		t.Errorf("%s: %d old and %d new entries, want %d and %d, or other ones", what, len(old), len(new), len(wantOld), len(wantNew))
	}
	if len(slices.Compact(slices.Sorted(slices.Values(order)))) != len(order) {
		t.Errorf("%s: something is told twice", what)
	}
}

// shuffle changes a database at random: few keys or many, here and there or in a row,
// buckets too.
func shuffle(tb testing.TB, db *lightning.DB, rnd *rand.Rand) {
	tb.Helper()
	if err := db.Update(func(tx *lightning.Tx) error {
		name := []byte{'a' + byte(rnd.IntN(4))}
		if rnd.IntN(12) == 0 && tx.Bucket(name) != nil {
			return tx.DeleteBucket(name)
		}
		b, err := tx.CreateBucketIfNotExists(name)
		if err == nil && rnd.IntN(2) == 0 {
			b, err = b.CreateBucketIfNotExists([]byte{'n', byte(rnd.IntN(3))})
		}
		if err != nil {
			return err
		}
		if rnd.IntN(5) == 0 {
			_, err = b.NextSequence()
		}
		from, n := rnd.IntN(3000), 1+rnd.IntN(10)
		if rnd.IntN(3) == 0 {
			n = 1 + rnd.IntN(1500)
		}
		for i := 0; i < n && err == nil; i++ {
			k := fmt.Appendf(nil, "key %06d", from+i)
			if rnd.IntN(60) == 0 {
				k = append(bytes.Repeat([]byte{'l'}, 1500), k...)
			}
			size := rnd.IntN(60)
			if rnd.IntN(50) == 0 {
				size = 6000
			}
			if rnd.IntN(4) == 0 {
				err = b.Delete(k)
			} else {
				err = b.Put(k, bytes.Repeat([]byte{byte(rnd.IntN(3))}, size))
			}
		}
		return err
	}); err != nil {
		tb.Fatal(err)
	}
}

func TestDiff_AgreesWithALookAtAllKeys(t *testing.T) {
	rnd := seed.Rand(t)
	dir := t.TempDir()
	db, err := lightning.Open(filepath.Join(dir, "db"), 0o600, &lightning.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var past []*lightning.Tx
	defer func() {
		for _, tx := range past {
			tx.Rollback()
		}
	}()
	for range 25 {
		tx, err := db.Begin(false)
		if err != nil {
			t.Fatal(err)
		}
		past = append(past, tx)
		for range 1 + rnd.IntN(4) {
			shuffle(t, db, rnd)
		}
	}
	for i, from := range past {
		compareDiff(t, fmt.Sprintf("state %d to itself", i), from, from)
		compareDiff(t, fmt.Sprintf("state %d to the next", i), from, past[min(i+1, len(past)-1)])
		compareDiff(t, fmt.Sprintf("state %d to another", i), from, past[rnd.IntN(len(past))])
	}

	// Another database has other digests for the same content.
	other, err := lightning.Open(filepath.Join(dir, "other"), 0o600, &lightning.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := lightning.Compact(other, db, 0); err != nil {
		t.Fatal(err)
	}
	if err := other.View(func(tx *lightning.Tx) error {
		return db.View(func(same *lightning.Tx) error {
			compareDiff(t, "to a compacted copy", same, tx)
			compareDiff(t, "from a compacted copy", tx, past[len(past)/2])
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
}

func TestDiff_Ends(t *testing.T) {
	db, _ := costDB(t, 1000)
	empty, err := lightning.Open(filepath.Join(t.TempDir(), "empty"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	from, err := empty.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Rollback()
	to, err := db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Rollback()
	mine, n := errors.New("mine"), 0
	if err := lightning.Diff(t.Context(), from, to, func(*lightning.Difference) error { n++; return mine }); err != mine || n != 1 {
		t.Errorf("an error of fn: %v after %d", err, n)
	}
	ctx, stop := context.WithCancel(t.Context())
	n = 0
	if err := lightning.Diff(ctx, from, to, func(*lightning.Difference) error { n++; stop(); return nil }); !errors.Is(err, context.Canceled) || n != 1 {
		t.Errorf("a context that ends: %v after %d", err, n)
	}
	w, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Rollback()
	if err := lightning.Diff(t.Context(), w, to, nil); !errors.Is(err, lightning.ErrDiffWritable) {
		t.Errorf("a writable transaction: %v", err)
	}
	to.Rollback()
	if err := lightning.Diff(t.Context(), from, to, nil); !errors.Is(err, lightning.ErrTxClosed) {
		t.Errorf("an ended transaction: %v", err)
	}
}
