package lightning_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/seed"
)

// provable fills a database with nested buckets, long keys and big values, and
// returns some paths and keys in it, and some that are not.
func provable(tb testing.TB, o *lightning.Options, rnd *rand.Rand) (db *lightning.DB, at [][]string) {
	tb.Helper()
	db, err := lightning.Open(filepath.Join(tb.TempDir(), "db"), 0o600, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	key := func() string {
		k := fmt.Sprintf("key %04d", rnd.IntN(5000))
		if rnd.IntN(10) == 0 {
			k = strings.Repeat("long", 400) + k
		}
		return k
	}
	if err := db.Update(func(tx *lightning.Tx) error {
		for _, path := range [][]string{{"big"}, {"small"}, {"a", "b", "c"}, {"empty"}} {
			b, err := tx.CreateBucketIfNotExists([]byte(path[0]))
			for _, name := range path[1:] {
				if err == nil {
					b, err = b.CreateBucketIfNotExists([]byte(name))
				}
			}
			n := map[string]int{"big": 2000, "small": 3, "a": 500}[path[0]]
			for i := 0; i < n && err == nil; i++ {
				k := key()
				size := rnd.IntN(100)
				if rnd.IntN(20) == 0 {
					size = rnd.IntN(10_000)
				}
				err = b.Put([]byte(k), bytes.Repeat([]byte{byte(i)}, size))
				if i%(1+n/20) == 0 {
					at = append(at, append(append([]string{}, path...), k))
				}
			}
			if err != nil {
				return err
			}
			for range 8 {
				at = append(at, append(append([]string{}, path...), key()+"?"))
			}
		}
		at = append(at, []string{"no bucket", "key"}, []string{"a", "no bucket", "key"}, []string{"root key"}, []string{"big", "\x00"}, []string{"big", "\xff"})
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
	return db, at
}

// truth is what the database says about the last name, a key in the bucket
// that the others lead to.
func truth(tb testing.TB, db *lightning.DB, names [][]byte) (found bool, value []byte) {
	tb.Helper()
	if err := db.View(func(tx *lightning.Tx) error {
		last := len(names) - 1
		if last == 0 {
			return nil // the root has buckets only
		}
		b := tx.Bucket(names[0])
		for _, name := range names[1:last] {
			if b != nil {
				b = b.Bucket(name)
			}
		}
		if b != nil {
			v := b.Get(names[last])
			found, value = v != nil, bytes.Clone(v)
		}
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
	return found, value
}

func bytesOf(names []string) (b [][]byte) {
	for _, name := range names {
		b = append(b, []byte(name))
	}
	return b
}

// prove returns the proof for the names, and the state it is of.
func prove(tb testing.TB, db *lightning.DB, names []string) (proof []byte, s lightning.State) {
	tb.Helper()
	if err := db.View(func(tx *lightning.Tx) (err error) {
		b := bytesOf(names)
		if proof, err = tx.Prove(b[:len(b)-1], b[len(b)-1]); err == nil {
			s, err = tx.State()
		}
		return err
	}); err != nil {
		tb.Fatal(err)
	}
	return proof, s
}

// A proof says what the database says, and takes the pages of one path.
func TestProof_SaysTheTruth(t *testing.T) {
	for name, o := range map[string]*lightning.Options{"plain": {}, "keyed": {IntegrityKey: []byte("secret")}, "16K": {PageSize: 16 << 10}} {
		db, at := provable(t, o, seed.Rand(t))
		for _, names := range at {
			proof, s := prove(t, db, names)
			got, err := lightning.VerifyProof(proof, s.Digest, o.IntegrityKey)
			if err != nil {
				t.Errorf("%s: %q: %v", name, names, err)
				continue
			}
			found, value := truth(t, db, bytesOf(names))
			said := append(bytesOf(nil), append(got.Buckets, got.Key)...)
			if got.Found != found || !bytes.Equal(got.Value, value) || got.State != s || fmt.Sprintf("%q", said) != fmt.Sprintf("%q", names) {
				t.Errorf("%s: %q: found %v, want %v, %d bytes, want %d, at %q in %v", name, names, got.Found, found, len(got.Value), len(value), said, got.State)
			}
			if limit := 60*4096 + 2*len(value); o.PageSize == 0 && len(proof) > limit {
				t.Errorf("%s: %q: a proof of %d bytes", name, names, len(proof))
			}
		}
	}
}

// Whatever is done to a proof, it proves nothing that is not true.
func TestProof_Tampered(t *testing.T) {
	rnd := seed.Rand(t)
	db, at := provable(t, &lightning.Options{}, rnd)
	for _, names := range at {
		proof, s := prove(t, db, names)
		for range 12 {
			b := bytes.Clone(proof)
			switch rnd.IntN(4) {
			case 0:
				b = b[:rnd.IntN(len(b))]
			case 1:
				b = append(b, 0)
			case 2:
				b[rnd.IntN(120)] ^= 1 << rnd.IntN(8) // what it says of itself
			default:
				b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
			}
			mustBeTrue(t, db, b, s)
		}
	}
}

// mustBeTrue looks whether the proof is refused or says what the database says.
func mustBeTrue(t *testing.T, db *lightning.DB, proof []byte, s lightning.State) {
	t.Helper()
	got, err := lightning.VerifyProof(proof, s.Digest, nil)
	if err != nil {
		if !errors.Is(err, lightning.ErrProof) && !errors.Is(err, lightning.ErrProofState) && !errors.Is(err, lightning.ErrIntegrityKey) {
			t.Errorf("refused with %v", err)
		}
		return
	}
	names := append(append([][]byte{}, got.Buckets...), got.Key)
	if found, value := truth(t, db, names); got.Found != found || !bytes.Equal(got.Value, value) {
		t.Errorf("%q is proved to be found %v with %d bytes, but is found %v with %d", names, got.Found, len(got.Value), found, len(value))
	}
}

func TestProof_Refusals(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	o := &lightning.Options{IntegrityKey: []byte("secret")}
	db, _ := provable(t, o, seed.Rand(t))
	names := []string{"small", "key"}
	proof, s := prove(t, db, names)
	if _, err := lightning.VerifyProof(proof, s.Digest, []byte("guess")); !errors.Is(err, lightning.ErrIntegrityKey) {
		t.Errorf("another key: %v", err)
	}
	if err := db.Update(func(tx *lightning.Tx) error {
		if _, err := tx.Prove(nil, []byte("small")); !errors.Is(err, lightning.ErrIncompatibleValue) {
			t.Errorf("a bucket: %v", err)
		}
		if err := tx.Bucket([]byte("small")).Put([]byte("key"), []byte("new")); err != nil {
			return err
		}
		old, err := tx.Prove(bytesOf(names[:1]), []byte("key"))
		if err == nil && !bytes.Equal(old, proof) {
			t.Error("a writable transaction proves what it has not committed")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	newer, now := prove(t, db, names)
	if _, err := lightning.VerifyProof(newer, s.Digest, o.IntegrityKey); !errors.Is(err, lightning.ErrProofState) {
		t.Errorf("a later state: %v", err)
	}
	if got, err := lightning.VerifyProof(newer, now.Digest, o.IntegrityKey); err != nil || string(got.Value) != "new" {
		t.Errorf("the later state's own digest: %v", err)
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("files left: %v, %v", left, err)
	}
}

// FuzzVerifyProof reads proofs that an enemy made.
func FuzzVerifyProof(f *testing.F) {
	db, at := provable(f, &lightning.Options{}, rand.New(rand.NewPCG(1, 1)))
	var s lightning.State
	for _, names := range at[:12] {
		var proof []byte
		proof, s = prove(f, db, names)
		f.Add(proof)
		f.Add(proof[:len(proof)/2])
	}
	f.Fuzz(func(t *testing.T, proof []byte) { mustBeTrue(t, db, proof, s) })
}
