package raftstore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Layout of a log entry, version 1. The key is the index, eight bytes
// big-endian. The value is
//
//	version     1 byte, 1
//	type        1 byte, a raft.LogType
//	flags       1 byte: the sum of the flags below
//	term        uvarint
//	appendedAt  if flagged: varint seconds since 1970 UTC, uvarint nanoseconds
//	            below 10^9, varint zone in seconds east of UTC
//	extensions  if flagged: uvarint length, bytes
//	data        if flagged: the rest
//
// uvarint and varint are those of encoding/binary, in the shortest form.
const entryVersion = 1

const (
	entryHasData       = 1 << iota // Data is not nil
	entryHasExtensions             // Extensions is not nil
	entryHasTime                   // AppendedAt is not zero
	entryFlagsEnd
)

const indexSize = 8

func indexKey(index uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, indexSize), index)
}

func keyIndex(key []byte) (uint64, error) {
	if len(key) != indexSize {
		return 0, fmt.Errorf("%w: key of a log entry has %d bytes, want %d", ErrBadEntry, len(key), indexSize)
	}
	return binary.BigEndian.Uint64(key), nil
}

// appendEntry appends the value of l to dst.
func appendEntry(dst []byte, l *raft.Log) []byte {
	var flags byte
	if l.Data != nil {
		flags |= entryHasData
	}
	if l.Extensions != nil {
		flags |= entryHasExtensions
	}
	if !l.AppendedAt.IsZero() {
		flags |= entryHasTime
	}
	dst = append(dst, entryVersion, byte(l.Type), flags)
	dst = binary.AppendUvarint(dst, l.Term)
	if flags&entryHasTime != 0 {
		_, zone := l.AppendedAt.Zone()
		dst = binary.AppendVarint(dst, l.AppendedAt.Unix())
		dst = binary.AppendUvarint(dst, uint64(l.AppendedAt.Nanosecond()))
		dst = binary.AppendVarint(dst, int64(zone))
	}
	if flags&entryHasExtensions != 0 {
		dst = appendBytes(dst, l.Extensions)
	}
	return append(dst, l.Data...)
}

// decodeEntry fills l with the entry of the given index. l.Data and
// l.Extensions point into value.
func decodeEntry(index uint64, value []byte, l *raft.Log) error {
	r := reader{b: value}
	if v := r.byte(); v != entryVersion && !r.bad {
		return fmt.Errorf("%w: entry %d has version %d, want %d", ErrBadEntry, index, v, entryVersion)
	}
	d := raft.Log{Index: index, Type: raft.LogType(r.byte())}
	flags := r.byte()
	d.Term = r.uvarint()
	if flags&entryHasTime != 0 {
		d.AppendedAt = r.time()
	}
	if flags&entryHasExtensions != 0 {
		d.Extensions = r.bytes()
	}
	if r.bad || flags >= entryFlagsEnd || flags&entryHasData == 0 && len(r.b) > 0 {
		return fmt.Errorf("%w: entry %d: %w", ErrBadEntry, index, errMalformed)
	}
	if flags&entryHasData != 0 {
		d.Data = r.b
	}
	*l = d
	return nil
}

// maxZone keeps the zone within what time.FixedZone can print: 24 hours.
const maxZone = 24 * 60 * 60

// time reads a time that is not zero.
func (r *reader) time() time.Time {
	sec, nsec, zone := r.varint(), r.uvarint(), r.varint()
	if nsec >= uint64(time.Second) || zone <= -maxZone || zone >= maxZone {
		r.fail()
		return time.Time{}
	}
	t := time.Unix(sec, int64(nsec))
	if t.IsZero() || t.Unix() != sec {
		r.fail()
		return time.Time{}
	}
	if zone == 0 {
		return t.UTC()
	}
	if _, local := t.Zone(); int64(local) == zone {
		return t
	}
	return t.In(time.FixedZone("", int(zone)))
}
