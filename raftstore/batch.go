package raftstore

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// Layout of a command, version 1: one byte with the version, 1, and then
// operations, each one byte with its number and what the table says. "In" is the
// bucket of all operations behind it, up to the next "in". Strings are a uvarint
// length and bytes; an optional string is a uvarint length plus one and bytes,
// or 0 for none. The numbers are never reused.
//
//	1 in                       uvarint number of names, each a string
//	2 put                      string key, string value
//	3 delete                   string key
//	4 delete range             optional string from, optional string to
//	5 create bucket
//	6 create bucket if not exists
//	7 delete bucket
//	8 set sequence             uvarint
//	9 expect                   string key, optional string value
const batchVersion = 1

type opKind byte

const (
	opIn opKind = iota + 1
	opPut
	opDelete
	opDeleteRange
	opCreateBucket
	opCreateBucketIfNotExists
	opDeleteBucket
	opSetSequence
	opExpect
)

var opNames = [...]string{
	opIn:                      "in",
	opPut:                     "put",
	opDelete:                  "delete",
	opDeleteRange:             "delete range",
	opCreateBucket:            "create bucket",
	opCreateBucketIfNotExists: "create bucket if not exists",
	opDeleteBucket:            "delete bucket",
	opSetSequence:             "set sequence",
	opExpect:                  "expect",
}

func (k opKind) String() string {
	if int(k) < len(opNames) && opNames[k] != "" {
		return opNames[k]
	}
	return fmt.Sprintf("operation %d", byte(k))
}

// Path names a bucket: the top-level bucket first, then the bucket in it, and so
// on. Names are any bytes.
type Path []string

// Batch is a list of changes that an FSM makes in one transaction: all of them,
// in order, or none if one fails. It takes the place of the function given to
// lightning.DB.Update, which cannot be sent to other machines; what such a
// function would read first is read in FSM.View and confirmed with Expect. The
// zero value is empty and ready for use. Keys and values are copied. A Batch is
// used by one goroutine at a time.
type Batch struct {
	buf []byte
	in  Path // bucket of the last operation
	ops int
}

// Reset empties the batch and keeps its memory; what Bytes returned is
// overwritten.
func (b *Batch) Reset() { *b = Batch{buf: b.buf[:0]} }

// Len returns the number of operations.
func (b *Batch) Len() int { return b.ops }

// Bytes returns the command, to be given to raft.Raft.Apply, which keeps it: use
// a new Batch for the next. The slice is valid until Reset.
func (b *Batch) Bytes() []byte {
	if len(b.buf) == 0 {
		return []byte{batchVersion}
	}
	return b.buf
}

// add begins an operation in the bucket p.
func (b *Batch) add(p Path, kind opKind) {
	if len(b.buf) == 0 {
		b.buf = append(b.buf, batchVersion)
	}
	if b.ops == 0 || !slices.Equal(p, b.in) {
		b.buf = append(b.buf, byte(opIn))
		b.buf = binary.AppendUvarint(b.buf, uint64(len(p)))
		for _, name := range p {
			b.buf = appendBytes(b.buf, name)
		}
		b.in = slices.Clone(p)
	}
	b.ops++
	b.buf = append(b.buf, byte(kind))
}

// appendOptional tells nil from empty.
func appendOptional(dst, p []byte) []byte {
	if p == nil {
		return append(dst, 0)
	}
	return append(binary.AppendUvarint(dst, uint64(len(p))+1), p...)
}

// Put sets the value of key in the bucket p, which must exist.
func (b *Batch) Put(p Path, key, value []byte) {
	b.add(p, opPut)
	b.buf = appendBytes(b.buf, key)
	b.buf = appendBytes(b.buf, value)
}

// Delete removes key from the bucket p, which must exist; the key need not.
func (b *Batch) Delete(p Path, key []byte) {
	b.add(p, opDelete)
	b.buf = appendBytes(b.buf, key)
}

// DeleteRange removes the keys from from (inclusive) to to (exclusive) from the
// bucket p, which must exist; nil leaves that side open. It fails if a nested
// bucket lies in the range.
func (b *Batch) DeleteRange(p Path, from, to []byte) {
	b.add(p, opDeleteRange)
	b.buf = appendOptional(b.buf, from)
	b.buf = appendOptional(b.buf, to)
}

// CreateBucket creates the bucket p, which must not exist, in one that must.
func (b *Batch) CreateBucket(p Path) { b.add(p, opCreateBucket) }

// CreateBucketIfNotExists creates the bucket p, and those around it, as far as
// they do not exist.
func (b *Batch) CreateBucketIfNotExists(p Path) { b.add(p, opCreateBucketIfNotExists) }

// DeleteBucket deletes the bucket p, which must exist, with all that it holds.
func (b *Batch) DeleteBucket(p Path) { b.add(p, opDeleteBucket) }

// SetSequence sets the counter of the bucket p, which must exist.
func (b *Batch) SetSequence(p Path, v uint64) {
	b.add(p, opSetSequence)
	b.buf = binary.AppendUvarint(b.buf, v)
}

// Expect makes the batch fail with ErrExpectation unless key has exactly this
// value in the bucket p at that point of the batch. A nil value says that there
// is no such key; then the bucket need not exist either.
func (b *Batch) Expect(p Path, key, value []byte) {
	b.add(p, opExpect)
	b.buf = appendBytes(b.buf, key)
	b.buf = appendOptional(b.buf, value)
}

// Apply replicates b through node, which must be the leader, and waits until the
// FSM of this machine has applied it. timeout limits the wait until raft has
// taken the command in; 0 waits for ever. A *CommandError says that the batch
// was replicated and fails alike everywhere; after other errors, such as
// raft.ErrRaftShutdown and raft.ErrLeadershipLost, its outcome may be unknown.
// The node keeps b.Bytes: b must not be Reset.
func Apply(node *raft.Raft, b *Batch, timeout time.Duration) error {
	future := node.Apply(b.Bytes(), timeout)
	done := make(chan error, 1)
	go func() { done <- future.Error() }()
	// A raft that is shut down never answers what waits for its FSM.
	poll := time.NewTicker(shutdownPollInterval)
	defer poll.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				return err
			}
			if err, ok := future.Response().(error); ok {
				return err
			}
			return nil
		case <-poll.C:
			if node.State() == raft.Shutdown {
				return raft.ErrRaftShutdown
			}
		}
	}
}

const shutdownPollInterval = 100 * time.Millisecond

// operation is one operation of a command. Its slices point into the command.
type operation struct {
	kind       opKind
	in         Path   // of opIn
	key, value []byte // from and to of opDeleteRange
	number     uint64 // of opSetSequence
}

// operation reads the next one.
func (r *reader) operation() operation {
	op := operation{kind: opKind(r.byte())}
	switch op.kind {
	case opIn:
		op.in = r.path()
	case opPut:
		op.key, op.value = r.bytes(), r.bytes()
	case opDelete:
		op.key = r.bytes()
	case opDeleteRange:
		op.key, op.value = r.optional(), r.optional()
	case opSetSequence:
		op.number = r.uvarint()
	case opExpect:
		op.key, op.value = r.bytes(), r.optional()
	case opCreateBucket, opCreateBucketIfNotExists, opDeleteBucket:
	default:
		r.fail()
	}
	return op
}

func (r *reader) optional() []byte {
	n := r.uvarint()
	if n == 0 {
		return nil
	}
	if n-1 > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	p := r.b[: n-1 : n-1]
	r.b = r.b[n-1:]
	return p
}

func (r *reader) path() Path {
	n := r.uvarint()
	if n > uint64(len(r.b)) { // a name takes a byte at least
		r.fail()
		return nil
	}
	p := make(Path, n)
	for i := range p {
		p[i] = string(r.bytes())
	}
	return p
}
