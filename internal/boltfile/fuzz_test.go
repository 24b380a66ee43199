package boltfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/lightning-db/lightning/internal/seed"
)

// fuzzImages are sound files of several kinds.
func fuzzImages(t testing.TB) (images [][]byte) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 1))
	for _, pageSize := range []int{1024, 4096} {
		images = append(images,
			readFile(t, writeBolt(t, pageSize, func(tx *bbolt.Tx) error { return fillRandom(r, tx.Cursor().Bucket(), 1, 30) })),
			readFile(t, writeBolt(t, pageSize, nested, nested)),
			readFile(t, writeBolt(t, pageSize, manyKeys)),
		)
	}
	return images
}

// nested has inline buckets, and buckets in buckets.
func nested(tx *bbolt.Tx) error {
	for i := range 6 {
		b, err := tx.CreateBucketIfNotExists(fmt.Appendf(nil, "bucket %d", i))
		if err != nil {
			return err
		}
		if _, err := b.CreateBucketIfNotExists([]byte("empty")); err != nil {
			return err
		}
		inline, err := b.CreateBucketIfNotExists([]byte("inline"))
		if err != nil {
			return err
		}
		if err := inline.Put([]byte("key"), fmt.Append(nil, tx.ID())); err != nil {
			return err
		}
		if _, err := inline.NextSequence(); err != nil {
			return err
		}
	}
	return nil
}

// manyKeys has branches above branches on small pages, and a value of many pages.
func manyKeys(tx *bbolt.Tx) error {
	b, err := tx.CreateBucket([]byte("many"))
	if err != nil {
		return err
	}
	for i := range 300 {
		if err := b.Put(fmt.Appendf(nil, "%0100d", i), []byte("value")); err != nil {
			return err
		}
	}
	return b.Put([]byte("large"), make([]byte, 300_000))
}

// checkImage walks over any bytes and proves: no panic, an end within as many
// entries as the bytes can hold, errors of the documented types only, keys in
// order, buckets that begin and end in pairs.
func checkImage(t *testing.T, image []byte) error {
	t.Helper()
	f, err := openBytes(image)
	var w *Walker
	if err == nil {
		w, err = f.Walk(nil)
	}
	last := [][]byte{nil}
	for n := 0; err == nil; n++ {
		if n > len(image) {
			t.Fatal("more entries than bytes")
		}
		var e Entry
		if e, err = w.Next(); err != nil {
			break
		}
		top := len(last) - 1
		if n > 0 && e.Kind != EndBucket {
			if len(e.Key) == 0 || bytes.Compare(e.Key, last[top]) <= 0 {
				t.Fatalf("key %q after %q", e.Key, last[top])
			}
			last[top] = e.Key
		}
		switch {
		case n > 0 && e.Kind == BeginBucket:
			last = append(last, nil)
		case e.Kind == EndBucket:
			last = last[:top]
		case e.Kind == Pair && e.Value == nil:
			t.Fatal("a nil value")
		}
	}
	if err == io.EOF {
		if len(last) != 1 {
			t.Fatalf("%d buckets did not end", len(last)-1)
		}
		if err = w.CheckSpace(); err == nil {
			return nil
		}
	}
	var damage *DamageError
	if !errors.As(err, &damage) && !errors.Is(err, ErrNotBolt) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrByteOrder) {
		t.Fatalf("undocumented error: %v", err)
	}
	return err
}

// FuzzWalk changes files that bbolt made. Ten minutes of it:
//
//	go test ./internal/boltfile -run '^$' -fuzz '^FuzzWalk$' -fuzztime=10m
func FuzzWalk(f *testing.F) {
	images := fuzzImages(f)
	for i := range images {
		f.Add(uint8(i), uint32(0), []byte{}, uint32(0), false)
		f.Add(uint8(i), uint32(3*1024+8), []byte{3, 0, 255, 255}, uint32(4), false)
		f.Add(uint8(i), uint32(16+32), []byte{9}, uint32(0), true)
	}
	f.Fuzz(func(t *testing.T, which uint8, off uint32, patch []byte, cut uint32, seal bool) {
		image := bytes.Clone(images[int(which)%len(images)])
		copy(image[int(off)%len(image):], patch)
		pageSize := int(le.Uint32(images[int(which)%len(images)][24:]))
		if seal { // the checksum keeps most changes of a meta from being looked at
			sealMeta(image, 0)
			sealMeta(image, pageSize)
		}
		image = image[:len(image)-int(cut)%len(image)]
		err := checkImage(t, image)
		if bytes.Equal(image, images[int(which)%len(images)]) && err != nil {
			t.Fatalf("a sound file: %v", err)
		}
	})
}

// FuzzBytes takes any bytes for a file.
func FuzzBytes(f *testing.F) {
	f.Add([]byte{})
	f.Add(fuzzImages(f)[1])
	f.Fuzz(func(t *testing.T, image []byte) { checkImage(t, image) })
}

// TestWalk_Flipped flips bits all over small files, and zeroes and fills pages.
func TestWalk_Flipped(t *testing.T) {
	r := seed.Rand(t)
	outcomes := map[bool]int{}
	for _, sound := range fuzzImages(t)[:3] {
		images := 600
		if testing.Short() {
			images = 100
		}
		for i := 0; i < len(sound); i += 1 + r.IntN(2*len(sound)/images) {
			image := bytes.Clone(sound)
			image[i] ^= 1 << r.IntN(8)
			outcomes[checkImage(t, image) == nil]++
		}
		for page := 0; page < len(sound)/1024; page += 1 + len(sound)/1024/images {
			for _, fill := range []byte{0, 0xff} {
				image := bytes.Clone(sound)
				copy(image[page*1024:], bytes.Repeat([]byte{fill}, 1024))
				outcomes[checkImage(t, image) == nil]++
			}
		}
	}
	t.Logf("read %d, refused %d", outcomes[true], outcomes[false])
	if outcomes[true] == 0 || outcomes[false] == 0 {
		t.Error("all ended alike")
	}
}

// TestWalk_Refused has files that are wrong in one way each.
func TestWalk_Refused(t *testing.T) {
	image := readFile(t, writeBolt(t, 1024, manyKeys, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("many")).Put([]byte("one more"), nil)
	}))
	f := openImage(t, image)
	root := int(f.meta.root) * 1024 // a leaf with one bucket
	bucket := root + 16 + int(le.Uint32(image[root+16+4:])) + int(le.Uint32(image[root+16+8:]))
	branch := int(le.Uint64(image[bucket:])) * 1024
	child := int(le.Uint64(image[branch+16+8:])) * 1024
	free := int(f.meta.freelist) * 1024
	if le.Uint16(image[free+10:]) < 2 {
		t.Fatal("the file has too few free pages for this test")
	}
	for _, c := range []struct {
		name   string
		change func(b []byte)
	}{
		{"a cycle", func(b []byte) { copy(b[branch+16+8:], b[bucket:bucket+8]) }},
		{"the root again", func(b []byte) { le.PutUint64(b[branch+16+8:], f.meta.root) }},
		{"a page twice", func(b []byte) { copy(b[branch+32+8:], b[branch+16+8:][:8]) }},
		{"page 0", func(b []byte) { le.PutUint64(b[branch+16+8:], 0) }},
		{"a page beyond", func(b []byte) { le.PutUint64(b[branch+16+8:], 1<<60) }},
		{"the number of the page", func(b []byte) { b[child]++ }},
		{"a meta's flags", func(b []byte) { b[child+8] = 4 }},
		{"two flags", func(b []byte) { b[child+8] = 3 }},
		{"many elements", func(b []byte) { le.PutUint16(b[child+10:], 0xffff) }},
		{"an empty branch", func(b []byte) { le.PutUint16(b[branch+10:], 0) }},
		{"long overflow", func(b []byte) { le.PutUint32(b[child+12:], 1<<31) }},
		{"overflow into another", func(b []byte) { le.PutUint32(b[branch+12:], 1) }},
		{"the place of a key", func(b []byte) { le.PutUint32(b[branch+16:], 1<<31) }},
		{"a key in the table", func(b []byte) { le.PutUint32(b[branch+16:], 0) }},
		{"the length of a key", func(b []byte) { le.PutUint32(b[branch+16+4:], 0xffffffff) }},
		{"the order of the branch", func(b []byte) { b[branch+16+int(le.Uint32(b[branch+16:]))] = 0xff }},
		{"the flags of a bucket", func(b []byte) { b[root+16] = 3 }},
		{"the header of a bucket", func(b []byte) { le.PutUint32(b[root+16+12:], 8) }},
		{"the freelist's flags", func(b []byte) { b[free+8] = 2 }},
		{"the freelist's count", func(b []byte) { le.PutUint16(b[free+10:], 0xfffe) }},
		{"the freelist's long count", func(b []byte) { le.PutUint16(b[free+10:], 0xffff) }},
		{"a lost page", func(b []byte) { b[free+10]-- }},
		{"a free page in use", func(b []byte) { le.PutUint64(b[free+16:], f.meta.root) }},
		{"a free meta", func(b []byte) { le.PutUint64(b[free+16:], 1) }},
		{"a free page twice", func(b []byte) { copy(b[free+16:free+24], b[free+24:]) }},
		{"an inline bucket", func(b []byte) { clear(b[bucket : bucket+8]) }},
	} {
		changed := bytes.Clone(image)
		c.change(changed)
		var damage *DamageError
		if err := checkImage(t, changed); !errors.As(err, &damage) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
