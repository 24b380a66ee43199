package salvage

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/arch"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/page"
)

// forgery is a file that is made page by page, each with the right digest.
type forgery struct {
	file   []byte
	size   int
	id     [16]byte
	hasher *arch.Hasher
	check  [16]byte
}

func newForgery(pages int) *forgery {
	f := &forgery{size: page.MinSize, file: make([]byte, pages*page.MinSize)}
	f.hasher, f.check = page.Keys(nil, f.id)
	return f
}

// at returns the bytes of pages.
func (f *forgery) at(id page.ID, pages int) []byte {
	return f.file[int(id)*f.size:][:pages*f.size]
}

// seal returns the reference to what stands in the pages.
func (f *forgery) seal(id page.ID, pages int) page.Ref {
	b := f.at(id, pages)
	page.Stamp(b, id, 1)
	return page.Ref{ID: id, Birth: 1, Digest: page.Digest(f.hasher.Sum(b))}
}

// leaf makes a leaf of the cells.
func (f *forgery) leaf(id page.ID, cells ...[]byte) page.Ref { return f.node(id, 0, cells...) }

func (f *forgery) node(id page.ID, level int, cells ...[]byte) page.Ref {
	n := page.InitNode(f.at(id, 1), level)
	for i, c := range cells {
		n.Insert(i, c, make([]byte, f.size))
	}
	return f.seal(id, 1)
}

// bucket returns a cell for a bucket.
func (f *forgery) bucket(name string, root page.Ref, count uint64) []byte {
	b := make([]byte, page.BucketSize)
	page.PutBucket(b, page.Bucket{Root: root, Count: count})
	return page.AppendLeafCell(nil, page.CellBucket, page.Key{Bytes: []byte(name)}, b)
}

func child(key string, r page.Ref) []byte {
	return page.AppendBranchCell(nil, page.Key{Bytes: []byte(key)}, r)
}

func value(key, value string) []byte {
	return page.AppendLeafCell(nil, 0, page.Key{Bytes: []byte(key)}, []byte(value))
}

// finish writes the meta slots.
func (f *forgery) finish(root page.Ref, count uint64) []byte {
	for slot := range 2 {
		page.EncodeMeta(f.at(page.ID(slot), 1), &page.Meta{
			PageSize: f.size, FileID: f.id, KeyCheck: f.check, TxID: 2, DurableTx: 2,
			End: page.ID(len(f.file) / f.size), Root: page.Bucket{Root: root, Count: count},
		}, f.hasher)
	}
	return f.file
}

// run salvages the forged file. It must end in time, and what it makes is sound.
func (f *forgery) run(t *testing.T, image []byte) *salvaged {
	t.Helper()
	began := time.Now()
	got, err := (&sample{pageSize: f.size}).salvage(t, image, Options{Orphans: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pages in %v, %d losses", len(image)/f.size, time.Since(began), got.report.Losses)
	return got
}

func TestForged_DeepBuckets(t *testing.T) {
	const depth = lightning.MaxBucketDepth + 50
	f := newForgery(depth + 3)
	root := f.leaf(2, value("key", "value"))
	count := uint64(1)
	for i := range page.ID(depth) {
		root = f.leaf(3+i, f.bucket("b", root, count))
	}
	src := filepath.Join(t.TempDir(), "deep")
	if err := os.WriteFile(src, f.finish(root, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Run(context.Background(), src, src+".saved", Options{Orphans: true})
	if err != nil {
		t.Fatal(err)
	}
	if r.Buckets != lightning.MaxBucketDepth || r.Losses != 1 {
		t.Errorf("%d buckets, %v", r.Buckets, r.Lost)
	}
	if b, err := r.Lost[0].MarshalJSON(); err != nil || len(b) > 1000 || len(r.Lost[0].String()) > 1000 {
		t.Errorf("%v: %d and %d bytes", err, len(b), len(r.Lost[0].String()))
	}
}

// One page is referred to from everywhere.
func TestForged_SharedPages(t *testing.T) {
	f := newForgery(60)
	r := f.leaf(2, value("key0005", "value"))
	for level := 1; level < 40; level++ {
		var cells [][]byte
		for i := range 60 {
			key := ""
			if i > 0 {
				key = fmt.Sprintf("key%04d", i)
			}
			cells = append(cells, child(key, r))
		}
		r = f.node(page.ID(2+level), level, cells...)
	}
	root := f.leaf(50, f.bucket("bucket", r, 1<<40))
	got := f.run(t, f.finish(root, 1))
	if got.report.Losses == 0 || len(got.got) > 2 {
		t.Errorf("%d losses, %d keys", got.report.Losses, len(got.got))
	}
}

// Lengths of values that the file cannot hold, and extents that overlap.
func TestForged_Lengths(t *testing.T) {
	f := newForgery(40)
	copy(page.InitExtent(f.at(10, 3), page.TypeValue, 12000, f.size), bytes.Repeat([]byte{'v'}, 12000))
	r := f.seal(10, 3)
	inside := r
	inside.ID++
	big := func(key string, n int, r page.Ref) []byte {
		return page.AppendBigCell(nil, page.Key{Bytes: []byte(key)}, n, r)
	}
	last := page.Ref{ID: 39, Birth: 1}
	leaf := f.leaf(3, big("a", 12000, r), big("b", 12000, r), big("c", 12000, inside), big("d", 1<<31-2, r), big("e", 9000, last), big("f", 12000, page.Ref{ID: 1 << 62, Birth: 1}))
	root := f.leaf(4, f.bucket("bucket", leaf, 6), value("value in the root", "x"))
	got := f.run(t, f.finish(root, 2))
	if got.report.Losses != 6 || len(got.got) != 2 || len(got.got["bucket\x00a"]) != 12000 {
		t.Errorf("%d keys; %v", len(got.got), got.report.Lost)
	}
}

// Subtrees that overlap in their keys, and buckets that share a tree.
func TestForged_KeysInTheWrongPlace(t *testing.T) {
	f := newForgery(20)
	low := f.leaf(3, value("a", "1"), value("x", "2"))
	high := f.leaf(4, value("b", "3"), value("y", "4"))
	tree := f.node(5, 1, child("", low), child("m", high))
	root := f.leaf(6, f.bucket("one", tree, 4), f.bucket("two", tree, 4))
	got := f.run(t, f.finish(root, 2))
	want := content{"one": bucketMark + "0", "one\x00a": "1", "one\x00y": "4", "two": bucketMark + "0"}
	if fmt.Sprint(got.got) != fmt.Sprint(want) || got.report.Losses != 3 {
		t.Errorf("%q; %v", got.got, got.report.Lost)
	}
}

// A write was lost: where a branch should be stands one of an earlier time, whose
// children are all there. They are not what the newest state had.
func TestForged_LostWrite(t *testing.T) {
	f := newForgery(20)
	low := f.leaf(3, value("a", "1"), value("c", "2"))
	high := f.leaf(4, value("m", "3"))
	old := f.node(5, 1, child("", low), child("m", high))
	want := old
	want.Birth, want.Digest[0] = 2, want.Digest[0]+1
	for birth, keys := range map[page.TxID]uint64{2: 0, 1: 3} {
		want.Birth = birth
		page.InitNode(f.at(6, 1), 0).Insert(0, f.bucket("one", want, 3), make([]byte, f.size))
		page.Stamp(f.at(6, 1), 6, 2)
		root := page.Ref{ID: 6, Birth: 2, Digest: page.Digest(f.hasher.Sum(f.at(6, 1)))}
		src := filepath.Join(t.TempDir(), "src")
		if err := os.WriteFile(src, f.finish(root, 1), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Run(context.Background(), src, src+".saved", Options{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Losses != 1 || r.Saved[Attested] != keys || r.Lost[0].Saved[Attested] != keys || r.Damaged[0].Saved[Attested] != keys {
			t.Errorf("page born in 1, wanted of %d: %v, want %d keys", birth, r.Lost, keys)
		}
	}
}

// The extent of a long separator is lost: what is lost with the child on either side of it
// is said with the keys that are known, so that it is not less than what is lost.
func TestForged_LongSeparatorLost(t *testing.T) {
	long := bytes.Repeat([]byte("m"), 1000)
	for lost, inside := range [][]byte{append(bytes.Clone(long[:999]), 'a'), append(bytes.Clone(long), 'z')} {
		f := newForgery(20)
		copy(page.InitExtent(f.at(10, 1), page.TypeKey, len(long), f.size), long)
		key := page.Key{Bytes: long, Long: true, Ref: f.seal(10, 1)}
		f.at(10, 1)[2000] ^= 1
		children := []page.Ref{f.leaf(3, value("a", "1")), f.leaf(4, value("y", "4"))}
		tree := f.node(5, 1, child("", children[0]), page.AppendBranchCell(nil, key, children[1]))
		f.at(children[lost].ID, 1)[4000] ^= 1
		o := f.run(t, f.finish(f.leaf(6, f.bucket("one", tree, 2)), 1))
		if in := o.covering("one\x00" + string(inside)); len(in) != 1 || len(o.got) != 2 {
			t.Errorf("child %d: %q; %v", lost, o.got, o.report.Lost)
		}
	}
}

// Two buckets lose their trees, and what is left could belong to either.
func TestForged_AmbiguousOrphans(t *testing.T) {
	for _, upper := range []string{"x", "b"} {
		f := newForgery(20)
		f.leaf(3, value("d", "1"), value("e", "2"))
		lost := page.Ref{ID: 19, Birth: 1}
		whole := f.leaf(4, value(upper, "4"))
		one := f.node(5, 1, child("", lost), child(upper, whole))
		two := f.node(7, 1, child("", page.Ref{ID: 18, Birth: 1}), child("z", f.leaf(8, value("z", "5"))))
		o := f.run(t, f.finish(f.leaf(6, f.bucket("one", one, 3), f.bucket("two", two, 3)), 2))
		r := o.report
		switch {
		case upper == "x" && (r.AmbiguousPages != 1 || r.OrphanPages != 1 || r.Saved[Orphan] != 0):
			t.Errorf("fits both: %+v", r)
		case upper == "b" && (r.AmbiguousPages != 0 || r.OrphanPages != 1 || r.Saved[Orphan] != 2 || o.got["two\x00e"] != "2"):
			t.Errorf("fits one: %+v", r)
		}
	}
}

// failing is a file some of whose pages cannot be read.
type failing struct {
	fsync.File
	bad map[int64]bool // by page
}

func (f *failing) ReadMedium(op fsync.Op, p []byte, off int64) error {
	for at := off; at < off+int64(len(p)); at += page.MinSize {
		if f.bad[at/page.MinSize] {
			return &fsync.OpError{Op: op, Off: at, Err: syscall.EIO}
		}
	}
	return f.File.ReadMedium(op, p, off)
}

func TestRun_Unreadable(t *testing.T) {
	f := newForgery(20)
	copy(page.InitExtent(f.at(10, 3), page.TypeValue, 12000, f.size), bytes.Repeat([]byte{'v'}, 12000))
	r := f.seal(10, 3)
	low := f.leaf(3, value("a", "1"), value("c", "2"))
	high := f.leaf(4, page.AppendBigCell(nil, page.Key{Bytes: []byte("m")}, 12000, r), value("y", "4"))
	tree := f.node(5, 1, child("", low), child("m", high))
	image := f.finish(f.leaf(6, f.bucket("one", tree, 4)), 1)
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	if err := os.WriteFile(src, image, 0o600); err != nil {
		t.Fatal(err)
	}
	defer fsync.Intercept(src, func(f fsync.File) fsync.File {
		return &failing{f, map[int64]bool{0: true, 3: true, 12: true}}
	})()
	report, err := Run(context.Background(), src, dst, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := contentOf(t, dst, nil)
	want := content{"one": bucketMark + "0", "one\x00y": "4"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("saved %q, want %q", got, want)
	}
	if report.UnreadablePages != 2 || fmt.Sprint(report.Unreadable) != "[{3 1} {12 1}]" || report.Losses != 2 {
		t.Errorf("unreadable %v; %v", report.Unreadable, report.Lost)
	}
	if b := report.Damaged; len(b) != 1 || b[0].Keys != 4 || b[0].Missing != 3 || b[0].Saved[Verified] != 1 {
		t.Errorf("%+v", b)
	}
}

// Far more is lost than the file has pages: each branch asks for pages that are not what it says,
// and all of them for the same ones.
func TestForged_ManyLosses(t *testing.T) {
	const branches = 1200
	f := newForgery(branches + 300)
	first := page.ID(250)
	var level []page.Ref
	for b := range branches {
		var cells [][]byte
		for i := range 70 {
			key := ""
			if i > 0 {
				key = fmt.Sprintf("%05d%02d", b, i)
			}
			cells = append(cells, child(key, page.Ref{ID: page.ID(20 + (b+i)%200), Birth: 1}))
		}
		level = append(level, f.node(first+page.ID(b), 1, cells...))
	}
	next := first + branches
	for height := 2; len(level) > 1; height++ {
		var above []page.Ref
		for at := 0; at < len(level); at += 60 {
			var cells [][]byte
			for i, r := range level[at:min(at+60, len(level))] {
				key := ""
				if i > 0 {
					key = fmt.Sprintf("%05d", (at+i)*[]int{1, 60}[height-2])
				}
				cells = append(cells, child(key, r))
			}
			above = append(above, f.node(next, height, cells...))
			next++
		}
		level = above
	}
	o := f.run(t, f.finish(f.leaf(3, f.bucket("b", level[0], 1<<30)), 1))
	if r := o.report; r.Losses != 70*branches || len(r.Lost) != MaxListed || r.Saved.Sum() != 1 {
		t.Errorf("%d losses, %d listed, %v saved", r.Losses, len(r.Lost), r.Saved)
	}
}
