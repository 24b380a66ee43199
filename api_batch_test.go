package lightning_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
)

func putNumber(i int) func(tx *lightning.Tx) error {
	return func(tx *lightning.Tx) error {
		return tx.Bucket([]byte("b")).Put([]byte(numberedKey(i)), []byte(fmt.Sprint(i)))
	}
}

func TestDB_Batch_Concurrent(t *testing.T) {
	db := openDB(t, nil)
	fillBucket(t, db, 0)
	const calls = 400
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			if err := db.Batch(putNumber(i)); err != nil {
				t.Errorf("Batch: %v", err)
			}
			err := db.View(func(tx *lightning.Tx) error {
				wantValue(t, tx.Bucket([]byte("b")), numberedKey(i), fmt.Sprint(i))
				return nil
			})
			if err != nil {
				t.Errorf("View: %v", err)
			}
		})
	}
	wg.Wait()
	mustView(t, db, func(tx *lightning.Tx) {
		for i := range calls {
			wantValue(t, mustBucket(t, tx, "b"), numberedKey(i), fmt.Sprint(i))
		}
	})
}

// With a delay of an hour only the size can start the batch: two calls wait until the third has come.
func TestDB_Batch_StartsWhenFull(t *testing.T) {
	db := openDB(t, nil)
	fillBucket(t, db, 0)
	db.MaxBatchSize = 3
	db.MaxBatchDelay = time.Hour
	const size = 3
	done := make(chan error, size)
	var ran atomic.Int32
	call := func(i int) {
		done <- db.Batch(func(tx *lightning.Tx) error { ran.Add(1); return putNumber(i)(tx) })
	}
	go call(1)
	go call(2)
	select {
	case err := <-done:
		t.Fatalf("Batch returned before the batch was full: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	if got := ran.Load(); got != 0 {
		t.Errorf("functions run before the batch was full: got %d, want 0", got)
	}
	go call(3)
	for range size {
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Batch: %v", err)
			}
		case <-time.After(hangLimit):
			t.Fatal("a full batch does not start")
		}
	}
	mustView(t, db, func(tx *lightning.Tx) {
		for i := 1; i <= size; i++ {
			wantValue(t, mustBucket(t, tx, "b"), numberedKey(i), fmt.Sprint(i))
		}
	})
}

func TestDB_Batch_StartsAfterTheDelay(t *testing.T) {
	db := openDB(t, nil)
	fillBucket(t, db, 0)
	db.MaxBatchSize = 1000
	db.MaxBatchDelay = time.Millisecond
	if err := db.Batch(putNumber(1)); err != nil {
		t.Errorf("Batch: %v", err)
	}
	mustView(t, db, func(tx *lightning.Tx) { wantValue(t, mustBucket(t, tx, "b"), numberedKey(1), "1") })
}

func TestDB_Batch_Disabled(t *testing.T) {
	for name, disable := range map[string]func(db *lightning.DB){
		"size":  func(db *lightning.DB) { db.MaxBatchSize = 0; db.MaxBatchDelay = time.Hour },
		"delay": func(db *lightning.DB) { db.MaxBatchDelay = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			db := openDB(t, nil)
			fillBucket(t, db, 0)
			disable(db)
			for i := range 5 {
				if err := db.Batch(putNumber(i)); err != nil {
					t.Errorf("Batch: %v", err)
				}
			}
			mustView(t, db, func(tx *lightning.Tx) { wantValue(t, mustBucket(t, tx, "b"), numberedKey(4), "4") })
		})
	}
}

// One member that fails must get its own error, alone, and leave nothing; the others must be kept.
func TestDB_Batch_FailingMember(t *testing.T) {
	db := openDB(t, nil)
	fillBucket(t, db, 0)
	const calls = 9
	db.MaxBatchSize = calls
	db.MaxBatchDelay = time.Hour
	refused := errors.New("refused")
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			err := db.Batch(func(tx *lightning.Tx) error {
				if err := putNumber(i)(tx); err != nil {
					return err
				}
				if i == 4 {
					return refused
				}
				return nil
			})
			if i == 4 && err != refused || i != 4 && err != nil {
				t.Errorf("Batch number %d: got %v", i, err)
			}
		})
	}
	wg.Wait()
	mustView(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		for i := range calls {
			if i == 4 {
				wantAbsent(t, b, numberedKey(i))
			} else {
				wantValue(t, b, numberedKey(i), fmt.Sprint(i))
			}
		}
	})
}

func TestDB_Batch_PanickingMember(t *testing.T) {
	db := openDB(t, nil)
	fillBucket(t, db, 0)
	const calls = 5
	db.MaxBatchSize = calls
	db.MaxBatchDelay = time.Hour
	value := &struct{ n int }{7}
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			got := recovered(func() {
				err := db.Batch(func(tx *lightning.Tx) error {
					if err := putNumber(i)(tx); err != nil {
						return err
					}
					if i == 2 {
						panic(value)
					}
					return nil
				})
				if err != nil {
					t.Errorf("Batch number %d: %v", i, err)
				}
			})
			if i == 2 && got != value || i != 2 && got != nil {
				t.Errorf("Batch number %d: recovered %v", i, got)
			}
		})
	}
	wg.Wait()
	mustUpdate(t, db, func(tx *lightning.Tx) {
		b := mustBucket(t, tx, "b")
		for i := range calls {
			if i == 2 {
				wantAbsent(t, b, numberedKey(i))
			} else {
				wantValue(t, b, numberedKey(i), fmt.Sprint(i))
			}
		}
	})
}

func TestDB_Batch_NothingIsAppliedTwice(t *testing.T) {
	db := openDB(t, nil)
	fillBucket(t, db, 0)
	const calls = 60
	refused := errors.New("refused")
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			err := db.Batch(func(tx *lightning.Tx) error {
				if _, err := tx.Bucket([]byte("b")).NextSequence(); err != nil {
					return err
				}
				if i%3 == 0 {
					return refused
				}
				return nil
			})
			if i%3 == 0 && err != refused || i%3 != 0 && err != nil {
				t.Errorf("Batch number %d: got %v", i, err)
			}
		})
	}
	wg.Wait()
	mustView(t, db, func(tx *lightning.Tx) {
		if got := mustBucket(t, tx, "b").Sequence(); got != calls-calls/3 {
			t.Errorf("Sequence: got %d, want %d, one for each call that succeeded", got, calls-calls/3)
		}
	})
}
