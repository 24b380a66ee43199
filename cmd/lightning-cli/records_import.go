package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	lightning "github.com/lightning-db/lightning"
)

// recordBatch bounds a transaction of an import of records.
const recordBatch = 10_000

// recordImporter stores records in bounded transactions.
type recordImporter struct {
	app    *app
	ctx    context.Context
	db     *lightning.DB
	opts   importOptions
	base   [][]byte // path of the bucket that all paths begin at
	in     recordReader
	report func()

	tx      *lightning.Tx
	changes int
	bytes   int64
	path    [][]byte          // of bucket
	bucket  *lightning.Bucket // of the last record, in tx; nil is none
	last    int               // line of the last record in tx
	stored  int               // line of the last record that is durable
	sum     recordsSummary
}

// importRecords stores what is in the file name, or on stdin if that is "-".
func (a *app) importRecords(ctx context.Context, db, name string, opts importOptions) (err error) {
	im := &recordImporter{app: a, ctx: ctx, opts: opts}
	if im.base, err = a.bucketEnc.decodeBase(opts.bucket); err != nil {
		return err
	}
	source, size, err := a.openRecords(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	started := time.Now()
	err = a.withDB(ctx, db, writeOrCreate, func(handle *lightning.DB) error {
		im.db = handle
		counter := &countingReader{r: source}
		im.in = newRecordReader(opts.format, counter)
		im.report = func() {}
		if size > 0 && !opts.noProgress {
			bar := a.newProgress("importing", size, countBytes)
			defer bar.finish()
			im.report = func() { bar.set(counter.n, max(size, counter.n)) }
		}
		return im.run()
	})
	if err != nil {
		return err
	}
	im.sum.Seconds = time.Since(started).Seconds()
	return a.reportRecords("imported", &im.sum, opts.ack)
}

// openRecords opens the input. size is 0 if it is not known.
func (a *app) openRecords(ctx context.Context, name string) (source io.ReadCloser, size int64, err error) {
	if name == "-" {
		// A read from a terminal does not end with ctx, but this pipe does; the
		// reader left behind ends with the process.
		from, to := io.Pipe()
		context.AfterFunc(ctx, func() { from.CloseWithError(ctx.Err()) })
		go func() {
			_, err := io.Copy(to, a.in)
			to.CloseWithError(err)
		}()
		return from, 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = usagef("%s is a directory; give --format tree to store one", name)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// countingReader counts what is read of r.
type countingReader struct {
	r io.Reader
	n int64
}

// Read reads from r.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// run stores all records.
func (im *recordImporter) run() (err error) {
	defer func() {
		if im.tx == nil {
			return
		}
		if damage := im.tx.Err(); damage != nil {
			err = damage
		}
		err = errors.Join(err, im.tx.Rollback())
	}()
	if len(im.base) > 0 {
		if err := im.begin(); err != nil {
			return err
		}
		if _, err := im.find(im.base); err != nil {
			return err
		}
	}
	for {
		if err := im.ctx.Err(); err != nil {
			return err
		}
		r, err := im.in.next()
		if err == io.EOF {
			return im.commit()
		}
		if err == nil {
			err = im.store(r)
		}
		if err != nil {
			return im.locate(err)
		}
	}
}

// locate says in which line err was met, and what is stored though.
func (im *recordImporter) locate(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if im.stored == 0 {
		return fmt.Errorf("line %d: %w; nothing was stored", im.in.line(), err)
	}
	return fmt.Errorf("line %d: %w; the lines up to %d are stored", im.in.line(), err, im.stored)
}

func (im *recordImporter) begin() (err error) {
	if im.tx, err = im.db.Begin(true); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	im.bucket, im.changes, im.bytes = nil, 0, 0
	return nil
}

// commit makes the open transaction durable, and with --ack says so.
func (im *recordImporter) commit() error {
	tx := im.tx
	if tx == nil {
		return nil
	}
	im.tx = nil // a commit that fails has ended the transaction too
	id := tx.ID()
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	im.sum.Transactions++
	im.stored = im.last
	im.report()
	if !im.opts.ack {
		return nil
	}
	ack := struct {
		Tx      int `json:"tx"`
		Records int `json:"records"`
		Line    int `json:"line"`
	}{id, im.changes, im.stored}
	if err := im.app.emit(ack); err != nil {
		return err
	}
	return im.app.out.Flush()
}

// store puts r into the open transaction, or a new one.
func (im *recordImporter) store(r *record) error {
	size := int64(len(r.key) + len(r.value))
	for _, name := range r.bucket {
		size += int64(len(name))
	}
	if im.tx != nil && im.changes > 0 && (im.changes >= recordBatch || im.bytes+size > int64(im.opts.batchBytes)) {
		if err := im.commit(); err != nil {
			return err
		}
	}
	if im.tx == nil {
		if err := im.begin(); err != nil {
			return err
		}
	}
	im.changes++
	im.bytes += size
	im.last = im.in.line()
	im.sum.Bytes += int64(len(r.key) + len(r.value))
	path := slices.Concat(im.base, r.bucket)
	if r.isBucket() {
		im.sum.Buckets++
		return im.storeBucket(path, r)
	}
	im.sum.Keys++
	b, err := im.find(path)
	if err != nil {
		return err
	}
	return b.Put(r.key, r.value)
}

// storeBucket creates the bucket at path unless it is there.
func (im *recordImporter) storeBucket(path [][]byte, r *record) error {
	b, err := im.find(path[:max(len(path)-1, 0)])
	if err != nil {
		return err
	}
	if len(path) > 0 {
		name := path[len(path)-1]
		if b, err = b.CreateBucketIfNotExists(name); err != nil {
			return fmt.Errorf("create bucket: %w", err)
		}
	}
	im.path, im.bucket = path, b
	if !r.hasSequence {
		return nil
	}
	return b.SetSequence(r.sequence)
}

// find returns the bucket at path, with --create-buckets in any case.
func (im *recordImporter) find(path [][]byte) (b *lightning.Bucket, err error) {
	if im.bucket != nil && slices.EqualFunc(path, im.path, slices.Equal[[]byte]) {
		return im.bucket, nil
	}
	if im.opts.createBuckets && len(path) > 0 {
		b, err = makeBucket(im.tx, path)
	} else {
		b, err = im.app.findBucket(im.tx, path)
	}
	if err != nil {
		return nil, err
	}
	im.path, im.bucket = path, b
	return b, nil
}
