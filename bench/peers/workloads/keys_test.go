package workloads

import (
	"bytes"
	"testing"
)

func TestPermutation_EachNumberOnce(t *testing.T) {
	for _, n := range []int{1, 2, 3, 1000, 1024, 65_537} {
		for seed := range uint64(4) {
			p := newPermutation(n, seed)
			seen := make([]bool, n)
			moved := 0
			for i := range n {
				at := p.at(i)
				if seen[at] {
					t.Fatalf("n=%d seed=%d: %d comes twice", n, seed, at)
				}
				seen[at] = true
				if at != i {
					moved++
				}
			}
			if n >= 1000 && moved < n*9/10 {
				t.Errorf("n=%d seed=%d: only %d numbers have moved", n, seed, moved)
			}
		}
	}
}

func TestSpace_KeysAscend(t *testing.T) {
	for _, n := range []int{16, 1000, 50_000_000} {
		s := newSpace(n)
		keys := listKeys(s, nil, n-min(n, 5000), min(n, 5000))
		for i := 1; i < keys.len(); i++ {
			if bytes.Compare(keys.at(i-1), keys.at(i)) >= 0 {
				t.Fatalf("n=%d: key %x is not above %x", n, keys.at(i), keys.at(i-1))
			}
		}
	}
}

func TestListKeys_WrapsAround(t *testing.T) {
	s := newSpace(10)
	p := newPermutation(10, 3)
	keys := listKeys(s, &p, 7, 20)
	for i := range 10 {
		if !bytes.Equal(keys.at(i), keys.at(i+10)) {
			t.Errorf("key %d and the one a turn later differ", i)
		}
	}
	if keys.len() != 20 {
		t.Errorf("%d keys", keys.len())
	}
}

func TestValuePool_ValuesDiffer(t *testing.T) {
	pool := newValuePool(1 << 20)
	seen := make(map[string]bool)
	for i := range 1000 {
		seen[string(pool.value(i, ValueSize))] = true
	}
	if len(seen) < 990 {
		t.Errorf("1000 values, but only %d different ones", len(seen))
	}
}
