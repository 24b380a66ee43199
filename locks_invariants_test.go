//go:build invariants

package lightning

import "testing"

func TestLocks_InversionPanics(t *testing.T) {
	for _, test := range []struct {
		name string
		take func(db *DB)
	}{
		{"writer after flush", func(db *DB) { db.flusher.lock(); defer db.flusher.unlock(); checkRank(rankWriter) }},
		{"flush after state", func(db *DB) { db.mu.Lock(); defer db.mu.Unlock(); db.flusher.lock() }},
		{"state twice", func(db *DB) { db.mu.Lock(); defer db.mu.Unlock(); db.mu.Lock() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			db := newDB("", &Options{})
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			test.take(db)
		})
	}
}
