package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	lightning "github.com/lightning-db/lightning"
)

// batchEntries bounds a transaction that stores many small things.
const batchEntries = 1000

// importer stores a tree in bounded transactions; importwalk.go walks the tree. Between two changes
// either no transaction is open, or the open one holds at most batchEntries changes and, unless a
// single file is larger, opts.batchBytes.
type importer struct {
	app      *app
	ctx      context.Context
	db       *lightning.DB
	opts     importOptions
	self     fs.FileInfo // the database, which may lie in the tree
	progress *progress
	total    int64 // bytes in the tree, for the progress bar
	done     int64

	tx         *lightning.Tx
	generation int // counts transactions; buckets of an older one are dead
	changes    int // in tx
	bytes      int64
	last       string // path of the last change

	sum importSummary
}

// directory is one that the walk is in, and its bucket.
type directory struct {
	root       *os.Root
	name       string // path from the top of the tree, "" for the top itself
	path       [][]byte
	bucket     *lightning.Bucket
	generation int
}

// run imports the tree under root into the bucket at bucketPath.
func (im *importer) run(db *lightning.DB, root *os.Root, bucketPath [][]byte) (err error) {
	im.db = db
	defer func() {
		if im.tx != nil {
			err = errors.Join(err, im.tx.Rollback())
		}
	}()
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	if err := im.begin(); err != nil {
		return err
	}
	if _, err := im.app.findBucket(im.tx, bucketPath); err != nil {
		im.changed("", 0)
	}
	if _, err := makeBucket(im.tx, bucketPath); err != nil {
		return err
	}
	if err := im.directory(&directory{root: root, path: bucketPath}, info); err != nil {
		return err
	}
	return im.commit()
}

func (im *importer) begin() (err error) {
	if im.tx, err = im.db.Begin(true); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	im.generation++
	return nil
}

// commit makes the open transaction durable and reports it. One that changed nothing is dropped.
func (im *importer) commit() error {
	tx := im.tx
	if tx == nil {
		return nil
	}
	im.tx = nil // a commit that fails has ended the transaction too
	if im.changes == 0 {
		return errors.Join(tx.Err(), tx.Rollback())
	}
	id := tx.ID()
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	im.sum.Transactions++
	ack := struct {
		Tx    int    `json:"tx"`
		Files int    `json:"files"`
		Last  string `json:"last"`
	}{id, im.changes, im.last}
	im.changes, im.bytes = 0, 0
	if !im.opts.ack {
		return nil
	}
	if err := im.app.emit(ack); err != nil {
		return err
	}
	return im.app.out.Flush()
}

// changed counts a change in the open transaction.
func (im *importer) changed(name string, size int64) {
	im.changes++
	im.bytes += size
	im.last = escape([]byte(name), "")
}

// room commits the open transaction if another change of size bytes would exceed its bounds.
func (im *importer) room(size int64) error {
	if im.changes >= batchEntries || im.changes > 0 && im.bytes+size > int64(im.opts.batchBytes) {
		return im.commit()
	}
	return nil
}

// bucket returns d's bucket in the open transaction, beginning one if need be.
func (im *importer) bucket(d *directory) (*lightning.Bucket, error) {
	if im.tx == nil {
		if err := im.begin(); err != nil {
			return nil, err
		}
	}
	if d.bucket != nil && d.generation == im.generation {
		return d.bucket, nil
	}
	b, err := im.app.findBucket(im.tx, d.path)
	if damage := im.tx.Err(); damage != nil {
		return nil, damage
	}
	if err != nil {
		return nil, err
	}
	d.bucket, d.generation = b, im.generation
	return b, nil
}

// storeDirectory makes the bucket of the directory name in parent.
func (im *importer) storeDirectory(parent *directory, name, full string) error {
	size := int64(len(name))
	if err := im.room(size); err != nil {
		return err
	}
	b, err := im.bucket(parent)
	if err != nil || b.Bucket([]byte(name)) != nil {
		return err
	}
	if b.Get([]byte(name)) != nil {
		if err := b.Delete([]byte(name)); err != nil {
			return err
		}
	}
	if _, err := b.CreateBucket([]byte(name)); err != nil {
		return fmt.Errorf("store %s: %w", showPath(full), err)
	}
	im.changed(full, size)
	return nil
}

// storeMode keeps the permissions of d in its bucket.
func (im *importer) storeMode(d *directory, mode fs.FileMode) error {
	b, err := im.bucket(d)
	if err != nil || b.Sequence() == directorySequence(mode) {
		return err
	}
	if err := b.SetSequence(directorySequence(mode)); err != nil {
		return fmt.Errorf("store mode of %s: %w", showPath(d.name), err)
	}
	im.changed(d.name, 0)
	return nil
}

// storeFile puts the value of the file or link name in d, unless the same is there already.
func (im *importer) storeFile(d *directory, name, full string, value []byte) error {
	key, size := []byte(name), int64(len(name)+len(value))
	b, err := im.bucket(d)
	if err != nil {
		return err
	}
	if stored := b.Get(key); stored != nil && string(stored) == string(value) {
		im.sum.Skipped++
		return nil
	}
	if err := im.room(size); err != nil {
		return err
	}
	if b, err = im.bucket(d); err != nil {
		return err
	}
	if b.Bucket(key) != nil {
		if err := b.DeleteBucket(key); err != nil {
			return err
		}
	}
	if err := b.Put(key, value); err != nil {
		return fmt.Errorf("store %s: %w", showPath(full), err)
	}
	im.changed(full, size)
	im.sum.Files++
	im.sum.Bytes += int64(len(value) - modeBytes)
	return nil
}

// removeOthers deletes from d's bucket what is not in kept.
func (im *importer) removeOthers(d *directory, kept map[string]bool) error {
	b, err := im.bucket(d)
	if err != nil {
		return err
	}
	var gone []string
	for k := range b.All() {
		if !kept[string(k)] {
			gone = append(gone, string(k))
		}
	}
	if err := im.tx.Err(); err != nil {
		return err
	}
	for _, name := range gone {
		if err := im.ctx.Err(); err != nil {
			return err
		}
		if err := im.remove(d, name); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) remove(d *directory, name string) error {
	key, size := []byte(name), int64(len(name))
	if err := im.room(size); err != nil {
		return err
	}
	b, err := im.bucket(d)
	if err != nil {
		return err
	}
	erase := b.Delete
	if b.Bucket(key) != nil {
		erase = b.DeleteBucket
	}
	full := joinPath(d.name, name)
	if err := erase(key); err != nil {
		return fmt.Errorf("remove %s: %w", showPath(full), err)
	}
	im.changed(full, size)
	im.sum.Removed++
	return nil
}
