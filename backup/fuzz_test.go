package backup

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/page"
)

// smallChain makes a full backup and an increment on it, of a few pages.
func smallChain(tb testing.TB) (full, increment []byte) {
	dir := tb.TempDir()
	db, err := lightning.Open(filepath.Join(dir, "db"), 0o600, nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close()
	at := []string{filepath.Join(dir, "full"), filepath.Join(dir, "inc")}
	for i, base := range []string{"", at[0]} {
		if err := db.Update(func(tx *lightning.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			for k := byte(0); k < 40 && err == nil; k++ {
				err = b.Put([]byte{k, byte(i) * (k % 2)}, bytes.Repeat([]byte{k}, 150*int(k)))
			}
			return err
		}); err != nil {
			tb.Fatal(err)
		}
		if _, err := Create(tb.Context(), db, at[i], base, 0o600, Options{}); err != nil {
			tb.Fatal(err)
		}
	}
	if full, err = os.ReadFile(at[0]); err == nil {
		increment, err = os.ReadFile(at[1])
	}
	if err != nil {
		tb.Fatal(err)
	}
	return full, increment
}

// forge gives a changed increment right digests, as an enemy can who knows that there
// is no integrity key: of the header, the meta slot, and the root page, which comes
// first if the root is what was written.
func forge(b []byte) []byte {
	if len(b) < 2*page.MetaSize {
		return b
	}
	b = bytes.Clone(b)
	head, slot := b[:page.MetaSize], b[page.MetaSize:2*page.MetaSize]
	h, err := page.PeekIncrement(head)
	if err != nil {
		return b
	}
	hasher, check := page.Keys(nil, h.FileID)
	if m, err := page.DecodeMeta(slot, hasher, check); err == nil {
		for at := 2 * page.MetaSize; at+m.PageSize <= len(b); at += m.PageSize {
			p := b[at : at+m.PageSize]
			if page.ID(binary.LittleEndian.Uint64(p[8:])) == m.Root.Root.ID {
				m.Root.Root.Digest = page.Digest(hasher.Sum(p))
			}
		}
		page.EncodeMeta(slot, m, hasher)
	}
	h.KeyCheck = check
	page.EncodeIncrement(head, h, hasher)
	return b
}

// FuzzVerify reads increments that an enemy made. They may be refused only, or
// be what was backed up.
func FuzzVerify(f *testing.F) {
	full, increment := smallChain(f)
	f.Add(increment, false)
	f.Add(increment[:2*page.MetaSize], true)
	f.Add(append(bytes.Clone(increment), increment...), false)
	for at := 0; at < len(increment); at += 1 + len(increment)/40 {
		b := bytes.Clone(increment)
		b[at] ^= 0xff
		f.Add(b, at%2 == 0)
	}
	dir := f.TempDir()
	path := []string{filepath.Join(dir, "full"), filepath.Join(dir, "inc")}
	if err := os.WriteFile(path[0], full, 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed {
			b = forge(b)
		}
		if err := os.WriteFile(path[1], b, 0o600); err != nil {
			t.Fatal(err)
		}
		good, err := Verify(t.Context(), path, Options{})
		restored := filepath.Join(t.TempDir(), "restored")
		_, again := Restore(t.Context(), restored, 0o600, path, Options{})
		if err != nil && again == nil {
			t.Fatalf("restored what Verify refuses: %v", err)
		}
		if err == nil && !sealed && !bytes.Equal(b, increment) {
			t.Fatalf("%d states of changed bytes are good", len(good))
		}
	})
}
