package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/lightning-db/lightning"
)

// puts are random puts, one at a time, in transactions of a batch that begin
// and commit as needed.
type puts struct {
	s     *store
	keys  *picker
	tx    *lightning.Tx
	bk    *lightning.Bucket
	left  int                     // puts until the transaction is full
	times *hdrhistogram.Histogram // of Put alone
}

func newPuts(s *store) *puts {
	return &puts{s: s, keys: newPicker(1), times: newTimes()}
}

func (p *puts) one() (err error) {
	if p.left == 0 {
		if err := p.end(); err != nil {
			return err
		}
		if p.tx, err = p.s.Begin(true); err != nil {
			return err
		}
		p.bk, p.left = p.tx.Bucket(bucket), batchSize
	}
	p.left--
	key := p.keys.key()
	began := time.Now()
	err = p.bk.Put(key, value)
	record(p.times, began)
	return err
}

// end commits what was put.
func (p *puts) end() error {
	if p.tx == nil {
		return nil
	}
	tx := p.tx
	p.tx, p.left = nil, 0
	return tx.Commit()
}
