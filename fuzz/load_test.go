package fuzz

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/memdir"
)

// FuzzLoad loads runs of keys, sorted or not, into one bucket and puts them into
// another, until the first one out of order; deletes in between come from the input,
// too. It proves: Load takes exactly the pairs before that one, both buckets hold
// the same, and Check finds nothing.
func FuzzLoad(f *testing.F) {
	for _, seed := range loadSeeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		input = input[:min(len(input), 1<<10)]
		watch(t)
		p := &program{input}
		size := 4096 << p.n(5)
		db, err := lightning.Open(filepath.Join(memdir.Temp(t), "load"), 0o600, &lightning.Options{PageSize: size, NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		for run := 0; run < 5 && !p.done(); run++ {
			if err := db.Update(func(tx *lightning.Tx) error { return loadAndPut(tx, p, size) }); err != nil {
				t.Fatal(err)
			}
			if err := db.View(sameAsPut); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// loadSeeds returns programs that reach each page size with runs that ascend and
// such that do not.
func loadSeeds() (seeds [][]byte) {
	for size := range byte(5) {
		for kind := range byte(4) {
			seed := []byte{size}
			for run := range byte(4) {
				seed = append(seed, 1+run%2, run, kind, run*10, run, 0, 40, 0, 0, 240)
				for i := range 240 {
					seed = append(seed, byte(i)%(250+run))
				}
			}
			seeds = append(seeds, seed)
		}
	}
	return seeds
}

// loadAndPut does one run of the program in both buckets.
func loadAndPut(tx *lightning.Tx, p *program, size int) error {
	loaded, err := tx.CreateBucketIfNotExists([]byte("loaded"))
	if err != nil {
		return err
	}
	put, err := tx.CreateBucketIfNotExists([]byte("put"))
	if err != nil {
		return err
	}
	if p.n(4) == 0 {
		from, to := loadKey(p.byte(), p.n(1<<12), size), loadKey(p.byte(), p.n(1<<12), size)
		for _, b := range []*lightning.Bucket{loaded, put} {
			if _, err := b.DeleteRange(from, to); err != nil {
				return err
			}
		}
	}
	loaded.FillPercent = float64(p.n(12)) / 10
	kind, n, value := p.byte(), p.n(1<<12), p.n(size)
	var keys [][]byte
	most := 256
	if kind%4 > 1 {
		most = 32 // long keys take many pages
	}
	for range p.n(most) {
		keys = append(keys, loadKey(kind, n, size))
		step := int(p.byte())
		switch n += 1 + step%5; {
		case step > 253: // the same or one back: not sorted
			n -= 1 + step%5 + step - 254
		case step > 250:
			kind++
		}
	}
	sorted := len(keys)
	for i := 1; i < len(keys) && sorted == len(keys); i++ {
		if bytes.Compare(keys[i-1], keys[i]) >= 0 {
			sorted = i
		}
	}
	data := make([]byte, value)
	got, err := loaded.Load(func(put func(key, value []byte) error) error {
		for i, k := range keys {
			if err := put(k, data[:max(0, value-i)]); err != nil {
				return err
			}
		}
		return nil
	})
	if got != sorted || (err == nil) != (sorted == len(keys)) || err != nil && !errors.Is(err, lightning.ErrNotSorted) {
		return fmt.Errorf("Load took %d of %d pairs, %d sorted: %w", got, len(keys), sorted, err)
	}
	for i, k := range keys[:sorted] {
		if err := put.Put(k, data[:max(0, value-i)]); err != nil {
			return err
		}
	}
	return nil
}

// loadKey returns key number n of one of several kinds: short, with a common prefix,
// in an extent of its own.
func loadKey(kind byte, n, size int) []byte {
	switch kind % 4 {
	case 0:
		return fmt.Appendf(nil, "%x", n+1)
	case 1:
		return fmt.Appendf(nil, "%s%08d", strings.Repeat("p", int(kind)), n)
	case 2:
		return fmt.Appendf(nil, "%s%08d", strings.Repeat("q", size/8-8-int(kind)%3), n)
	}
	return fmt.Appendf(nil, "%s%08d", strings.Repeat("r", 57+size/8), n)
}

// sameAsPut compares the two buckets and checks the database.
func sameAsPut(tx *lightning.Tx) error {
	loaded, put := tx.Bucket([]byte("loaded")), tx.Bucket([]byte("put"))
	if loaded.Len() != put.Len() {
		return fmt.Errorf("%d keys loaded, %d put", loaded.Len(), put.Len())
	}
	c := loaded.Cursor()
	k, v := c.First()
	for wantKey, wantValue := range put.All() {
		if !bytes.Equal(k, wantKey) || !bytes.Equal(v, wantValue) {
			return fmt.Errorf("loaded %s with %d bytes, put %s with %d", show(k), len(v), show(wantKey), len(wantValue))
		}
		if got := loaded.Get(k); !bytes.Equal(got, v) {
			return fmt.Errorf("Get(%s) = %d bytes, want %d", show(k), len(got), len(v))
		}
		k, v = c.Next()
	}
	if k != nil {
		return fmt.Errorf("loaded %s, never put", show(k))
	}
	for err := range tx.Check() {
		return err
	}
	return tx.Err()
}
