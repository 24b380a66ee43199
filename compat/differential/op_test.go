package differential_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// kind is what an operation does.
type kind uint8

const (
	opBegin      kind = iota // A: writable?
	opCommit                 // A: which transaction
	opRollback               // A: which transaction
	opManaged                // A: Update, View or Batch; Sub; B: how the function ends
	opRoot                   // A: which transaction: a handle of its root bucket
	opOpen                   // A: which bucket; Key: nested bucket, opened
	opCreate                 // A: which bucket; Key; B: IfNotExists?
	opDropBucket             // A: which bucket; Key
	opMove                   // A: source bucket, B: target bucket; Key; N: by the transaction?
	opPut                    // A: which bucket; Key; N: length of the value
	opGet                    // A: which bucket; Key
	opDelete                 // A: which bucket; Key
	opSequence               // A: which bucket; B: get, set, next; N
	opCursor                 // A: which bucket: a new cursor
	opMoveTo                 // A: which cursor; B: First, Last, Next, Prev, Seek; Key
	opRemove                 // A: which cursor: Delete
	opForEach                // A: which bucket; B: of which kind; N: entries until it fails
	opDump                   // A: which transaction: all that is in it
	opInspect                // A: which transaction
	opOnCommit               // A: which transaction
	opStats                  //
	opMany                   // A: which bucket; Key: prefix; N: so many puts
	opManyDel                // A: which bucket; Key: prefix; N: so many deletes
	opReopen                 //
	kinds
)

var kindNames = [kinds]string{
	"Begin", "Commit", "Rollback", "Managed", "Root", "Open", "Create", "DropBucket", "Move", "Put", "Get", "Delete",
	"Sequence", "Cursor", "MoveTo", "Remove", "ForEach", "Dump", "Inspect", "OnCommit", "Stats", "Many", "ManyDel", "Reopen",
}

// weights are how often a kind is chosen.
var weights = [kinds]int{
	opBegin: 6, opCommit: 3, opRollback: 2, opManaged: 4, opRoot: 3, opOpen: 7, opCreate: 8, opDropBucket: 2, opMove: 2, opPut: 18,
	opGet: 6, opDelete: 7, opSequence: 4, opCursor: 4, opMoveTo: 14, opRemove: 3, opForEach: 3, opDump: 1, opInspect: 1,
	opOnCommit: 1, opStats: 1, opMany: 2, opManyDel: 2, opReopen: 1,
}

// op is one step of a program. Which transaction, bucket or cursor is meant is a
// number modulo those that there are when it runs.
type op struct {
	Kind kind
	A, B int
	N    int
	Key  []byte
	Sub  []op
}

func (o op) String() string {
	s := fmt.Sprintf("%s A=%d B=%d N=%d", kindNames[o.Kind], o.A, o.B, o.N)
	if o.Key != nil {
		key := fmt.Sprintf("%q", o.Key)
		if len(o.Key) > 20 {
			key = fmt.Sprintf("%q... of %d bytes", o.Key[:8], len(o.Key))
		}
		s += " Key=" + key
	}
	for _, sub := range o.Sub {
		s += "\n    " + strings.ReplaceAll(sub.String(), "\n", "\n    ")
	}
	return s
}

// choices is where a program comes from: random numbers, or a fuzzer's bytes.
type choices interface {
	IntN(n int) int
	more() bool // false ends the program
}

type random struct {
	*rand.Rand
	left int
}

func (r *random) more() bool {
	r.left--
	return r.left >= 0
}

// scripted takes its choices from bytes.
type scripted []byte

func (s *scripted) more() bool { return len(*s) > 0 }

func (s *scripted) IntN(n int) int {
	v := 0
	for range 2 {
		v <<= 8
		if len(*s) > 0 {
			v |= int((*s)[0])
			*s = (*s)[1:]
		}
		if n <= 256 {
			break
		}
	}
	return v % n
}

// generate makes a program.
func generate(c choices) (program []op) {
	for c.more() {
		program = append(program, generateOp(c, true))
	}
	return program
}

func generateOp(c choices, top bool) op {
	o := op{Kind: chooseKind(c), A: c.IntN(16), B: c.IntN(16), N: c.IntN(8)}
	if !top && (o.Kind <= opManaged || o.Kind == opReopen) {
		o.Kind = opPut // a function of View or Update begins and ends nothing
	}
	switch o.Kind {
	case opOpen, opCreate, opDropBucket, opMove:
		o.Key = name(c)
	case opPut:
		o.Key, o.N = key(c), valueLength(c)
	case opGet, opDelete, opMoveTo:
		o.Key = key(c)
	case opMany, opManyDel:
		o.Key, o.N = []byte{byte('a' + c.IntN(4))}, 1+c.IntN(300)
	case opManaged:
		for range c.IntN(12) {
			o.Sub = append(o.Sub, generateOp(c, false))
		}
	}
	return o
}

func chooseKind(c choices) kind {
	total := 0
	for _, w := range weights {
		total += w
	}
	at := c.IntN(total)
	for k, w := range weights {
		if at -= w; at < 0 {
			return kind(k)
		}
	}
	panic("unreachable")
}

// name is one of few names of buckets, some of which are keys, too.
func name(c choices) []byte {
	switch n := c.IntN(40); {
	case n == 0:
		return []byte{}
	case n == 1:
		return make([]byte, 40_000)
	case n < 30:
		return []byte{'A' + byte(n%5)}
	default:
		return key(c)
	}
}

// key is one of some keys: short ones, ones with a common prefix, and the
// longest there are, and one more.
func key(c choices) []byte {
	switch n := c.IntN(60); {
	case n == 0:
		return []byte{}
	case n == 1:
		return longKey(lightningMaxKey, byte(c.IntN(3)))
	case n == 2:
		return longKey(lightningMaxKey+1, 0)
	case n < 6:
		return longKey(200+c.IntN(900), byte(c.IntN(3)))
	case n < 12:
		return []byte{'A' + byte(n%5)}
	case n < 20:
		return fmt.Appendf(nil, "common prefix %d", c.IntN(30))
	default:
		return fmt.Appendf(nil, "%c%03d", 'a'+c.IntN(4), c.IntN(40))
	}
}

const lightningMaxKey = 32768

func longKey(n int, last byte) []byte {
	k := make([]byte, n)
	for i := range k {
		k[i] = 'l'
	}
	k[n-1] = last
	return k
}

func valueLength(c choices) int {
	switch n := c.IntN(30); {
	case n == 0:
		return 0
	case n == 1:
		return 100_000 + c.IntN(1000)
	case n == 2:
		return 4096*(1+c.IntN(3)) - c.IntN(200)
	case n < 8:
		return 500 + c.IntN(2000)
	default:
		return 1 + c.IntN(60)
	}
}
