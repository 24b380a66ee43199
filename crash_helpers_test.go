package lightning

import (
	"errors"
	"fmt"
	"hash/maphash"
	"testing"

	"github.com/lightning-db/lightning/chaos/simdisk"
	"github.com/lightning-db/lightning/fsync"
)

// openImage opens the image in a new file at path, recorded.
func openImage(t testing.TB, path string, im *simdisk.Image, o Options) (*DB, *simdisk.Disk, error) {
	t.Helper()
	writeImage(t, path, im)
	var disk *simdisk.Disk
	db, err := openThrough(path, &o, func(f fsync.File) fsync.File {
		disk = simdisk.New(f, im)
		return disk
	})
	return db, disk, err
}

// writeImage makes the file at path what a process finds there.
func writeImage(t testing.TB, path string, im *simdisk.Image) {
	t.Helper()
	if err := im.WriteTo(path); err != nil {
		t.Fatal(err)
	}
}

// errCrashFn is what functions return that are to fail.
var errCrashFn = errors.New("function failed")

// contentSum is a sum over all buckets and keys of a state; it does not depend
// on their order.
type contentSum uint64

var contentSeed = maphash.MakeSeed()

func (s *contentSum) add(entry string, value []byte) {
	var h maphash.Hash
	h.SetSeed(contentSeed)
	h.WriteString(entry)
	h.WriteByte(0)
	h.Write(value)
	*s += contentSum(h.Sum64())
}

// load reads a whole state.
func (s *contentSum) load(tx *Tx) error {
	var walk func(path string, b *Bucket) error
	walk = func(path string, b *Bucket) error {
		s.add(path+"/", fmt.Append(nil, b.Sequence()))
		return b.ForEach(func(k, v []byte) error {
			if v == nil {
				return walk(path+"/"+string(k), b.Bucket(k))
			}
			s.add(path+"/"+string(k), v)
			return nil
		})
	}
	if err := tx.ForEach(func(name []byte, b *Bucket) error { return walk(string(name), b) }); err != nil {
		return err
	}
	return tx.Err()
}
