package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/boltfile"
	"github.com/lightning-db/lightning/internal/memdir"
	"go.etcd.io/bbolt"
)

var bothWays = []Format{Bolt, Lightning}

func TestRun_Random(t *testing.T) {
	for _, from := range bothWays {
		for _, batch := range []int{1, 17, 0} {
			t.Run(fmt.Sprintf("from %s, batches of %d", from, batch), func(t *testing.T) {
				keys := 200
				if batch == 1 {
					keys = 10 // a sync an entry
				}
				src, dst := setup(t, from, 3, keys)
				if err := os.Chmod(src, 0o640); err != nil {
					t.Fatal(err)
				}
				before := takeFingerprint(t, src)
				phases := map[Phase]Progress{}
				result, err := run(t, Options{Source: src, Destination: dst, BatchEntries: batch, Progress: func(p Progress) {
					if p.Done < phases[p.Phase].Done || p.Done > p.Total {
						t.Errorf("progress %+v after %+v", p, phases[p.Phase])
					}
					phases[p.Phase] = p
				}})
				if err != nil {
					t.Fatal(err)
				}
				wantUntouched(t, src, before)
				want := dump(t, src, from)
				if from == Lightning { // bbolt does not store the root bucket's sequence
					if lost := fmt.Sprintf(" sequence %d", result.RootSequence); want[0] != lost {
						t.Errorf("dropped: got %s, want %s", lost, want[0])
					}
					want[0] = " sequence 0"
				}
				wantSame(t, dump(t, dst, from.Other()), want)
				if !result.Verified || result.Resumed || result.From != from || result.To != from.Other() {
					t.Errorf("result %+v", result)
				}
				if n := int(result.Buckets + 1 + result.Keys); n != len(want) {
					t.Errorf("%d buckets and keys, want %d", n, len(want))
				}
				for _, phase := range []Phase{Copying, Comparing} {
					if p := phases[phase]; p.Done != result.Bytes || p.Total != p.Done {
						t.Errorf("%s ended at %+v of %d bytes", phase, p, result.Bytes)
					}
				}
				if got := names(t, filepath.Dir(dst)); !slices.Equal(got, []string{"destination", "source"}) {
					t.Errorf("left behind: %q", got)
				}
				info, err := os.Stat(dst)
				if err != nil || info.Mode().Perm() != 0o640 {
					t.Errorf("mode of the copy: %v, %v", info.Mode(), err)
				}
			})
		}
	}
}

// TestRun_ThereAndBack compares what bbolt finds before and after.
func TestRun_ThereAndBack(t *testing.T) {
	src, own := setup(t, Bolt, 3, 100)
	back := filepath.Join(filepath.Dir(src), "back")
	for _, o := range []Options{{Source: src, Destination: own, PageSize: 16 << 10}, {Source: own, Destination: back, PageSize: 8 << 10}} {
		if _, err := run(t, o); err != nil {
			t.Fatal(err)
		}
	}
	wantSame(t, dump(t, back, Bolt), dump(t, src, Bolt))
	db, err := bbolt.Open(back, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := db.Info().PageSize; got != 8<<10 {
		t.Errorf("page size %d", got)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRun_Empty(t *testing.T) {
	for _, from := range bothWays {
		src, dst := setup(t, from, 0, 0)
		result, err := run(t, Options{Source: src, Destination: dst})
		if err != nil || result.Keys != 0 || result.Buckets != 0 || !result.Verified {
			t.Errorf("from %s: %+v, %v", from, result, err)
		}
		wantSame(t, dump(t, dst, from.Other())[1:], dump(t, src, from)[1:])
	}
}

// TestRun_Huge has a value that is larger than a transaction, and deep buckets.
func TestRun_Huge(t *testing.T) {
	for _, from := range bothWays {
		dir := memdir.Temp(t)
		src, dst := filepath.Join(dir, "source"), filepath.Join(dir, "destination")
		writeFile(t, src, from, hugeEntries[*bbolt.Bucket], hugeEntries[*lightning.Bucket])
		if _, err := run(t, Options{Source: src, Destination: dst, BatchBytes: 1 << 20}); err != nil {
			t.Fatalf("from %s: %v", from, err)
		}
		wantSame(t, dump(t, dst, from.Other()), dump(t, src, from))
	}
}

func hugeEntries[B testBucket[B]](b B) (err error) {
	for i := range 3 {
		if err := b.Put([]byte{'k', byte(i)}, bytes.Repeat([]byte{byte(i)}, 6<<20)); err != nil {
			return err
		}
	}
	for range 500 {
		if b, err = b.CreateBucket([]byte("deep")); err != nil {
			return err
		}
	}
	return b.Put([]byte("bottom"), nil)
}

func TestRun_IntegrityKey(t *testing.T) {
	key := []byte("an integrity key")
	src, own := setup(t, Bolt, 2, 50)
	if _, err := run(t, Options{Source: src, Destination: own, IntegrityKey: key}); err != nil {
		t.Fatal(err)
	}
	wantSame(t, dumpWithKey(t, own, Lightning, key), dump(t, src, Bolt))
	back := filepath.Join(filepath.Dir(src), "back")
	if _, err := run(t, Options{Source: own, Destination: back}); !errors.Is(err, lightning.ErrIntegrityKey) {
		t.Errorf("without the key: %v", err)
	}
	if _, err := run(t, Options{Source: own, Destination: back, IntegrityKey: key}); err != nil {
		t.Fatal(err)
	}
	wantSame(t, dump(t, back, Bolt), dump(t, src, Bolt))
}

func TestRun_DryRun(t *testing.T) {
	for _, from := range bothWays {
		src, dst := setup(t, from, 2, 50)
		result, err := run(t, Options{Source: src, Destination: dst, DryRun: true})
		if err != nil || result.Verified || int(result.Buckets+1+result.Keys) != len(dump(t, src, from)) {
			t.Errorf("from %s: %+v, %v", from, result, err)
		}
		if got := names(t, filepath.Dir(dst)); !slices.Equal(got, []string{"source"}) {
			t.Errorf("from %s: written: %q", from, got)
		}
	}
}

func TestRun_Refused(t *testing.T) {
	for _, from := range bothWays {
		t.Run(string(from), func(t *testing.T) {
			src, dst := setup(t, from, 1, 20)
			dir := filepath.Dir(src)
			text := filepath.Join(dir, "text")
			taken := filepath.Join(dir, "taken")
			for _, name := range []string{text, taken} {
				if err := os.WriteFile(name, bytes.Repeat([]byte("text "), 5000), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			empty := filepath.Join(dir, "empty")
			alias := filepath.Join(dir, "alias")
			if err := errors.Join(os.WriteFile(empty, nil, 0o600), os.Link(src, alias)); err != nil {
				t.Fatal(err)
			}
			before := takeFingerprint(t, src)
			was := names(t, dir)
			for _, c := range []struct {
				name     string
				src, dst string
				want     error
			}{
				{"missing", dst + ".no", dst, fs.ErrNotExist},
				{"text", text, dst, ErrUnknownFormat},
				{"empty", empty, dst, ErrUnknownFormat},
				{"same name", src, src, ErrSame},
				{"same file", src, alias, ErrSame},
				{"name taken", src, taken, fs.ErrExist},
				{"no directory", src, filepath.Join(dir, "no", "such"), fs.ErrNotExist},
			} {
				if _, err := run(t, Options{Source: c.src, Destination: c.dst}); !errors.Is(err, c.want) {
					t.Errorf("%s: got %v, want %v", c.name, err, c.want)
				}
			}
			if _, err := run(t, Options{Source: dir, Destination: dst}); err == nil {
				t.Error("a directory was migrated")
			}
			wantUntouched(t, src, before)
			if got := names(t, dir); !slices.Equal(got, was) {
				t.Errorf("files %q, before %q", got, was)
			}
		})
	}
}

func TestRun_InUse(t *testing.T) {
	for _, from := range bothWays {
		src, dst := setup(t, from, 1, 20)
		release := openForWriting(t, src, from)
		if _, err := run(t, Options{Source: src, Destination: dst, LockTimeout: 60 * time.Millisecond}); !errors.Is(err, lightning.ErrTimeout) {
			t.Errorf("from %s: %v", from, err)
		}
		if got := names(t, filepath.Dir(dst)); !slices.Equal(got, []string{"source"}) {
			t.Errorf("from %s: written: %q", from, got)
		}
		release()
		if _, err := run(t, Options{Source: src, Destination: dst}); err != nil {
			t.Errorf("from %s: %v", from, err)
		}
	}
}

// TestRun_CopyInUse has two migrations of the same source at once.
func TestRun_CopyInUse(t *testing.T) {
	for _, from := range bothWays {
		src, dst := setup(t, from, 1, 600)
		interrupt(t, Options{Source: src, Destination: dst, BatchEntries: 100}, 1)
		release := openForWriting(t, dst+Suffix, from.Other())
		_, err := run(t, Options{Source: src, Destination: dst, LockTimeout: 60 * time.Millisecond})
		if !errors.Is(err, lightning.ErrTimeout) || strings.Contains(err.Error(), "remove") {
			t.Errorf("from %s: %v", from, err)
		}
		release()
		if _, err := run(t, Options{Source: src, Destination: dst}); err != nil {
			t.Errorf("from %s: %v", from, err)
		}
		wantCopy(t, src, dst, from)
	}
}

// openForWriting holds the file's lock until the function returned is called.
func openForWriting(t *testing.T, path string, format Format) (release func()) {
	t.Helper()
	var closeDB func() error
	if format == Bolt {
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		closeDB = db.Close
	} else {
		db, err := lightning.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		closeDB = db.Close
	}
	return func() {
		if err := closeDB(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRun_MarkerClash(t *testing.T) {
	for _, from := range bothWays {
		dir := memdir.Temp(t)
		src, dst := filepath.Join(dir, "source"), filepath.Join(dir, "destination")
		writeFile(t, src, from,
			func(b *bbolt.Bucket) error { _, err := b.CreateBucket(markerName); return err },
			func(b *lightning.Bucket) error { return b.Put(markerName, nil) })
		if _, err := run(t, Options{Source: src, Destination: dst}); !errors.Is(err, ErrMarkerClash) {
			t.Errorf("from %s: %v", from, err)
		}
		if got := names(t, dir); !slices.Equal(got, []string{"source"}) {
			t.Errorf("from %s: written: %q", from, got)
		}
	}
}

// TestCopier_LeafLimit lowers the limit that bbolt's leaves have.
func TestCopier_LeafLimit(t *testing.T) {
	pair := func(bytes int) Entry {
		return Entry{Kind: boltfile.Pair, Key: []byte("k"), Value: make([]byte, bytes-1)}
	}
	begin, end := Entry{Kind: boltfile.BeginBucket, Key: []byte("b")}, Entry{Kind: boltfile.EndBucket}
	root := Entry{Kind: boltfile.BeginBucket}
	for i, c := range []struct {
		entries []Entry
		ok      bool
	}{
		{[]Entry{root, pair(40), pair(40), pair(40)}, true},
		{[]Entry{root, pair(40), pair(40), pair(40), pair(1)}, false},
		{[]Entry{root, pair(90), pair(1), pair(1), pair(1), pair(90), pair(1), pair(1)}, true},
		{[]Entry{root, pair(60), begin, pair(60), end, pair(1), pair(1)}, true},
		{[]Entry{root, pair(60), begin, end, pair(60), pair(1)}, false},
	} {
		var err error
		cp := &copier{m: &migration{opts: Options{Progress: func(Progress) {}}}, limit: 100}
		cp.state.Recent = make([][3]int64, 1)
		for _, e := range c.entries {
			if err == nil {
				err = cp.entry(e)
			}
		}
		if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrTooLargeForBolt) {
			t.Errorf("case %d: %v", i, err)
		}
	}
}
