package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/seed"
)

func openStore(t *testing.T, path string, o *Options) *Store {
	t.Helper()
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := checkDB(s.db); err != nil && !errors.Is(err, lightning.ErrDatabaseNotOpen) {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func tempStore(t *testing.T, o *Options) *Store {
	t.Helper()
	return openStore(t, filepath.Join(t.TempDir(), "raft.ldb"), o)
}

func checkDB(db *lightning.DB) error {
	return db.View(func(tx *lightning.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// entries makes plain entries from lo to hi.
func entries(lo, hi uint64) []*raft.Log {
	var logs []*raft.Log
	for i := lo; i <= hi; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: 1, Data: fmt.Appendf(nil, "data %d", i)})
	}
	return logs
}

func wantRange(t *testing.T, s *Store, first, last uint64) {
	t.Helper()
	f, err1 := s.FirstIndex()
	l, err2 := s.LastIndex()
	if f != first || l != last || err1 != nil || err2 != nil {
		t.Fatalf("log is %d to %d (%v, %v), want %d to %d", f, l, err1, err2, first, last)
	}
}

func TestStore_Empty(t *testing.T) {
	s := tempStore(t, nil)
	wantRange(t, s, 0, 0)
	var l raft.Log
	if err := s.GetLog(1, &l); err != raft.ErrLogNotFound {
		t.Errorf("GetLog: %v", err)
	}
	if _, err := s.Get([]byte("k")); err == nil || err.Error() != "not found" || !errors.Is(err, ErrKeyNotFound) {
		t.Errorf("Get: %v", err)
	}
	if _, err := s.GetUint64([]byte("k")); err == nil || err.Error() != "not found" {
		t.Errorf("GetUint64: %v", err)
	}
	if i, err := s.GetCommitIndex(); i != 0 || err != nil {
		t.Errorf("GetCommitIndex: %d, %v", i, err)
	}
	must(t, s.DeleteRange(1, 100))
	must(t, s.StoreLogs(nil))
	must(t, s.Sync())
}

func TestStore_GapsAreRefused(t *testing.T) {
	s := tempStore(t, nil)
	if !s.IsMonotonic() {
		t.Error("not monotonic")
	}
	must(t, s.StoreLogs(entries(5, 9)))
	for name, logs := range map[string][]*raft.Log{
		"gap":          entries(11, 11),
		"again":        entries(9, 10),
		"before":       entries(4, 4),
		"gap in batch": append(entries(10, 11), entries(13, 13)...),
	} {
		if err := s.StoreLogs(logs); !errors.Is(err, ErrGap) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.DeleteRange(6, 8); !errors.Is(err, ErrGap) {
		t.Errorf("hole: %v", err)
	}
	wantRange(t, s, 5, 9)

	// As raft does after it has installed a snapshot.
	must(t, s.DeleteRange(5, 9))
	wantRange(t, s, 0, 0)
	must(t, s.StoreLogs(entries(101, 103)))
	wantRange(t, s, 101, 103)
	must(t, s.DeleteRange(0, 101))
	must(t, s.DeleteRange(103, math.MaxUint64))
	wantRange(t, s, 102, 102)
}

func TestStore_CommitIndex(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.ldb")
	s := openStore(t, path, nil)
	want := func(index uint64) {
		t.Helper()
		if got, err := s.GetCommitIndex(); got != index || err != nil {
			t.Fatalf("commit index %d, %v; want %d", got, err, index)
		}
	}
	must(t, s.StoreLogs(entries(1, 10)))
	must(t, s.StageCommitIndex(7))
	want(0) // staged is not stored
	if err := s.StoreLogs(entries(12, 12)); !errors.Is(err, ErrGap) {
		t.Fatal(err)
	}
	want(0)
	must(t, s.StoreLogs(entries(11, 11)))
	want(7)
	must(t, s.StageCommitIndex(50))
	must(t, s.StoreLogs(entries(12, 12)))
	want(12) // never past the log
	must(t, s.Close())
	s = openStore(t, path, nil)
	want(12)
	must(t, s.DeleteRange(9, 12))
	must(t, s.StoreLogs(entries(9, 12)))
	want(8) // 9 to 12 are others now
	must(t, s.DeleteRange(1, 12))
	want(0)
}

func TestStore_ReadOnlyAndShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "own.ldb")
	db, err := lightning.Open(path, 0o600, nil)
	must(t, err)
	s, err := New(db, nil)
	must(t, err)
	must(t, s.StoreLogs(entries(1, 3)))
	must(t, s.Close())
	if _, err := s.LastIndex(); err != nil {
		t.Errorf("Close of a shared database closed it: %v", err)
	}
	must(t, db.Close())
	ro := openStore(t, path, &Options{DB: &lightning.Options{ReadOnly: true}})
	wantRange(t, ro, 1, 3)
	if err := ro.StoreLogs(entries(4, 4)); !errors.Is(err, lightning.ErrDatabaseReadOnly) {
		t.Errorf("StoreLogs read-only: %v", err)
	}

	own := openStore(t, filepath.Join(t.TempDir(), "closed.ldb"), nil)
	wantRange(t, own, 0, 0)
	must(t, own.Close())
	if _, err := own.LastIndex(); !errors.Is(err, lightning.ErrDatabaseNotOpen) {
		t.Errorf("LastIndex after Close: %v", err)
	}

	none := filepath.Join(t.TempDir(), "none.ldb")
	db, err = lightning.Open(none, 0o600, nil)
	must(t, err)
	must(t, db.Close())
	if _, err := Open(none, &Options{DB: &lightning.Options{ReadOnly: true}}); !errors.Is(err, lightning.ErrBucketNotFound) {
		t.Errorf("read-only without buckets: %v", err)
	}
}

func TestStore_ForeignEntriesAreErrors(t *testing.T) {
	s := tempStore(t, nil)
	must(t, s.StoreLogs(entries(1, 3)))
	must(t, s.SetUint64([]byte("n"), 5))
	must(t, s.Set([]byte("text"), []byte("hello")))
	must(t, s.Set([]byte("empty"), nil))
	if v, err := s.Get([]byte("empty")); err != nil || len(v) != 0 {
		t.Errorf("empty value: %q, %v", v, err)
	}
	if err := s.Set(nil, []byte("v")); !errors.Is(err, lightning.ErrKeyRequired) {
		t.Errorf("empty key: %v", err)
	}
	if _, err := s.GetUint64([]byte("text")); !errors.Is(err, ErrBadEntry) {
		t.Errorf("GetUint64 of text: %v", err)
	}
	must(t, s.db.Update(func(tx *lightning.Tx) error {
		b := tx.Bucket(logBucket)
		return errors.Join(b.Put(indexKey(2), []byte("foreign")), b.Put([]byte("zzz"), []byte("foreign")))
	}))
	var l raft.Log
	if err := s.GetLog(2, &l); !errors.Is(err, ErrBadEntry) {
		t.Errorf("GetLog: %v", err)
	}
	if _, err := s.LastIndex(); !errors.Is(err, ErrBadEntry) {
		t.Errorf("LastIndex: %v", err)
	}
	if err := s.StoreLogs(entries(4, 4)); !errors.Is(err, ErrBadEntry) {
		t.Errorf("StoreLogs: %v", err)
	}
	must(t, s.GetLog(3, &l))
}

func TestStore_GetLogGivesACopy(t *testing.T) {
	s := tempStore(t, nil)
	must(t, s.StoreLogs(entries(1, 1)))
	var l raft.Log
	must(t, s.GetLog(1, &l))
	copy(l.Data, "xxxx")
	var again raft.Log
	must(t, s.GetLog(1, &again))
	if string(again.Data) != "data 1" {
		t.Errorf("got %q", again.Data)
	}
}

// TestStore_Concurrent appends and truncates from two goroutines: who has
// changed an end of the log sees it at once.
func TestStore_Concurrent(t *testing.T) {
	s := tempStore(t, nil)
	must(t, s.StoreLogs(entries(1, 1000)))
	stop := make(chan struct{})
	var background, changing sync.WaitGroup
	background.Go(func() {
		for last := uint64(0); ; {
			select {
			case <-stop:
				return
			default:
			}
			now, err := s.LastIndex()
			if err != nil || now < last {
				t.Errorf("last index %d after %d, %v", now, last, err)
				return
			}
			last = now
		}
	})
	changing.Go(func() {
		for i := uint64(1001); i < 1100; i++ {
			if err := s.StoreLogs(entries(i, i)); err != nil {
				t.Error(err)
			}
			if last, err := s.LastIndex(); last != i || err != nil {
				t.Errorf("last index %d, %v; stored %d", last, err, i)
			}
		}
	})
	changing.Go(func() {
		for i := uint64(1); i < 100; i++ {
			if err := s.DeleteRange(0, i); err != nil {
				t.Error(err)
			}
			if first, err := s.FirstIndex(); first != i+1 || err != nil {
				t.Errorf("first index %d, %v; deleted up to %d", first, err, i)
			}
		}
	})
	changing.Wait()
	close(stop)
	background.Wait()
}

// world is a Store beside a map, and beside raft's own store in memory as long
// as the program does nothing that the latter gets wrong.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	path  string
	o     *Options
	s     *Store
	logs  map[uint64]*raft.Log
	kv    map[string][]byte
	inmem *raft.InmemStore
}

func (w *world) edges() (first, last uint64) {
	if len(w.logs) == 0 {
		return 0, 0
	}
	indexes := slices.Sorted(maps.Keys(w.logs))
	return indexes[0], indexes[len(indexes)-1]
}

func (w *world) randomLog(index uint64) *raft.Log {
	l := &raft.Log{Index: index, Term: w.rng.Uint64N(1000), Type: raft.LogType(w.rng.IntN(6))}
	if w.rng.IntN(4) > 0 {
		l.Data = bytes.Repeat([]byte{byte(index)}, w.rng.IntN(300))
	}
	if w.rng.IntN(50) == 0 {
		l.Data = bytes.Repeat([]byte{byte(index)}, 20_000)
	}
	if w.rng.IntN(5) == 0 {
		l.Extensions = []byte("extension")
	}
	if w.rng.IntN(2) == 0 {
		l.AppendedAt = time.Unix(w.rng.Int64N(1<<33), w.rng.Int64N(1e9))
	}
	return l
}

func (w *world) step() {
	first, last := w.edges()
	switch k := w.rng.IntN(20); {
	case k < 10: // append
		if last == 0 {
			last = w.rng.Uint64N(100)
		}
		var logs []*raft.Log
		for i := range uint64(1 + w.rng.IntN(30)) {
			logs = append(logs, w.randomLog(last+1+i))
		}
		must(w.t, w.s.StoreLogs(logs))
		must(w.t, w.inmem.StoreLogs(logs))
		for _, l := range logs {
			w.logs[l.Index] = l
		}
	case k < 13: // the front, the back, or, now and then, all
		if last == 0 {
			return
		}
		lo, hi := first, first+w.rng.Uint64N(last-first+1)
		if k == 11 {
			lo, hi = last-w.rng.Uint64N(last-first+1), last
		}
		must(w.t, w.s.DeleteRange(lo, hi))
		must(w.t, w.inmem.DeleteRange(lo, hi))
		maps.DeleteFunc(w.logs, func(i uint64, _ *raft.Log) bool { return lo <= i && i <= hi })
	case k < 16:
		key, value := fmt.Appendf(nil, "key%d", w.rng.IntN(10)), fmt.Appendf(nil, "value%d", w.rng.IntN(1000))
		must(w.t, w.s.Set(key, value))
		must(w.t, w.inmem.Set(key, value))
		w.kv[string(key)] = value
	case k < 18:
		key, n := fmt.Appendf(nil, "number%d", w.rng.IntN(4)), w.rng.Uint64()
		must(w.t, w.s.SetUint64(key, n))
		must(w.t, w.inmem.SetUint64(key, n))
		if got, err := w.s.GetUint64(key); got != n || err != nil {
			w.t.Fatalf("GetUint64 %d, %v; want %d", got, err, n)
		}
	case k == 18:
		must(w.t, w.s.Close())
		s, err := Open(w.path, w.o)
		must(w.t, err)
		w.s = s
	default:
		w.compare()
	}
}

func (w *world) compare() {
	first, last := w.edges()
	wantRange(w.t, w.s, first, last)
	if f, _ := w.inmem.FirstIndex(); f != first {
		w.t.Fatalf("raft's own store begins at %d, the model at %d", f, first)
	}
	for i := first; i <= last+1; i++ {
		var got, oracle raft.Log
		err, oracleErr := w.s.GetLog(i, &got), w.inmem.GetLog(i, &oracle)
		want := w.logs[i]
		if err != oracleErr || (err == nil) != (want != nil) {
			w.t.Fatalf("entry %d: %v, raft's own store %v", i, err, oracleErr)
		}
		if want != nil && (!sameLog(want, &got) || !sameLog(&oracle, &got)) {
			w.t.Fatalf("entry %d is %+v, want %+v", i, got, want)
		}
	}
	for key, want := range w.kv {
		got, err := w.s.Get([]byte(key))
		oracle, _ := w.inmem.Get([]byte(key))
		if err != nil || !bytes.Equal(got, want) || !bytes.Equal(got, oracle) {
			w.t.Fatalf("%s = %q, %v; want %q, raft's own store %q", key, got, err, want, oracle)
		}
	}
}

func TestStore_Model(t *testing.T) {
	rng := seed.Rand(t)
	for _, gaps := range []bool{false, true} {
		w := &world{
			t: t, rng: rng, path: filepath.Join(t.TempDir(), "raft.ldb"), o: &Options{AllowGaps: gaps},
			logs: map[uint64]*raft.Log{}, kv: map[string][]byte{}, inmem: raft.NewInmemStore(),
		}
		w.s = openStore(t, w.path, w.o)
		for range 400 {
			w.step()
		}
		w.compare()
		must(t, checkDB(w.s.db))
		must(t, w.s.Close())
	}
}

// TestStore_ModelOfGaps compares with the map alone: raft's own store does not
// look for the first entry behind a hole.
func TestStore_ModelOfGaps(t *testing.T) {
	rng := seed.Rand(t)
	s := tempStore(t, &Options{AllowGaps: true})
	if s.IsMonotonic() {
		t.Error("monotonic")
	}
	w := &world{t: t, rng: rng, logs: map[uint64]*raft.Log{}}
	for range 200 {
		if rng.IntN(3) > 0 {
			l := w.randomLog(1 + rng.Uint64N(200))
			must(t, s.StoreLog(l))
			w.logs[l.Index] = l
		} else {
			lo := rng.Uint64N(200)
			hi := lo + rng.Uint64N(40)
			must(t, s.DeleteRange(lo, hi))
			maps.DeleteFunc(w.logs, func(i uint64, _ *raft.Log) bool { return lo <= i && i <= hi })
		}
		first, last := w.edges()
		wantRange(t, s, first, last)
	}
	for i := range uint64(202) {
		var got raft.Log
		err := s.GetLog(i, &got)
		if want := w.logs[i]; want == nil && err != raft.ErrLogNotFound || want != nil && !sameLog(want, &got) {
			t.Fatalf("entry %d is %+v, %v; want %+v", i, got, err, want)
		}
	}
}
