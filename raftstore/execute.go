package raftstore

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/lightning-db/lightning"
)

var (
	// ErrBadCommand is why a command fails that is not one of a Batch.
	ErrBadCommand = errors.New("damaged or foreign command")
	// ErrExpectation is why a batch fails when Batch.Expect does not hold.
	ErrExpectation = errors.New("key does not have the expected value")
	// ErrReservedBucket is why a batch fails that names the FSM's own bucket,
	// raft.fsm.
	ErrReservedBucket = errors.New("bucket is reserved for the FSM")
)

// CommandError is the response to a command that failed. It depends on nothing
// but the commands before it, and so is the same on every node. The command has
// changed nothing.
type CommandError struct {
	Op   int    // position of the failed operation in the batch, from 0
	Name string // what the operation is
	Err  error  // one of this package's or of package lightning's sentinels
}

// Error names the operation and the reason.
func (e *CommandError) Error() string {
	return fmt.Sprintf("operation %d (%s): %v", e.Op, e.Name, e.Err)
}

// Unwrap returns Err.
func (e *CommandError) Unwrap() error { return e.Err }

// verdicts are the reasons for which a command fails on every node. All other
// errors are about this machine: its disk, its file, its limits.
var verdicts = []error{
	ErrBadCommand,
	ErrExpectation,
	ErrReservedBucket,
	lightning.ErrBucketNotFound,
	lightning.ErrBucketExists,
	lightning.ErrBucketNameRequired,
	lightning.ErrBucketDepth,
	lightning.ErrKeyRequired,
	lightning.ErrKeyTooLarge,
	lightning.ErrValueTooLarge,
	lightning.ErrIncompatibleValue,
}

// verdict returns the sentinel in err, whose text does not depend on the
// machine, or nil.
func verdict(err error) error {
	for _, v := range verdicts {
		if errors.Is(err, v) {
			return v
		}
	}
	return nil
}

// execution is a command on its way through a transaction.
type execution struct {
	tx     *lightning.Tx
	in     Path
	bucket *lightning.Bucket // at in; nil = not looked up
}

// execute runs a command. A *CommandError says that the command is at fault; any
// other error, that the machine is. After either, tx must be rolled back.
func execute(tx *lightning.Tx, command []byte) error {
	r := reader{b: command}
	if v := r.byte(); v != batchVersion {
		return &CommandError{Name: "version", Err: ErrBadCommand}
	}
	x := execution{tx: tx}
	for n := 0; len(r.b) > 0; {
		op := r.operation()
		err := ErrBadCommand
		if !r.bad {
			err = x.do(op)
		}
		if err := blame(tx, n, op.kind, err); err != nil {
			return err
		}
		if op.kind != opIn {
			n++
		}
	}
	return nil
}

// blame tells a command's own fault from that of the machine.
func blame(tx *lightning.Tx, n int, kind opKind, err error) error {
	// Damage comes first: under it a bucket that exists is not found.
	if txErr := tx.Err(); txErr != nil {
		err = txErr
	}
	if v := verdict(err); v != nil && !errors.Is(err, lightning.ErrChecksum) {
		return &CommandError{Op: n, Name: kind.String(), Err: v}
	}
	return err
}

func (x *execution) do(op operation) error {
	switch op.kind {
	case opIn:
		return x.enter(op.in)
	case opCreateBucket:
		return x.create()
	case opCreateBucketIfNotExists:
		return x.createAll()
	case opDeleteBucket:
		return x.drop()
	}
	b, err := x.current()
	if op.kind == opExpect {
		return expect(b, err, op)
	}
	if err != nil {
		return err
	}
	switch op.kind {
	case opPut:
		return b.Put(op.key, op.value)
	case opDelete:
		return b.Delete(op.key)
	case opDeleteRange:
		_, err := b.DeleteRange(op.key, op.value)
		return err
	case opSetSequence:
		return b.SetSequence(op.number)
	}
	return ErrBadCommand
}

func expect(b *lightning.Bucket, err error, op operation) error {
	absent := op.value == nil
	switch {
	case absent && errors.Is(err, lightning.ErrBucketNotFound):
		return nil
	case err != nil:
		return err
	case absent && b.Bucket(op.key) != nil:
		return ErrExpectation
	}
	got := b.Get(op.key)
	if (got == nil) != absent || !bytes.Equal(got, op.value) {
		return ErrExpectation
	}
	return nil
}

func (x *execution) enter(p Path) error {
	if len(p) == 0 {
		return lightning.ErrBucketNameRequired
	}
	if p[0] == string(fsmBucket) {
		return ErrReservedBucket
	}
	x.in, x.bucket = p, nil
	return nil
}

// current returns the bucket at in.
func (x *execution) current() (*lightning.Bucket, error) {
	if x.bucket != nil {
		return x.bucket, nil
	}
	if len(x.in) == 0 {
		return nil, ErrBadCommand // a Batch says where it is first
	}
	b, err := x.find(x.in)
	x.bucket = b
	return b, err
}

// find returns the bucket at p, which has a name at least.
func (x *execution) find(p Path) (*lightning.Bucket, error) {
	b := x.tx.Bucket([]byte(p[0]))
	for _, name := range p[1:] {
		if b == nil {
			break
		}
		b = b.Bucket([]byte(name))
	}
	if b == nil {
		return nil, lightning.ErrBucketNotFound
	}
	return b, nil
}

// holder is what buckets are created and deleted in: a Tx or a Bucket.
type holder interface {
	CreateBucket([]byte) (*lightning.Bucket, error)
	CreateBucketIfNotExists([]byte) (*lightning.Bucket, error)
	DeleteBucket([]byte) error
}

// parent returns what holds the bucket at in, and its name there.
func (x *execution) parent() (holder, []byte, error) {
	if len(x.in) == 0 {
		return nil, nil, ErrBadCommand
	}
	last := len(x.in) - 1
	name := []byte(x.in[last])
	if last == 0 {
		return x.tx, name, nil
	}
	b, err := x.find(x.in[:last])
	return b, name, err
}

func (x *execution) create() error {
	h, name, err := x.parent()
	if err != nil {
		return err
	}
	x.bucket, err = h.CreateBucket(name)
	return err
}

func (x *execution) createAll() error {
	if len(x.in) == 0 {
		return ErrBadCommand
	}
	var h holder = x.tx
	for _, name := range x.in {
		b, err := h.CreateBucketIfNotExists([]byte(name))
		if err != nil {
			return err
		}
		h, x.bucket = b, b
	}
	return nil
}

func (x *execution) drop() error {
	h, name, err := x.parent()
	if err != nil {
		return err
	}
	x.bucket = nil
	return h.DeleteBucket(name)
}
