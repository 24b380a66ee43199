package lightning

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
)

// errLoadOver is returned by the put of a Load that has returned.
var errLoadOver = errors.New("put called after Load returned")

// Load stores the pairs that fill hands to put, whose keys ascend strictly, and
// returns how many. It is Put for each of them, and holds them to their order:
// keys behind the bucket's last are appended to its pages from left to right,
// without a descent or an allocation a key, as long as no other bucket is put
// into in between. A key that exists gets the new value.
//
// Pages are filled to the last byte, or as Bucket.FillPercent says if it is not
// DefaultFillPercent. The last page is filled up by the next Load, in this
// transaction or a later one. A transaction holds the pages it made in memory
// until it is committed: load what is larger in several transactions, of some
// 100,000 pairs each.
//
// put copies key and value and fails as Put does, or with ErrNotSorted. Its first
// error ends the load: every later call returns it, and Load does, even if fill
// does not. An error of fill ends it, too, and is returned as it is. The pairs
// before an error are in the transaction, n of them, so that the pair at fault is
// number n, counted from 0; return the error from Update to drop them.
//
// put may be called until fill returns, in the goroutine of Load. In between, fill
// may use the transaction in any way: Load goes on with the bucket as it is then.
func (b *Bucket) Load(fill func(put func(key, value []byte) error) error) (n int, err error) {
	defer b.tx.unguardErr(debug.SetPanicOnFault(true), &err)
	if err := b.mutable(); err != nil {
		return 0, err
	}
	l := &loading{b: b}
	defer func() { n, l.err = l.n, errLoadOver }()
	if err := fill(l.put); err != nil {
		return l.n, err
	}
	return l.n, l.err
}

// loading is a Load in progress.
type loading struct {
	b    *Bucket
	n    int    // pairs stored
	last []byte // key stored last, if any
	err  error  // why no more pairs are taken
}

func (l *loading) put(key, value []byte) error {
	if l.err == nil {
		if err := l.store(key, value); err != nil {
			l.err = fmt.Errorf("load pair %d: %w", l.n, err)
		}
	}
	return l.err
}

func (l *loading) store(key, value []byte) error {
	if err := checkPair(key, value); err != nil {
		return err
	}
	if l.n > 0 && bytes.Compare(key, l.last) <= 0 {
		return fmt.Errorf("%w: %.64q is not greater than %.64q", ErrNotSorted, key, l.last)
	}
	if err := l.b.Put(key, value); err != nil {
		return err
	}
	l.last = append(l.last[:0], key...)
	l.n++
	return nil
}
