package lightning

import "fmt"

// compactFill is how full pages of a compacted database are.
const compactFill = 1.0

// Compact copies every bucket and key of src into dst, in order, so that pages
// are full and nothing is free. Sequences and nested buckets are kept. A
// transaction is committed each time about txMaxSize bytes were written; 0
// writes everything in one. It fails with ErrBucketExists if dst has one of
// the buckets.
func Compact(dst, src *DB, txMaxSize int64) error {
	return src.View(func(from *Tx) error {
		c := &compaction{dst: dst, max: txMaxSize, seen: from.newVisits()}
		err := c.begin()
		if err != nil {
			return err
		}
		defer func() {
			if c.tx != nil {
				c.tx.rollback()
			}
		}()
		if err := c.copy(&from.root, nil); err != nil {
			return err
		}
		if err := from.Err(); err != nil {
			return err
		}
		return c.tx.commit()
	})
}

// compaction writes one bucket after the other, in transactions of bounded
// size.
type compaction struct {
	dst  *DB
	tx   *Tx
	max  int64
	size int64 // bytes put by tx
	seen *visits
}

func (c *compaction) begin() (err error) {
	c.tx, err = c.dst.Begin(true)
	c.size = 0
	return err
}

// at returns the bucket of the transaction with the given path.
func (c *compaction) at(path [][]byte) (*Bucket, error) {
	b := &c.tx.root
	for _, name := range path {
		if b = b.Bucket(name); b == nil {
			return nil, fmt.Errorf("%w: %q while compacting", ErrBucketNotFound, name)
		}
	}
	b.FillPercent = compactFill
	return b, nil
}

// room commits and begins anew if n bytes more are too many for tx.
func (c *compaction) room(n int, b *Bucket, path [][]byte) (*Bucket, error) {
	if c.max <= 0 || c.size == 0 || c.size+int64(n) <= c.max {
		c.size += int64(n)
		return b, nil
	}
	if err := c.tx.commit(); err != nil {
		return nil, err
	}
	if err := c.begin(); err != nil {
		return nil, err
	}
	c.size = int64(n)
	return c.at(path)
}

// copy puts what is in src into the bucket with the given path.
func (c *compaction) copy(src *Bucket, path [][]byte) error {
	if err := c.seen.bucket(src); err != nil {
		return err
	}
	b, err := c.at(path)
	if err != nil {
		return err
	}
	if err := b.SetSequence(src.Sequence()); err != nil {
		return err
	}
	for k, v := range src.All() {
		if b, err = c.room(len(k)+len(v), b, path); err != nil {
			return err
		}
		if err := c.seen.extents(src, k, v); err != nil {
			return err
		}
		if v != nil {
			if err := b.Put(k, v); err != nil {
				return err
			}
			continue
		}
		from := src.Bucket(k)
		if from == nil {
			return src.tx.Err()
		}
		if _, err := b.CreateBucket(k); err != nil {
			return err
		}
		if err := c.copy(from, append(path[:len(path):len(path)], k)); err != nil {
			return err
		}
		// The nested buckets may have gone through several transactions.
		if b, err = c.at(path); err != nil {
			return err
		}
	}
	return nil
}
