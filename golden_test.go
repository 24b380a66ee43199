package lightning

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var goldenUpdate = flag.Bool("golden.update", false, "write the golden files anew; only for a new version of the format")

// golden is a database that pins the file format: the file itself, packed, and
// what is in it.
type golden struct {
	name     string
	pageSize int
	key      []byte // integrity key
	churn    int    // commits that make the space map fold its log into bitmaps
}

// The files have random ids and so cannot be made again byte by byte; what is
// pinned is that they can be read.
var goldens = []golden{
	{name: "v1", pageSize: 4 << 10, churn: 1700},
	{name: "v1-64k-keyed", pageSize: 64 << 10, key: []byte("golden integrity key")},
}

// goldenBucket is the content of a bucket.
type goldenBucket struct {
	Sequence uint64
	Keys     []goldenKey
}

// goldenKey is a key with a value or a bucket; see goldenText.
type goldenKey struct {
	Key    string
	Value  string        `json:",omitempty"`
	Bucket *goldenBucket `json:",omitempty"`
}

// goldenText is hex, and a digest where that is long.
func goldenText(b []byte) string {
	if len(b) <= 72 {
		return hex.EncodeToString(b)
	}
	return fmt.Sprintf("%d bytes, sha256 %x", len(b), sha256.Sum256(b))
}

func (g golden) path(ext string) string { return filepath.Join("testdata", "golden", g.name+ext) }

func (g golden) options() *Options {
	return &Options{PageSize: g.pageSize, IntegrityKey: g.key, NoSync: true}
}

// build writes a database with a bit of everything to path.
func (g golden) build(t *testing.T, path string) {
	t.Helper()
	db, err := Open(path, 0o600, g.options())
	if err != nil {
		t.Fatal(err)
	}
	steps := []func(tx *Tx) error{g.fillPlain, g.fillKinds, g.fillNested, g.remove}
	for i := range g.churn {
		steps = append(steps, func(tx *Tx) error { return churnStep(tx, i) })
	}
	steps = append(steps, g.remove, func(tx *Tx) error { return tx.Bucket([]byte("plain")).Put([]byte("last"), nil) })
	for i, step := range steps {
		if err := db.Update(step); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if i%32 == 0 {
			if err := db.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// fillPlain makes a tree of some pages.
func (g golden) fillPlain(tx *Tx) error {
	b, err := tx.CreateBucket([]byte("plain"))
	if err != nil {
		return err
	}
	for i := range 300 {
		key := fmt.Appendf(nil, "key/%04d", i*7%300)
		if err := b.Put(key, bytes.Repeat([]byte{byte(i)}, i%60)); err != nil {
			return err
		}
	}
	return b.SetSequence(42)
}

// fillKinds makes keys and values of every kind, at the limits of what pages
// hold themselves.
func (g golden) fillKinds(tx *Tx) error {
	b, err := tx.CreateBucket([]byte("kinds"))
	if err != nil {
		return err
	}
	tie := strings.Repeat("t", 64)
	for _, key := range []string{"\x00", "\x00\x00", "\xff", tie, tie + "abc", tie + "abz", strings.Repeat("m", g.pageSize/8), strings.Repeat("n", g.pageSize/8+1)} {
		if err := b.Put([]byte(key), []byte("value of "+key[:1])); err != nil {
			return err
		}
	}
	for i := range 12 { // enough for separators that are long keys
		key := tie + "abd" + strings.Repeat("l", g.pageSize/8) + strings.Repeat(string(rune('a'+i)), i)
		if err := b.Put([]byte(key), bytes.Repeat([]byte{byte(i)}, g.pageSize/4)); err != nil {
			return err
		}
	}
	for _, n := range []int{0, g.pageSize / 4, g.pageSize/4 + 1, g.pageSize - 40, g.pageSize - 39, 3 * g.pageSize} {
		if err := b.Put(fmt.Appendf(nil, "v%d", n), bytes.Repeat([]byte("v"), n)); err != nil {
			return err
		}
	}
	return nil
}

// fillNested makes buckets in buckets, empty, inline and with pages.
func (g golden) fillNested(tx *Tx) error {
	top, err := tx.CreateBucket([]byte("nested"))
	if err != nil {
		return err
	}
	if _, err := top.CreateBucket([]byte("empty")); err != nil {
		return err
	}
	for _, c := range []struct {
		name string
		keys int
	}{{"inline", 3}, {"pages", 30}, {"middle", 4}, {strings.Repeat("long name", g.pageSize/64), 1}} {
		b, err := top.CreateBucket([]byte(c.name))
		if err != nil {
			return err
		}
		for i := range c.keys {
			value := []byte{byte(i)}
			if c.keys > 10 {
				value = bytes.Repeat(value, g.pageSize/8)
			}
			if err := b.Put(fmt.Appendf(nil, "%05d", i), value); err != nil {
				return err
			}
		}
		if err := b.SetSequence(uint64(c.keys)); err != nil {
			return err
		}
	}
	deep, err := top.Bucket([]byte("middle")).CreateBucket([]byte("deep"))
	if err != nil {
		return err
	}
	return deep.Put([]byte("k"), []byte("v"))
}

// remove deletes every third key that is left in a tree, and a big value.
func (g golden) remove(tx *Tx) error {
	b := tx.Bucket([]byte("plain"))
	var keys [][]byte
	for k := range b.All() {
		keys = append(keys, bytes.Clone(k))
	}
	for i, k := range keys {
		if i%3 == 0 {
			if err := b.Delete(k); err != nil {
				return err
			}
		}
	}
	return tx.Bucket([]byte("kinds")).Delete(fmt.Appendf(nil, "v%d", 3*g.pageSize))
}

// churnStep replaces big values, so that single pages and runs come and go.
func churnStep(tx *Tx, i int) error {
	b, err := tx.CreateBucketIfNotExists([]byte("churn"))
	if err != nil {
		return err
	}
	for j := range 8 {
		if err := b.Put([]byte{byte('a' + (i*5+j*7)%24)}, bytes.Repeat([]byte{byte(i)}, 1500+i*31%9000)); err != nil {
			return err
		}
	}
	return nil
}

// content reads the whole database by way of the API.
func content(t *testing.T, db *DB) *goldenBucket {
	t.Helper()
	root := &goldenBucket{}
	err := db.View(func(tx *Tx) error {
		for err := range tx.Check() {
			t.Errorf("Check: %v", err)
		}
		return tx.ForEach(func(name []byte, b *Bucket) error {
			root.Keys = append(root.Keys, goldenKey{Key: goldenText(name), Bucket: bucketContent(b)})
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func bucketContent(b *Bucket) *goldenBucket {
	out := &goldenBucket{Sequence: b.Sequence()}
	for k, v := range b.All() {
		e := goldenKey{Key: goldenText(k)}
		if v == nil {
			e.Bucket = bucketContent(b.Bucket(k))
		} else {
			e.Value = goldenText(v)
		}
		out.Keys = append(out.Keys, e)
	}
	return out
}

func TestGolden(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			if *goldenUpdate {
				g.update(t)
			}
			want := &goldenBucket{}
			text, err := os.ReadFile(g.path(".json"))
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, want); err != nil {
				t.Fatal(err)
			}
			file := g.unpack(t)
			t.Run("reader", func(t *testing.T) {
				r := checkReader(t, file, g, want)
				for _, kind := range r.missing(g.churn > 0) {
					t.Errorf("no page of type %d: the file does not pin the whole format", kind)
				}
			})
			t.Run("engine", func(t *testing.T) { g.checkEngine(t, file, want) })
			t.Run("new file", func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "new.ldb")
				g.build(t, path)
				fresh, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				checkReader(t, fresh, g, want)
			})
		})
	}
}

// checkReader reads the file with the reader that knows nothing of the engine.
func checkReader(t *testing.T, file []byte, g golden, want *goldenBucket) *formatReader {
	t.Helper()
	got, r, err := readFormat(file, g.key)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the file holds other data than it should")
	}
	return r
}

// checkEngine opens a copy of the file, reads it without changing it, then
// goes on writing to it.
func (g golden) checkEngine(t *testing.T, file []byte, want *goldenBucket) {
	path := filepath.Join(t.TempDir(), "copy.ldb")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := Open(path, 0o600, &Options{ReadOnly: true, IntegrityKey: g.key})
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, db); !reflect.DeepEqual(got, want) {
		t.Error("the engine reads other data than it should")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, file) {
		t.Errorf("a read-only open changed the file: %v", err)
	}
	if len(g.key) > 0 {
		if _, err := Open(path, 0o600, &Options{ReadOnly: true}); !errors.Is(err, ErrIntegrityKey) {
			t.Errorf("Open without the key: %v, want ErrIntegrityKey", err)
		}
	}
	if db, err = Open(path, 0o600, g.options()); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(g.remove); err != nil {
		t.Error(err)
	}
	wrote := content(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	now, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if reflect.DeepEqual(wrote, want) {
		t.Error("the update changed nothing")
	}
	checkReader(t, now, g, wrote)
}

// The hex dumps in docs/FORMAT.md are those of the golden file.
func TestGolden_FormatExample(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("docs", "FORMAT.md"))
	if err != nil {
		t.Fatal(err)
	}
	file := goldens[0].unpack(t)
	lines := regexp.MustCompile(`(?m)^([0-9a-f]{8})  ([0-9a-f ]+)$`).FindAllStringSubmatch(string(doc), -1)
	if len(lines) == 0 {
		t.Error("docs/FORMAT.md has no example")
	}
	for _, line := range lines {
		at, err := strconv.ParseUint(line[1], 16, 31)
		if err != nil {
			t.Fatal(err)
		}
		want, err := hex.DecodeString(strings.ReplaceAll(line[2], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(file[at:], want) {
			t.Errorf("%s: the file has % x", line[0], file[at:][:len(want)])
		}
	}
}

func (g golden) unpack(t *testing.T) []byte {
	t.Helper()
	f, err := os.Open(g.path(".ldb.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	file, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func (g golden) update(t *testing.T) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "golden.ldb")
	g.build(t, path)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(file); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := Open(path, 0o600, &Options{ReadOnly: true, IntegrityKey: g.key})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	text, err := json.MarshalIndent(content(t, db), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(g.path("")), 0o755); err != nil {
		t.Fatal(err)
	}
	for ext, data := range map[string][]byte{".ldb.gz": packed.Bytes(), ".json": append(text, '\n')} {
		if err := os.WriteFile(g.path(ext), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
