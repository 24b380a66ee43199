package raftstore

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/fsync"
)

// TestFSM_RestoreRefusesDamage gives Restore streams that are not a database as
// it was written: the old one stays, and works.
func TestFSM_RestoreRefusesDamage(t *testing.T) {
	other := tempFSM(t)
	for i := range uint64(200) {
		var b Batch
		b.CreateBucketIfNotExists(users)
		b.Put(users, indexKey(i), bytes.Repeat([]byte{byte(i)}, 100))
		apply(t, other, i+1, &b)
	}
	whole := snapshotOf(t, other)
	broken := errors.New("connection lost")
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		source io.Reader
		want   error
	}{
		"empty":    {bytes.NewReader(nil), ErrBadSnapshot},
		"garbage":  {bytes.NewReader(bytes.Repeat([]byte("garbage"), 3000)), ErrBadSnapshot},
		"cut":      {bytes.NewReader(whole[:len(whole)/2]), ErrBadSnapshot},
		"too long": {io.MultiReader(bytes.NewReader(whole), bytes.NewReader(make([]byte, 4096))), ErrBadSnapshot},
		"lost":     {io.MultiReader(bytes.NewReader(whole[:8192]), readerFunc(func([]byte) (int, error) { return 0, broken })), broken},
		"one bit":  {bytes.NewReader(flipped), nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "data.ldb")
			f := openFSM(t, path, nil)
			apply(t, f, 1, putCommand("old"))
			err := f.Restore(io.NopCloser(c.source))
			if c.want == nil && err == nil {
				// The bit was in a page that is not in use, and so is not data.
				if a, b := dump(t, f), dump(t, other); a != b {
					t.Error("damage was restored")
				}
				return
			}
			if c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("Restore: %v", err)
			}
			if _, err := os.Stat(f.restorePath()); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("left behind: %v", err)
			}
			if value(t, f) != "old" || f.Err() != nil {
				t.Errorf("got %q, %v", value(t, f), f.Err())
			}
			apply(t, f, 2, putCommand("still works"))
		})
	}
}

// TestFSM_RestoreFailsAfterRenaming makes the database unreadable as soon as it
// has its name. Readers stay with the old one, nothing more is applied, and the
// next start finds the new one.
func TestFSM_RestoreFailsAfterRenaming(t *testing.T) {
	other := tempFSM(t)
	apply(t, other, 1, putCommand("new"))
	stream := snapshotOf(t, other)
	path := filepath.Join(t.TempDir(), "data.ldb")
	f, err := OpenFSM(path, nil)
	must(t, err)
	apply(t, f, 1, putCommand("old"))
	remove := fsync.Intercept(path, func(file fsync.File) fsync.File {
		faults := fsync.NewFaults(file)
		faults.FailAlways(fsync.OpMetaRead, syscall.EIO)
		return faults
	})
	err = f.Restore(io.NopCloser(bytes.NewReader(stream)))
	remove()
	if !errors.Is(err, syscall.EIO) || !errors.Is(f.Err(), syscall.EIO) {
		t.Fatalf("Restore: %v, Err: %v", err, f.Err())
	}
	if response, _ := f.Apply(&raft.Log{Index: 2, Data: putCommand("lost").Bytes()}).(error); !errors.Is(response, syscall.EIO) {
		t.Errorf("response: %v", response)
	}
	if value(t, f) != "old" {
		t.Errorf("got %q", value(t, f))
	}
	must(t, f.Close())
	f = openFSM(t, path, nil)
	if value(t, f) != "new" {
		t.Errorf("after the next start got %q", value(t, f))
	}

	// A restore that works makes up for one that did not.
	faultyPath := filepath.Join(t.TempDir(), "data.ldb")
	f = openFSM(t, faultyPath, nil)
	f.fail(syscall.ENOSPC)
	must(t, f.Restore(io.NopCloser(bytes.NewReader(stream))))
	apply(t, f, 2, putCommand("goes on"))
}

// TestFSM_ReadersDuringRestore has readers that begin before and during
// restores: each sees one state, whole, and none waits.
func TestFSM_ReadersDuringRestore(t *testing.T) {
	f, other := tempFSM(t), tempFSM(t)
	apply(t, f, 1, putCommand("old"))
	apply(t, other, 1, putCommand("new"))
	stream := snapshotOf(t, other)

	snap, err := f.Snapshot() // persisted only after the restore
	must(t, err)
	must(t, f.View(func(tx *lightning.Tx) error {
		if err := f.Restore(io.NopCloser(bytes.NewReader(stream))); err != nil {
			return err
		}
		if got := tx.Bucket([]byte("users")).Get([]byte("who")); string(got) != "old" {
			t.Errorf("the reader from before sees %q", got)
		}
		if value(t, f) != "new" {
			t.Errorf("a reader from after sees %q", value(t, f))
		}
		return nil
	}))
	var s sink
	must(t, snap.Persist(&s))
	snap.Release()
	snap.Release()
	must(t, f.Restore(io.NopCloser(bytes.NewReader(s.Bytes()))))
	if value(t, f) != "old" {
		t.Errorf("the snapshot from before holds %q", value(t, f))
	}

	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := value(t, f); got != "old" && got != "new" {
					t.Errorf("read %q", got)
					return
				}
			}
		})
	}
	for range 5 {
		must(t, f.Restore(io.NopCloser(bytes.NewReader(stream))))
		apply(t, f, 2, putCommand("new"))
		must(t, f.Restore(io.NopCloser(bytes.NewReader(s.Bytes()))))
	}
	close(stop)
	readers.Wait()
}

func TestFSM_PersistFails(t *testing.T) {
	f := tempFSM(t)
	apply(t, f, 1, putCommand("one"))
	snap, err := f.Snapshot()
	must(t, err)
	full := &sink{fail: errors.New("sink is full")}
	if err := snap.Persist(full); !errors.Is(err, full.fail) || !full.cancelled || full.closed {
		t.Errorf("Persist: %v, %+v", err, full)
	}
	snap.Release()
}

// TestFSM_RestoreOfOtherNumbers restores a database whose applied index is far
// ahead of this cluster's log: the commands that follow are not taken for old.
func TestFSM_RestoreOfOtherNumbers(t *testing.T) {
	f, other := tempFSM(t), tempFSM(t)
	apply(t, other, 1_000_000, putCommand("other"))
	must(t, f.Restore(io.NopCloser(bytes.NewReader(snapshotOf(t, other)))))
	if f.AppliedIndex() != 0 {
		t.Errorf("applied %d", f.AppliedIndex())
	}
	apply(t, f, 7, putCommand("seven"))
	if value(t, f) != "seven" {
		t.Errorf("got %q", value(t, f))
	}
}

// TestFSM_RestoreOfPlainDatabase brings in a database that no FSM has seen.
func TestFSM_RestoreOfPlainDatabase(t *testing.T) {
	db, err := lightning.Open(filepath.Join(t.TempDir(), "plain.ldb"), 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *lightning.Tx) error {
		b, err := tx.CreateBucket([]byte("users"))
		must(t, err)
		return b.Put([]byte("who"), []byte("plain"))
	}))
	var stream bytes.Buffer
	must(t, db.View(func(tx *lightning.Tx) error {
		_, err := tx.WriteTo(&stream)
		return err
	}))
	must(t, db.Close())
	f := tempFSM(t)
	must(t, f.Restore(io.NopCloser(&stream)))
	if value(t, f) != "plain" {
		t.Errorf("got %q", value(t, f))
	}
}

func TestFSM_RestoreNewest(t *testing.T) {
	snapshots, err := raft.NewFileSnapshotStore(t.TempDir(), 1, io.Discard)
	must(t, err)
	source, f := tempFSM(t), tempFSM(t)
	must(t, f.RestoreNewest(snapshots)) // there is none
	apply(t, source, 8, putCommand("snapshot"))
	s, err := snapshots.Create(raft.SnapshotVersionMax, 10, 1, raft.Configuration{}, 1, nil)
	must(t, err)
	snap, err := source.Snapshot()
	must(t, err)
	must(t, snap.Persist(s))
	snap.Release()

	apply(t, f, 9, putCommand("behind"))
	must(t, f.RestoreNewest(snapshots))
	if value(t, f) != "snapshot" || f.AppliedIndex() != 10 {
		t.Errorf("got %q at %d", value(t, f), f.AppliedIndex())
	}
	apply(t, f, 11, putCommand("ahead"))
	must(t, f.RestoreNewest(snapshots))
	if value(t, f) != "ahead" {
		t.Errorf("got %q", value(t, f))
	}
}
