package salvage

import (
	"bytes"
	"errors"
	"os"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/newfile"
)

// maxTxBytes is how much one transaction of the new database holds.
const maxTxBytes = 16 << 20

// output is the new database, with a transaction open in one bucket.
type output struct {
	db   *lightning.DB
	temp string
	tx   *lightning.Tx
	size int    // bytes put by tx
	at   []spot // from the root to the bucket that is being written
}

// spot is a bucket of the open transaction.
type spot struct {
	name []byte
	b    *lightning.Bucket
}

func newOutput(dst string, pageSize int, key []byte) (_ *output, err error) {
	f, err := newfile.Partial(dst, 0o600)
	if err != nil {
		return nil, err
	}
	o := &output{temp: f.Name(), at: []spot{{}}}
	if err := f.Close(); err != nil {
		return nil, o.discard(err)
	}
	o.db, err = lightning.Open(o.temp, 0, &lightning.Options{PageSize: pageSize, IntegrityKey: key, NoSync: true})
	if err != nil {
		return nil, o.discard(err)
	}
	if err := o.begin(); err != nil {
		return nil, o.discard(err)
	}
	return o, nil
}

// discard removes what was written.
func (o *output) discard(err error) error {
	if o.tx != nil {
		err = errors.Join(err, o.tx.Rollback())
		o.tx = nil
	}
	if o.db != nil {
		err = errors.Join(err, o.db.Close())
	}
	return newfile.Settle(o.temp, "", err)
}

// finish makes the new database durable and gives it its name.
func (o *output) finish(dst string, mode os.FileMode) error {
	err := o.tx.Commit()
	o.tx = nil
	if err == nil {
		err = o.db.Close()
		o.db = nil
	}
	if err == nil {
		err = os.Chmod(o.temp, mode)
	}
	if err != nil {
		return o.discard(err)
	}
	return newfile.Settle(o.temp, dst, nil)
}

// begin opens a transaction in the same bucket as the last one.
func (o *output) begin() (err error) {
	if o.tx, err = o.db.Begin(true); err != nil {
		return err
	}
	o.size = 0
	b := o.tx.Cursor().Bucket()
	for i := range o.at {
		if i > 0 {
			if b = b.Bucket(o.at[i].name); b == nil {
				return errors.Join(lightning.ErrBucketNotFound, o.tx.Err())
			}
		}
		o.set(i, b)
	}
	return o.tx.Err()
}

func (o *output) set(i int, b *lightning.Bucket) {
	b.FillPercent = 1
	o.at[i].b = b
}

func (o *output) bucket() *lightning.Bucket { return o.at[len(o.at)-1].b }

// room makes sure that n bytes more are not too many for the transaction.
func (o *output) room(n int) error {
	if o.size > 0 && o.size+n > maxTxBytes {
		err := o.tx.Commit()
		o.tx = nil
		if err != nil {
			return err
		}
		if err := o.begin(); err != nil {
			return err
		}
	}
	o.size += n
	return nil
}

// has reports whether the bucket holds the key, or a bucket of that name.
func (o *output) has(key []byte) bool {
	b := o.bucket()
	return b.Get(key) != nil || b.Bucket(key) != nil
}

func (o *output) put(key, value []byte) error {
	if err := o.room(len(key) + len(value)); err != nil {
		return err
	}
	return o.bucket().Put(key, value)
}

// enter creates a bucket and goes on in it.
func (o *output) enter(name []byte, sequence uint64) error {
	if err := o.room(len(name) + 64); err != nil {
		return err
	}
	b, err := o.bucket().CreateBucket(name)
	if err != nil {
		return err
	}
	o.at = append(o.at, spot{name: bytes.Clone(name)})
	o.set(len(o.at)-1, b)
	return o.sequence(sequence)
}

func (o *output) sequence(n uint64) error {
	if n == 0 {
		return nil
	}
	return o.bucket().SetSequence(n)
}

func (o *output) leave() { o.at = o.at[:len(o.at)-1] }

// move goes on in the bucket at p, which exists.
func (o *output) move(p *Path) error {
	names := p.Names()
	same := 0
	for same < len(names) && same+1 < len(o.at) && bytes.Equal(names[same], o.at[same+1].name) {
		same++
	}
	o.at = o.at[:same+1]
	for _, name := range names[same:] {
		b := o.bucket().Bucket(name)
		if b == nil {
			return errors.Join(lightning.ErrBucketNotFound, o.tx.Err())
		}
		o.at = append(o.at, spot{name: name})
		o.set(len(o.at)-1, b)
	}
	return nil
}
