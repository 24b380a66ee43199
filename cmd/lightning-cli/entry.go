package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"

	lightning "github.com/lightning-db/lightning"
)

// A directory tree in a database: a bucket a directory, a key a file. A file's value is 4 bytes of
// mode, little-endian, and the content, which for a symbolic link is its target. A directory's mode
// is its bucket's sequence, with the directory bit, so that other sequences are not taken for modes.
const (
	modeBytes       = 4
	entryModeMask   = fs.ModePerm | fs.ModeSymlink
	maxContentBytes = int64(lightning.MaxValueSize) - modeBytes
	defaultTree     = "files"
)

// newEntry returns a value with room for size bytes of content after the mode.
func newEntry(mode fs.FileMode, size int) []byte {
	value := make([]byte, modeBytes+size)
	binary.LittleEndian.PutUint32(value, uint32(mode&entryModeMask))
	return value
}

// splitEntry takes a file's value apart. The value is not trusted.
func splitEntry(value []byte) (mode fs.FileMode, content []byte, err error) {
	if len(value) < modeBytes {
		return 0, nil, errors.New("the value is too short to be an imported file")
	}
	mode = fs.FileMode(binary.LittleEndian.Uint32(value))
	if mode&^entryModeMask != 0 {
		return 0, nil, fmt.Errorf("the value is not an imported file: unknown mode bits %#x", uint32(mode))
	}
	return mode, value[modeBytes:], nil
}

func directorySequence(mode fs.FileMode) uint64 {
	return uint64(fs.ModeDir | mode.Perm())
}

// directoryMode returns the permissions kept in a bucket's sequence, and whether there are any.
func directoryMode(sequence uint64) (fs.FileMode, bool) {
	if sequence > math.MaxUint32 || fs.FileMode(sequence)&^fs.ModePerm != fs.ModeDir {
		return 0, false
	}
	return fs.FileMode(sequence).Perm(), true
}
