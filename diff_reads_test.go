package lightning

import (
	"errors"
	"fmt"
	"testing"
)

// What did not change is not read: damage there is not met, though every access is
// verified.
func TestDiff_PassesEqualSubtreesBy(t *testing.T) {
	path := t.TempDir() + "/db"
	db := mustOpen(t, path, Options{Verify: VerifyAlways})
	key := func(i int) []byte { return fmt.Appendf(nil, "key %06d", i) }
	if err := db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		for i := 0; i < 5000 && err == nil; i++ {
			err = b.Put(key(i), []byte(text('v', 100)))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, db)
	far := leafOf(t, path, "b", string(key(4000)))
	db = mustOpen(t, path, Options{Verify: VerifyAlways})
	defer mustClose(t, db)
	empty := mustOpen(t, t.TempDir()+"/empty", Options{})
	defer mustClose(t, empty)
	before, err := db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Rollback()
	if err := db.Update(func(tx *Tx) error { return tx.Bucket([]byte("b")).Put(key(7), []byte("new")) }); err != nil {
		t.Fatal(err)
	}
	flipBit(t, path, int64(far)*4096+3000, 0x10)
	var told []string
	note := func(d *Difference) error {
		told = append(told, string(d.Key))
		return nil
	}
	if err := db.View(func(after *Tx) error { return Diff(t.Context(), before, after, note) }); err != nil || len(told) != 1 || told[0] != string(key(7)) {
		t.Errorf("differences at %q, %v; want %q", told, err, key(7))
	}
	nothing, err := empty.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	defer nothing.Rollback()
	if err := Diff(t.Context(), nothing, before, note); !errors.Is(err, ErrChecksum) {
		t.Errorf("all of it was read without meeting the damage: %v", err)
	}
}
