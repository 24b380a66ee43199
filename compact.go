package lightning

import (
	"context"
	"fmt"
)

// compactFill is how full pages of a compacted database are.
const compactFill = 1.0

// Compact copies every bucket and key of src into dst, in order, so that pages
// are full and nothing is free. Sequences and nested buckets are kept. A
// transaction is committed each time about txMaxSize bytes were written; 0
// writes everything in one. It fails with ErrBucketExists if dst has one of
// the buckets.
func Compact(dst, src *DB, txMaxSize int64) error {
	return CompactContext(context.Background(), dst, src, txMaxSize)
}

// CompactContext is Compact that stops when ctx ends: what was committed until then
// is in dst.
func CompactContext(ctx context.Context, dst, src *DB, txMaxSize int64) error {
	return src.ViewContext(ctx, func(from *Tx) error {
		c := &compaction{ctx: ctx, dst: dst, max: txMaxSize, seen: from.newVisits(), path: []opened{{}}}
		err := c.begin()
		if err != nil {
			return err
		}
		defer func() {
			if c.tx != nil {
				c.tx.rollback()
			}
		}()
		if err := c.copy(from.root()); err != nil {
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
	ctx  context.Context
	dst  *DB
	tx   *Tx
	max  int64
	size int64 // bytes put by tx
	puts int   // entries put so far
	seen *visits
	path []opened // from the root to the bucket being written
}

// opened is a bucket of a compaction's transaction.
type opened struct {
	name []byte
	b    *Bucket
}

// begin starts a transaction and opens the path in it.
func (c *compaction) begin() (err error) {
	if c.tx, err = c.dst.BeginContext(c.ctx, true); err != nil {
		return err
	}
	c.size = 0
	b := c.tx.root()
	for i := range c.path {
		if i > 0 {
			name := c.path[i].name
			if b = b.Bucket(name); b == nil {
				return fmt.Errorf("%w: %q while compacting", ErrBucketNotFound, name)
			}
		}
		b.FillPercent = compactFill
		c.path[i].b = b
	}
	return nil
}

// last returns the innermost bucket of the path.
func (c *compaction) last() *Bucket { return c.path[len(c.path)-1].b }

// room makes room for an entry of n bytes: it commits and begins anew if they are too
// many for tx.
func (c *compaction) room(n int) error {
	if c.puts++; c.puts%1024 == 0 && c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	if c.max > 0 && c.size > 0 && c.size+int64(n) > c.max {
		if err := c.tx.commit(); err != nil {
			return err
		}
		if err := c.begin(); err != nil {
			return err
		}
	}
	c.size += int64(n)
	return nil
}

// copy puts what is in src into the last bucket of the path.
func (c *compaction) copy(src *Bucket) error {
	if err := c.seen.bucket(src); err != nil {
		return err
	}
	if err := c.last().SetSequence(src.Sequence()); err != nil {
		return err
	}
	for k, v := range src.All() {
		if err := c.room(len(k) + len(v)); err != nil {
			return err
		}
		if err := c.seen.extents(src, k, v); err != nil {
			return err
		}
		if v != nil {
			if err := c.last().Put(k, v); err != nil {
				return err
			}
			continue
		}
		if err := c.nested(src, k); err != nil {
			return err
		}
	}
	return nil
}

// nested copies the bucket of the given name.
func (c *compaction) nested(src *Bucket, name []byte) error {
	from := src.Bucket(name)
	if from == nil {
		return src.tx.Err()
	}
	b, err := c.last().CreateBucket(name)
	if err != nil {
		return err
	}
	b.FillPercent = compactFill
	c.path = append(c.path, opened{name, b})
	if err := c.copy(from); err != nil {
		return err
	}
	c.path = c.path[:len(c.path)-1]
	return nil
}
