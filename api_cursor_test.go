package lightning_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	lightning "github.com/lightning-db/lightning"
)

func wantKey(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if string(got) != want || (got == nil) != (want == "") {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestCursor_EmptyBucket(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		c := mustCreate(t, tx, "b").Cursor()
		for name, move := range map[string]func() ([]byte, []byte){
			"First": c.First, "Last": c.Last, "Next": c.Next, "Prev": c.Prev,
			"Seek": func() ([]byte, []byte) { return c.Seek([]byte("x")) },
		} {
			if k, v := move(); k != nil || v != nil {
				t.Errorf("%s: got %q, %q, want nil and nil", name, k, v)
			}
		}
	})
}

func TestCursor_WalksBothWays(t *testing.T) {
	for _, keys := range []int{1, 2, 3, 100, 5000} {
		for _, committed := range []bool{false, true} {
			db := openDB(t, nil)
			walk := func(tx *lightning.Tx) {
				c := mustBucket(t, tx, "b").Cursor()
				n := 0
				for k, v := c.First(); k != nil; k, v = c.Next() {
					wantKey(t, "Next", k, numberedKey(n))
					wantKey(t, "value", v, fmt.Sprint(n))
					n++
				}
				if n != keys {
					t.Errorf("Next: %d keys, want %d", n, keys)
				}
				for k, v := c.Last(); k != nil; k, v = c.Prev() {
					n--
					wantKey(t, "Prev", k, numberedKey(n))
					wantKey(t, "value", v, fmt.Sprint(n))
				}
				if n != 0 {
					t.Errorf("Prev: %d keys too few", n)
				}
			}
			fillBucket(t, db, keys)
			if committed {
				mustView(t, db, walk)
				continue
			}
			mustUpdate(t, db, func(tx *lightning.Tx) {
				for i := range keys {
					mustPut(t, mustBucket(t, tx, "b"), numberedKey(i), fmt.Sprint(i))
				}
				walk(tx)
			})
		}
	}
}

func TestCursor_Fresh(t *testing.T) {
	db := openDB(t, nil)
	fillBucket(t, db, 10)
	mustView(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		k, _ := b.Cursor().Next()
		wantKey(t, "Next", k, "")
		k, _ = b.Cursor().Prev()
		wantKey(t, "Prev", k, "")
	})
}

func TestCursor_AtTheEnds(t *testing.T) {
	db := openDB(t, nil)
	for _, keys := range []int{3, 2000} {
		name := fmt.Sprint(keys)
		mustUpdate(t, db, func(tx *lightning.Tx) {
			b := mustCreate(t, tx, name)
			for i := range keys {
				mustPut(t, b, numberedKey(i), "v")
			}
		})
		mustView(t, db, func(tx *lightning.Tx) {
			c := mustBucket(t, tx, name).Cursor()
			last := numberedKey(keys - 1)
			step := func(what string, move func() ([]byte, []byte), want string) {
				t.Helper()
				k, _ := move()
				wantKey(t, fmt.Sprintf("%d keys, %s", keys, what), k, want)
			}
			seekPast := func() ([]byte, []byte) { return c.Seek([]byte("z")) }
			step("Last", c.Last, last)
			step("Next at the end", c.Next, "")
			step("Next at the end again", c.Next, "")
			step("Prev after the end", c.Prev, numberedKey(keys-2))
			step("First", c.First, numberedKey(0))
			step("Prev at the start", c.Prev, "")
			step("Prev at the start again", c.Prev, "")
			step("Next after the start", c.Next, numberedKey(1))
			step("Seek past the end", seekPast, "")
			step("Prev after Seek past the end", c.Prev, last)
			step("Prev", c.Prev, numberedKey(keys-2))
			step("Seek past the end", seekPast, "")
			step("Next after Seek past the end", c.Next, "")
			step("Prev after that", c.Prev, last)
		})
	}
}

func TestCursor_Seek(t *testing.T) {
	db := openDB(t, nil)
	const keys = 3000
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		for i := 0; i < keys; i += 2 {
			mustPut(t, b, numberedKey(i), "v")
		}
	})
	mustView(t, db, func(tx *lightning.Tx) {
		c := mustBucket(t, tx, "b").Cursor()
		for i := range keys - 1 {
			want := numberedKey((i + 1) / 2 * 2)
			k, _ := c.Seek([]byte(numberedKey(i)))
			wantKey(t, "Seek", k, want)
			if i%100 == 0 {
				k, _ = c.Next()
				if next := (i+1)/2*2 + 2; next < keys {
					wantKey(t, "Next after Seek", k, numberedKey(next))
				}
			}
		}
		for _, seek := range [][]byte{nil, {}, []byte("a"), {0}} {
			k, _ := c.Seek(seek)
			wantKey(t, fmt.Sprintf("Seek(%q)", seek), k, numberedKey(0))
		}
		k, _ := c.Seek([]byte(numberedKey(10) + "\x00"))
		wantKey(t, "Seek just after a key", k, numberedKey(12))
		k, _ = c.Seek(bytes.Repeat([]byte{0xff}, lightning.MaxKeySize+1))
		wantKey(t, "Seek of a key that is too long", k, "")
	})
}

func TestCursor_NestedBucketsHaveNilValues(t *testing.T) {
	db := openDB(t, nil)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustCreate(t, tx, "b")
		mustPut(t, b, "a", "v")
		mustNest(t, b, "b")
		mustPut(t, b, "c", "")
	})
	mustUpdate(t, db, func(tx *lightning.Tx) {
		c := mustBucket(t, tx, "b").Cursor()
		if k, v := c.Seek([]byte("b")); string(k) != "b" || v != nil {
			t.Errorf("Seek(b): got %q, %#v, want b and nil", k, v)
		}
		wantErr(t, "Delete of a bucket", c.Delete(), lightning.ErrIncompatibleValue)
		if k, v := c.Next(); string(k) != "c" || v == nil || len(v) != 0 {
			t.Errorf("Next: got %q, %#v, want c and an empty value", k, v)
		}
		if k, v := c.First(); string(k) != "a" || string(v) != "v" {
			t.Errorf("First: got %q, %q, want a and v", k, v)
		}
	})
	mustView(t, db, func(tx *lightning.Tx) {
		c := mustBucket(t, tx, "b").Cursor()
		c.First()
		wantErr(t, "Delete in a read tx", c.Delete(), lightning.ErrTxNotWritable)
	})
}

func TestCursor_Delete_PastTheEnd(t *testing.T) {
	db := openDB(t, nil)
	fillBucket(t, db, 3)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		c := b.Cursor()
		c.Seek([]byte("z"))
		if err := c.Delete(); err != nil {
			t.Errorf("Delete past the end: got %v, want nil", err)
		}
		for i := range 3 {
			wantValue(t, b, numberedKey(i), fmt.Sprint(i))
		}
	})
}

// bbolt indexes its empty stack here and panics.
func TestCursor_Delete_Fresh_IsAnError(t *testing.T) {
	db := openDB(t, nil)
	fillBucket(t, db, 3)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		if err := b.Cursor().Delete(); err == nil {
			t.Error("Delete on a fresh cursor: got nil, want an error")
		}
		for i := range 3 {
			wantValue(t, b, numberedKey(i), fmt.Sprint(i))
		}
	})
}

// A loop that deletes what the cursor stands on and moves on must miss nothing. bbolt skips keys when the
// leaf was changed before, because the items behind the deleted one move up.
func TestCursor_Delete_LoopMissesNothing(t *testing.T) {
	const keys = 2500
	starts := map[string]func(c *lightning.Cursor) []byte{
		"First/Next": func(c *lightning.Cursor) []byte { k, _ := c.First(); return k },
		"Seek/Next":  func(c *lightning.Cursor) []byte { k, _ := c.Seek([]byte(numberedKey(0))); return k },
		"Last/Prev":  func(c *lightning.Cursor) []byte { k, _ := c.Last(); return k },
	}
	for name, start := range starts {
		for _, dirty := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/dirty=%v", name, dirty), func(t *testing.T) {
				db := openDB(t, nil)
				fillBucket(t, db, keys)
				mustUpdate(t, db, func(tx *lightning.Tx) {
					b := mustBucket(t, tx, "b")
					for i := 0; dirty && i < keys; i += 10 {
						mustPut(t, b, numberedKey(i), "dirty")
					}
					c := b.Cursor()
					move := c.Next
					if strings.HasSuffix(name, "Prev") {
						move = c.Prev
					}
					n := 0
					for k := start(c); k != nil; k, _ = move() {
						if err := c.Delete(); err != nil {
							t.Fatalf("Delete: %v", err)
						}
						n++
					}
					if k, _ := b.Cursor().First(); n != keys || k != nil {
						t.Errorf("%d deleted and %q left, want all %d deleted", n, k, keys)
					}
				})
				checkDB(t, db)
			})
		}
	}
}

// raft-boltdb deletes a range of its log in this way.
func TestCursor_Delete_Range(t *testing.T) {
	db := openDB(t, nil)
	const keys, from, to = 2000, 300, 1500
	fillBucket(t, db, keys)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		c := mustBucket(t, tx, "b").Cursor()
		end := []byte(numberedKey(to))
		for k, _ := c.Seek([]byte(numberedKey(from))); k != nil && bytes.Compare(k, end) <= 0; k, _ = c.Next() {
			if err := c.Delete(); err != nil {
				t.Fatalf("Delete: %v", err)
			}
		}
	})
	mustView(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		for i := range keys {
			if i < from || i > to {
				wantValue(t, b, numberedKey(i), fmt.Sprint(i))
			} else {
				wantAbsent(t, b, numberedKey(i))
			}
		}
	})
}

// Overwriting the key under the cursor, with slices that the cursor returned, must not disturb the walk.
func TestCursor_PutUnderTheCursor(t *testing.T) {
	db := openDB(t, nil)
	const keys = 1500
	fillBucket(t, db, keys)
	for round := range 2 {
		mustUpdate(t, db, func(tx *lightning.Tx) {
			b := mustBucket(t, tx, "b")
			c := b.Cursor()
			n := 0
			for k, v := c.First(); k != nil; k, v = c.Next() {
				wantKey(t, "walk", k, numberedKey(n))
				if err := b.Put(k, append(slices.Clone(v), "grown by some bytes"...)); err != nil {
					t.Fatal(err)
				}
				n++
			}
			if n != keys {
				t.Errorf("round %d: %d keys seen, want %d", round, n, keys)
			}
		})
	}
	mustView(t, db, func(tx *lightning.Tx) {
		for i := range keys {
			wantValue(t, mustBucket(t, tx, "b"), numberedKey(i), fmt.Sprint(i)+strings.Repeat("grown by some bytes", 2))
		}
	})
}

// A cursor whose bucket changes under it may see the old or the new state. It must go on in one direction,
// end, and show only keys that existed at some time in the transaction.
func TestCursor_MutationWhileWalking(t *testing.T) {
	const keys = 1200
	for _, forward := range []bool{true, false} {
		t.Run(fmt.Sprintf("forward=%v", forward), func(t *testing.T) {
			db := openDB(t, nil)
			fillBucket(t, db, keys)
			rng := rand.New(rand.NewPCG(3, 4))
			want := map[string]string{}
			for i := range keys {
				want[numberedKey(i)] = fmt.Sprint(i)
			}
			mustUpdate(t, db, func(tx *lightning.Tx) {
				b := mustBucket(t, tx, "b")
				ever := map[string]bool{}
				for k := range want {
					ever[k] = true
				}
				c := b.Cursor()
				first, move := c.First, c.Next
				if !forward {
					first, move = c.Last, c.Prev
				}
				steps, previous := 0, ""
				for k, _ := first(); k != nil && steps < 20*keys; k, _ = move() {
					key := string(k)
					if !ever[key] {
						t.Fatalf("the cursor shows %q, which was never there", key)
					}
					if previous != "" && forward != (key > previous) {
						t.Fatalf("the cursor went from %q to %q", previous, key)
					}
					previous = key
					steps++
					for range 2 {
						other := numberedKey(rng.IntN(keys))
						switch rng.IntN(4) {
						case 0:
							delete(want, other)
							if err := b.Delete([]byte(other)); err != nil {
								t.Fatal(err)
							}
						case 1:
							want[other] = strings.Repeat("w", rng.IntN(300))
							mustPut(t, b, other, want[other])
						case 2: // behind the cursor, so that the walk ends
							behind := "a" + other
							if !forward {
								behind = "z" + other
							}
							want[behind], ever[behind] = key, true
							if err := b.Put([]byte(behind), k); err != nil {
								t.Fatal(err)
							}
						}
					}
				}
				if steps >= 20*keys {
					t.Error("the walk does not end")
				}
			})
			mustView(t, db, func(tx *lightning.Tx) {
				got := map[string]string{}
				err := mustBucket(t, tx, "b").ForEach(func(k, v []byte) error { got[string(k)] = string(v); return nil })
				if err != nil || len(got) != len(want) {
					t.Errorf("%d keys (error %v), want %d", len(got), err, len(want))
				}
				for k, v := range want {
					if got[k] != v {
						t.Errorf("key %q: got %.40q, want %.40q", k, got[k], v)
					}
				}
			})
		})
	}
}

// Two cursors on one bucket, one of them deleting, and the handle obtained before the changes.
func TestCursor_SeesChangesOfItsTransaction(t *testing.T) {
	db := openDB(t, nil)
	fillBucket(t, db, 1000)
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		walker, other := b.Cursor(), b.Cursor()
		walker.First()
		for range 500 {
			other.First()
			if err := other.Delete(); err != nil {
				t.Fatal(err)
			}
		}
		k, _ := walker.First()
		wantKey(t, "First after the deletes", k, numberedKey(500))
		mustPut(t, b, "a", "first of all")
		k, _ = walker.First()
		wantKey(t, "First after a Put", k, "a")
		k, _ = walker.Next()
		wantKey(t, "Next", k, numberedKey(500))
	})
}
