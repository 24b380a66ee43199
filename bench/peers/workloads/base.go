package workloads

import (
	"fmt"

	"github.com/lightning-db/lightning/bench/peers/engines"
)

// batchSize is the number of puts in a transaction of a load.
const batchSize = 1000

// Sizes of the other databases.
const (
	bigSize       = 1 << 20
	holeValueSize = 1000
)

// chunk is the number of keys that a load makes at a time, off the clock.
const chunk = 64 * batchSize

// bigCount is the number of big values: 256 MiB of them at a million keys.
func bigCount(keys int) int { return min(max(keys/4000, 16), 256) }

// build makes the database that other jobs start from.
func (c *Cell) build() error {
	return c.withDB(engines.Options{}, func(db engines.DB) error {
		var err error
		switch c.Build {
		case Random:
			p := newPermutation(c.Keys, insertion)
			_, err = c.load(db, &p, ValueSize, put)
		case Sorted:
			_, err = c.load(db, nil, ValueSize, put)
		case Big:
			err = c.loadBig(db)
		case Holes:
			if _, err = c.load(db, nil, holeValueSize, put); err == nil {
				err = c.deleteRange(db, c.Keys*9/10)
			}
		default:
			err = fmt.Errorf("no database %q", c.Build)
		}
		if err != nil {
			return err
		}
		return db.Sync()
	})
}

// wayIn is a way to put the entries that fill hands out.
type wayIn func(w engines.Writer, fill engines.Fill) error

func put(w engines.Writer, fill engines.Fill) error { return fill(w.Put) }

// load puts all keys in batches, in the order p or ascending, and returns the
// time without that of making the keys.
func (c *Cell) load(db engines.DB, p *permutation, size int, put wayIn) (tally, error) {
	var watch stopwatch
	began := mallocs()
	for from := 0; from < c.Keys; from += chunk {
		keys := listKeys(c.space, p, from, min(chunk, c.Keys-from))
		watch.start()
		if err := c.putBatches(db, keys, size, put); err != nil {
			return tally{}, err
		}
		watch.stop()
		own, err := c.relieve()
		if err != nil {
			return tally{}, err
		}
		began += own
	}
	return tally{n: c.Keys, time: watch.sum, allocs: mallocs() - began}, nil
}

// putBatches puts the keys, batchSize in a transaction.
func (c *Cell) putBatches(db engines.DB, keys keyList, size int, put wayIn) error {
	for from := 0; from < keys.len(); from += batchSize {
		err := db.Update(func(w engines.Writer) error {
			return put(w, func(put func(key, value []byte) error) error {
				for i := from; i < min(from+batchSize, keys.len()); i++ {
					if err := put(keys.at(i), c.values.value(i, size)); err != nil {
						return err
					}
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// deleteBatches deletes the keys, batchSize in a transaction.
func deleteBatches(db engines.DB, keys keyList) error {
	for from := 0; from < keys.len(); from += batchSize {
		err := db.Update(func(w engines.Writer) error {
			for i := from; i < min(from+batchSize, keys.len()); i++ {
				if err := w.Delete(keys.at(i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// deleteRange deletes the first n keys, in ascending order.
func (c *Cell) deleteRange(db engines.DB, n int) error {
	for from := 0; from < n; from += chunk {
		if err := deleteBatches(db, listKeys(c.space, nil, from, min(chunk, n-from))); err != nil {
			return err
		}
	}
	return nil
}

// loadBig puts the big values, one in a transaction.
func (c *Cell) loadBig(db engines.DB) error {
	space, values := newSpace(bigCount(c.Keys)), newValuePool(2*bigSize)
	keys := listKeys(space, nil, 0, space.n)
	for i := range space.n {
		err := db.Update(func(w engines.Writer) error { return w.Put(keys.at(i), values.value(i, bigSize)) })
		if err != nil {
			return err
		}
	}
	return nil
}
