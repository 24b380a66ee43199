package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/newfile"
)

// recordsSummary is what was written or read. Bytes are those of keys and values.
type recordsSummary struct {
	Buckets      int     `json:"buckets"`
	Keys         int     `json:"keys"`
	Bytes        int64   `json:"bytes"`
	Transactions int     `json:"transactions,omitempty"` // of an import
	Seconds      float64 `json:"seconds"`
}

// recordExporter writes a snapshot of buckets as records.
type recordExporter struct {
	ctx      context.Context
	out      recordWriter
	progress *progress
	total    int64 // entries known of so far
	path     [][]byte
	sum      recordsSummary
}

// exportRecords writes the bucket, or all of the database if it is "", to the
// file name, or to stdout if that is "-".
func (a *app) exportRecords(ctx context.Context, db, name, bucket string, format recordFormat, force bool) (err error) {
	path, err := a.bucketEnc.decodeBase(bucket)
	if err != nil {
		return err
	}
	started := time.Now()
	ex := &recordExporter{ctx: ctx}
	err = a.withDB(ctx, db, readExisting, func(handle *lightning.DB) error {
		return view(handle, func(tx *lightning.Tx) error {
			b, err := a.findBucket(tx, path)
			if err != nil {
				return err
			}
			ex.total = int64(b.Len())
			ex.progress = a.newProgress("exporting", ex.total, countItems)
			defer ex.progress.finish()
			if name == "-" {
				return ex.write(a.newRecordWriter(format, a.out), b)
			}
			if err := checkTarget(db, name, force); err != nil {
				return err
			}
			return writeWhole(name, force, func(w *bufio.Writer) error {
				return ex.write(a.newRecordWriter(format, w), b)
			})
		})
	})
	if err != nil {
		return err
	}
	ex.sum.Seconds = time.Since(started).Seconds()
	return a.reportRecords("exported", &ex.sum, name == "-")
}

// write writes b as the bucket that all paths begin at.
func (ex *recordExporter) write(out recordWriter, b *lightning.Bucket) error {
	ex.out = out
	if err := out.begin(); err != nil {
		return err
	}
	// The bucket itself is known to whoever imports, but not its sequence.
	if sequence := b.Sequence(); sequence != 0 {
		if err := out.write(&record{sequence: sequence}); err != nil {
			return err
		}
	}
	return ex.bucket(b)
}

func (ex *recordExporter) bucket(b *lightning.Bucket) error {
	for k, v := range b.All() {
		if err := ex.ctx.Err(); err != nil {
			return err
		}
		var err error
		if v == nil {
			err = ex.enter(b, k)
		} else {
			ex.sum.Keys++
			ex.sum.Bytes += int64(len(k) + len(v))
			err = ex.out.write(&record{bucket: ex.path, key: k, value: v})
		}
		if err != nil {
			return err
		}
		if done := ex.sum.Keys + ex.sum.Buckets; done%1024 == 0 {
			ex.progress.set(int64(done), ex.total)
		}
	}
	return b.Tx().Err()
}

// enter writes the bucket name in b.
func (ex *recordExporter) enter(b *lightning.Bucket, name []byte) error {
	child := b.Bucket(name)
	if child == nil {
		return errors.Join(b.Tx().Err(), fmt.Errorf("the entry %.64q has no value and is no bucket", name))
	}
	ex.sum.Buckets++
	ex.sum.Bytes += int64(len(name))
	ex.total += int64(child.Len())
	ex.path = append(ex.path, name)
	defer func() { ex.path = ex.path[:len(ex.path)-1] }()
	if err := ex.out.write(&record{bucket: ex.path, sequence: child.Sequence()}); err != nil {
		return err
	}
	return ex.bucket(child)
}

// checkTarget looks for what is in the way of the file name.
func checkTarget(db, name string, force bool) error {
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if source, err := os.Stat(db); err == nil && os.SameFile(info, source) {
		return usagef("%s is the database itself", name)
	}
	if !force {
		return fmt.Errorf("%s: %w; give --force to replace it", name, fs.ErrExist)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", name)
	}
	return nil
}

// writeWhole writes a file by fn under another name, and gives it its own when
// it is whole and durable.
func writeWhole(name string, replace bool, fn func(w *bufio.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	temp := f.Name()
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp))
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	err = fn(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if replace {
		return newfile.Replace(temp, name)
	}
	return newfile.Move(temp, name)
}

// reportRecords prints the summary, to stderr if stdout carries the records.
func (a *app) reportRecords(verb string, s *recordsSummary, toStderr bool) error {
	if a.quiet && !a.json() {
		return nil
	}
	text := fmt.Sprintf("%s: buckets %d, keys %d, bytes %d, seconds %.1f\n", verb, s.Buckets, s.Keys, s.Bytes, s.Seconds)
	switch {
	case a.json() && toStderr:
		return writeJSON(a.err, s)
	case a.json():
		return a.emit(s)
	case toStderr:
		_, err := fmt.Fprint(a.err, text)
		return err
	}
	a.printf("%s", text)
	return nil
}

// onlyFor fails if a flag was given that means nothing with format.
func onlyFor(changed func(flag string) bool, format recordFormat, formats []recordFormat, flags ...string) error {
	if slices.Contains(formats, format) {
		return nil
	}
	for _, flag := range flags {
		if changed(flag) {
			return usagef("--%s means nothing with --format %s", flag, format)
		}
	}
	return nil
}
