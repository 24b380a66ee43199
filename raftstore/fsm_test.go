package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/seed"
)

var users = Path{"users"}

func openFSM(t *testing.T, path string, o *FSMOptions) *FSM {
	t.Helper()
	f, err := OpenFSM(path, o)
	must(t, err)
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func tempFSM(t *testing.T) *FSM {
	t.Helper()
	return openFSM(t, filepath.Join(t.TempDir(), "data.ldb"), nil)
}

func apply(t *testing.T, f *FSM, index uint64, b *Batch) {
	t.Helper()
	if r := f.Apply(&raft.Log{Index: index, Data: b.Bytes()}); r != nil {
		t.Fatalf("command %d: %v", index, r)
	}
}

// putCommand stores what value reads.
func putCommand(v string) *Batch {
	b := new(Batch)
	b.CreateBucketIfNotExists(users)
	b.Put(users, []byte("who"), []byte(v))
	return b
}

func value(t *testing.T, f *FSM) (v string) {
	t.Helper()
	must(t, f.View(func(tx *lightning.Tx) error {
		if b := tx.Bucket([]byte("users")); b != nil {
			v = string(b.Get([]byte("who")))
		}
		return nil
	}))
	return v
}

// sink is a raft.SnapshotSink in memory.
type sink struct {
	bytes.Buffer
	fail              error // of Write
	closed, cancelled bool
}

func (s *sink) Write(p []byte) (int, error) {
	if s.fail != nil {
		return 0, s.fail
	}
	return s.Buffer.Write(p)
}
func (s *sink) ID() string    { return "sink" }
func (s *sink) Close() error  { s.closed = true; return nil }
func (s *sink) Cancel() error { s.cancelled = true; return nil }

func snapshotOf(t *testing.T, f *FSM) []byte {
	t.Helper()
	snap, err := f.Snapshot()
	must(t, err)
	defer snap.Release()
	var s sink
	must(t, snap.Persist(&s))
	if !s.closed || s.cancelled {
		t.Errorf("sink closed %v, cancelled %v", s.closed, s.cancelled)
	}
	return s.Bytes()
}

// dump lists all that a database holds, but for the FSM's own bucket.
func dump(t *testing.T, f *FSM) string {
	t.Helper()
	var out strings.Builder
	var walk func(b *lightning.Bucket, depth int) error
	walk = func(b *lightning.Bucket, depth int) error {
		fmt.Fprintf(&out, " seq=%d\n", b.Sequence())
		return b.ForEach(func(k, v []byte) error {
			fmt.Fprintf(&out, "%*s%q", depth, "", k)
			if child := b.Bucket(k); child != nil {
				return walk(child, depth+1)
			}
			fmt.Fprintf(&out, "=%q\n", v)
			return nil
		})
	}
	must(t, f.View(func(tx *lightning.Tx) error {
		return tx.ForEach(func(name []byte, b *lightning.Bucket) error {
			if bytes.Equal(name, fsmBucket) {
				return nil
			}
			fmt.Fprintf(&out, "%q", name)
			return walk(b, 1)
		})
	}))
	return out.String()
}

func TestFSM_Operations(t *testing.T) {
	f := tempFSM(t)
	eu := Path{"users", "eu"}
	var b Batch
	b.CreateBucket(users)
	b.CreateBucket(eu)
	b.Put(users, []byte("a"), []byte("1"))
	b.Put(eu, []byte("b"), []byte{})
	b.Expect(eu, []byte("b"), []byte{})
	b.Expect(eu, []byte("c"), nil)
	b.Expect(Path{"nowhere"}, []byte("c"), nil)
	for i := range 10 {
		b.Put(eu, fmt.Appendf(nil, "k%d", i), []byte("v"))
	}
	b.DeleteRange(eu, []byte("k2"), []byte("k8"))
	b.DeleteRange(eu, []byte("k9"), nil)
	b.Delete(eu, []byte("k0"))
	b.Delete(eu, []byte("missing"))
	b.SetSequence(eu, 77)
	b.CreateBucketIfNotExists(Path{"x", "y", "z"})
	b.Put(Path{"x", "y", "z"}, []byte("deep"), []byte("yes"))
	b.CreateBucket(Path{"gone"})
	b.DeleteBucket(Path{"gone"})
	if b.Len() != 26 {
		t.Errorf("Len %d", b.Len())
	}
	apply(t, f, 5, &b)
	want := "\"users\" seq=0\n \"a\"=\"1\"\n \"eu\" seq=77\n  \"b\"=\"\"\n  \"k1\"=\"v\"\n  \"k8\"=\"v\"\n" +
		"\"x\" seq=0\n \"y\" seq=0\n  \"z\" seq=0\n   \"deep\"=\"yes\"\n"
	if got := dump(t, f); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if f.AppliedIndex() != 5 {
		t.Errorf("applied %d", f.AppliedIndex())
	}
}

// TestFSM_FailuresLeaveNothing has each kind of failure behind a Put that would
// have worked, between two commands that work.
func TestFSM_FailuresLeaveNothing(t *testing.T) {
	eu := Path{"users", "eu"}
	for name, c := range map[string]struct {
		add  func(*Batch)
		want error
	}{
		"no bucket":         {func(b *Batch) { b.Put(Path{"none"}, []byte("k"), nil) }, lightning.ErrBucketNotFound},
		"no outer bucket":   {func(b *Batch) { b.CreateBucket(Path{"none", "in"}) }, lightning.ErrBucketNotFound},
		"delete no bucket":  {func(b *Batch) { b.DeleteBucket(Path{"none"}) }, lightning.ErrBucketNotFound},
		"bucket exists":     {func(b *Batch) { b.CreateBucket(eu) }, lightning.ErrBucketExists},
		"no name":           {func(b *Batch) { b.CreateBucket(Path{""}) }, lightning.ErrBucketNameRequired},
		"root":              {func(b *Batch) { b.Put(nil, []byte("k"), nil) }, lightning.ErrBucketNameRequired},
		"no key":            {func(b *Batch) { b.Put(users, nil, nil) }, lightning.ErrKeyRequired},
		"long key":          {func(b *Batch) { b.Put(users, make([]byte, lightning.MaxKeySize+1), nil) }, lightning.ErrKeyTooLarge},
		"bucket as key":     {func(b *Batch) { b.Put(users, []byte("eu"), nil) }, lightning.ErrIncompatibleValue},
		"key as bucket":     {func(b *Batch) { b.CreateBucketIfNotExists(Path{"users", "who", "x"}) }, lightning.ErrIncompatibleValue},
		"bucket in range":   {func(b *Batch) { b.DeleteRange(users, nil, nil) }, lightning.ErrIncompatibleValue},
		"expect other":      {func(b *Batch) { b.Expect(users, []byte("who"), []byte("other")) }, ErrExpectation},
		"expect none":       {func(b *Batch) { b.Expect(users, []byte("who"), nil) }, ErrExpectation},
		"expect no bucket":  {func(b *Batch) { b.Expect(users, []byte("eu"), nil) }, ErrExpectation},
		"expect some":       {func(b *Batch) { b.Expect(users, []byte("nobody"), []byte{}) }, ErrExpectation},
		"reserved":          {func(b *Batch) { b.DeleteBucket(Path{"raft.fsm"}) }, ErrReservedBucket},
		"unknown operation": {func(b *Batch) { b.add(users, 200) }, ErrBadCommand},
		"cut":               {func(b *Batch) { b.add(users, opPut) }, ErrBadCommand},
	} {
		t.Run(name, func(t *testing.T) {
			f := tempFSM(t)
			apply(t, f, 1, putCommand("one"))
			var mid Batch
			mid.CreateBucket(eu)
			apply(t, f, 2, &mid)
			before := dump(t, f)
			var bad Batch
			bad.Put(users, []byte("partial"), []byte("trace"))
			c.add(&bad)
			logs := []*raft.Log{
				{Index: 3, Data: putCommand("two").Bytes()},
				{Index: 4, Data: bad.Bytes()},
				{Index: 5, Type: raft.LogConfiguration, Data: []byte("not a command")},
				{Index: 6, Data: putCommand("three").Bytes()},
				{Index: 7, Data: bad.Bytes()},
			}
			responses := f.ApplyBatch(logs)
			for _, i := range []int{1, 4} {
				var ce *CommandError
				err, _ := responses[i].(error)
				if !errors.As(err, &ce) || !errors.Is(err, c.want) || ce.Op != 1 {
					t.Errorf("response %d: %v", i, err)
				}
			}
			if responses[0] != nil || responses[2] != nil || responses[3] != nil {
				t.Errorf("responses %v", responses)
			}
			if got, want := dump(t, f), strings.Replace(before, `"one"`, `"three"`, 1); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			if f.AppliedIndex() != 7 || f.Err() != nil {
				t.Errorf("applied %d, %v", f.AppliedIndex(), f.Err())
			}
		})
	}
}

func TestFSM_NothingIsAppliedTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data.ldb")
	f := openFSM(t, path, nil)
	apply(t, f, 10, putCommand("ten"))
	apply(t, f, 11, putCommand("eleven"))
	must(t, f.Close())
	f = openFSM(t, path, nil)
	if f.AppliedIndex() != 11 {
		t.Errorf("applied %d", f.AppliedIndex())
	}
	apply(t, f, 10, putCommand("again"))
	f.ApplyBatch([]*raft.Log{{Index: 11, Data: putCommand("again").Bytes()}, {Index: 12, Type: raft.LogConfiguration}})
	if got := value(t, f); got != "eleven" {
		t.Errorf("got %q", got)
	}
	apply(t, f, 13, putCommand("thirteen"))
	if got := value(t, f); got != "thirteen" {
		t.Errorf("got %q", got)
	}
}

// randomBatch makes changes of few names, so that many fail.
func randomBatch(rng *rand.Rand) *Batch {
	b := new(Batch)
	path := func() Path {
		p := Path{string(rune('A' + rng.IntN(3)))}
		for rng.IntN(3) == 0 {
			p = append(p, string(rune('a'+rng.IntN(3))))
		}
		return p
	}
	key := func() []byte { return fmt.Appendf(nil, "%c", 'a'+rng.IntN(8)) }
	for range 1 + rng.IntN(4) {
		switch k := rng.IntN(14); {
		case k < 5:
			b.Put(path(), key(), bytes.Repeat(key(), rng.IntN(3)*rng.IntN(900)))
		case k == 5:
			b.Delete(path(), key())
		case k == 6:
			b.DeleteRange(path(), []byte("d"), key())
		case k == 7:
			b.CreateBucket(path())
		case k < 11:
			b.CreateBucketIfNotExists(path())
		case k == 11:
			b.DeleteBucket(path())
		case k == 12:
			b.SetSequence(path(), rng.Uint64N(100))
		default:
			b.Expect(path(), key(), nil)
		}
	}
	return b
}

// TestFSM_Deterministic applies the same commands in groups of other sizes, with
// restarts, replays and restores on one side: the responses and the contents
// come out equal.
func TestFSM_Deterministic(t *testing.T) {
	rng := seed.Rand(t)
	path := filepath.Join(t.TempDir(), "grouped.ldb")
	one, grouped := tempFSM(t), openFSM(t, path, nil)
	var failed, worked int
	index := uint64(0)
	for range 60 {
		var logs []*raft.Log
		for range 1 + rng.IntN(12) {
			index++
			logs = append(logs, &raft.Log{Index: index, Data: randomBatch(rng).Bytes()})
		}
		got := grouped.ApplyBatch(logs)
		for i, l := range logs {
			want := one.Apply(l)
			if !reflect.DeepEqual(got[i], want) {
				t.Fatalf("command %d: %v in a group, %v alone", l.Index, got[i], want)
			}
			if want == nil {
				worked++
			} else {
				failed++
			}
		}
		if a, b := dump(t, one), dump(t, grouped); a != b {
			t.Fatalf("alone\n%sin a group\n%s", a, b)
		}
		switch rng.IntN(6) {
		case 0:
			must(t, grouped.Close())
			grouped = openFSM(t, path, nil)
			grouped.ApplyBatch(logs)
		case 1:
			must(t, grouped.Restore(io.NopCloser(bytes.NewReader(snapshotOf(t, one)))))
		}
	}
	if failed < 20 || worked < 20 {
		t.Errorf("%d commands failed, %d worked", failed, worked)
	}
	must(t, checkDB(grouped.db.Load()))
}

// TestFSM_FailedMachine fills the database: commands are then answered with an
// error and not counted as applied, and a restart goes on where they failed.
func TestFSM_FailedMachine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data.ldb")
	told := make(chan error, 10)
	f := openFSM(t, path, &FSMOptions{
		DB:        &lightning.Options{MaxSize: 1 << 20},
		OnFailure: func(err error) { told <- err },
	})
	apply(t, f, 1, putCommand("one"))
	big := putCommand(strings.Repeat("x", 4<<20))
	for _, index := range []uint64{2, 3} {
		err, _ := f.Apply(&raft.Log{Index: index, Data: big.Bytes()}).(error)
		var ce *CommandError
		if !errors.Is(err, lightning.ErrMaxSizeReached) || errors.As(err, &ce) {
			t.Fatalf("response: %v", err)
		}
	}
	if _, err := f.Snapshot(); !errors.Is(err, lightning.ErrMaxSizeReached) {
		t.Errorf("Snapshot: %v", err)
	}
	if len(told) != 1 || f.AppliedIndex() != 1 || value(t, f) != "one" || f.Err() == nil {
		t.Errorf("told %d times, applied %d, %v", len(told), f.AppliedIndex(), f.Err())
	}
	must(t, f.Close())
	f = openFSM(t, path, nil)
	apply(t, f, 2, putCommand("two"))
	if value(t, f) != "two" {
		t.Error("did not go on")
	}
}

func TestFSM_OptionsThatCannotBe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data.ldb")
	if _, err := OpenFSM(path, &FSMOptions{DB: &lightning.Options{ReadOnly: true}}); err == nil {
		t.Error("ReadOnly accepted")
	}
}

// TestFSM_LessDurable sees and snapshots what was applied in every mode.
func TestFSM_LessDurable(t *testing.T) {
	for _, d := range []lightning.Durability{lightning.Sync, lightning.NoSync, lightning.Periodic(time.Hour)} {
		f := openFSM(t, filepath.Join(t.TempDir(), "data.ldb"), &FSMOptions{DB: &lightning.Options{Durability: d}})
		apply(t, f, 1, putCommand("one"))
		stream := snapshotOf(t, f)
		apply(t, f, 2, putCommand("two"))
		if value(t, f) != "two" {
			t.Errorf("%v: two is not seen", d)
		}
		must(t, f.Restore(io.NopCloser(bytes.NewReader(stream))))
		if value(t, f) != "one" {
			t.Errorf("%v: got %q", d, value(t, f))
		}
	}
}

func FuzzCommand(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		f.Add(randomBatch(rng).Bytes())
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, command []byte) {
		db, err := lightning.Open(filepath.Join(t.TempDir(), "fuzz.ldb"), 0o600, &lightning.Options{Durability: lightning.NoSync})
		must(t, err)
		defer func() { must(t, db.Close()) }()
		err = db.Update(func(tx *lightning.Tx) error { return execute(tx, command) })
		var ce *CommandError
		if err != nil && !errors.As(err, &ce) {
			t.Fatalf("not the command's fault: %v", err)
		}
		must(t, checkDB(db))
		if ops, ok := decodeAll(command); ok {
			again, ok := decodeAll(encodeAll(ops))
			if !ok || !reflect.DeepEqual(ops, again) {
				t.Fatalf("%v came back as %v", ops, again)
			}
		} else if err == nil {
			t.Fatalf("executed what cannot be read: % x", command)
		}
	})
}

// located is an operation with the bucket that it is in.
type located struct {
	operation
	path Path
}

func decodeAll(command []byte) (ops []located, ok bool) {
	r := reader{b: command}
	if r.byte() != batchVersion {
		return nil, false
	}
	var in Path
	for len(r.b) > 0 {
		op := r.operation()
		switch {
		case op.kind == opIn:
			in = op.in
		case in == nil:
			return nil, false
		default:
			ops = append(ops, located{op, in})
		}
	}
	return ops, !r.bad
}

func encodeAll(ops []located) []byte {
	var b Batch
	for _, op := range ops {
		switch op.kind {
		case opPut:
			b.Put(op.path, op.key, op.value)
		case opDelete:
			b.Delete(op.path, op.key)
		case opDeleteRange:
			b.DeleteRange(op.path, op.key, op.value)
		case opCreateBucket:
			b.CreateBucket(op.path)
		case opCreateBucketIfNotExists:
			b.CreateBucketIfNotExists(op.path)
		case opDeleteBucket:
			b.DeleteBucket(op.path)
		case opSetSequence:
			b.SetSequence(op.path, op.number)
		case opExpect:
			b.Expect(op.path, op.key, op.value)
		}
	}
	return b.Bytes()
}
