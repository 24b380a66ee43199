package powerfs_test

import (
	"errors"
	"log"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/fsync"
)

// heard is closed by the first write: of a logger's first message.
type heard struct {
	once sync.Once
	c    chan struct{}
}

func (h *heard) Write(p []byte) (int, error) {
	h.once.Do(func() { close(h.c) })
	return len(p), nil
}

// TestPower saw Close return nil after the sync of Periodic had failed in the
// background. Nobody was told that the last commits are lost; Close, which
// makes everything durable, has to say so.
func TestClose_AfterPeriodicSyncFailed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "periodic.db")
	var faults *fsync.Faults
	defer fsync.Intercept(path, func(f fsync.File) fsync.File {
		faults = fsync.NewFaults(f)
		faults.Fail(fsync.OpSync, 1, syscall.EIO)
		return faults
	})()
	said := &heard{c: make(chan struct{})}
	db, err := lightning.Open(path, 0o600, &lightning.Options{
		Durability: lightning.Periodic(time.Millisecond),
		Logger:     &lightning.DefaultLogger{Logger: log.New(said, "", 0)},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *lightning.Tx) error {
		_, err := tx.CreateBucket([]byte("b"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	<-said.c // the sync has failed
	if err := db.Close(); !errors.Is(err, lightning.ErrPoisoned) || !errors.Is(err, syscall.EIO) {
		t.Errorf("Close: got %v, want %v for %v", err, lightning.ErrPoisoned, syscall.EIO)
	}
}
