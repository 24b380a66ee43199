package fuzz

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"testing"
	"time"

	lightning "github.com/lightning-db/lightning"
)

// program reads an input byte by byte. Past its end everything is zero.
type program struct{ rest []byte }

func (p *program) done() bool { return len(p.rest) == 0 }

func (p *program) byte() byte {
	if p.done() {
		return 0
	}
	b := p.rest[0]
	p.rest = p.rest[1:]
	return b
}

// n returns a number in [0, limit).
func (p *program) n(limit int) int {
	if limit <= 1 {
		return 0
	}
	if limit <= 256 {
		return int(p.byte()) % limit
	}
	return (int(p.byte()) | int(p.byte())<<8 | int(p.byte())<<16) % limit
}

// key returns a key of one of several kinds: short, with a long common prefix,
// in an extent of its own, too long, empty. n chooses among those of a kind.
func key(kind byte, n int, pageSize int) []byte {
	switch {
	case kind < 160:
		return fmt.Appendf(nil, "%c%03d", 'a'+kind%4, n)
	case kind < 200:
		return fmt.Appendf(bytes.Repeat([]byte("p"), 60+int(kind)%16), "%04x", n)
	case kind < 225:
		return binary.BigEndian.AppendUint16(nil, uint16(n*257))
	case kind < 252:
		// Those of a kind tie in the part that pages hold.
		k := bytes.Repeat([]byte{kind}, 64+int(kind)%40)
		k = append(k, byte(n))
		return append(k, bytes.Repeat([]byte("L"), pageSize/8*(1+n%9))...)
	case kind == 252:
		return bytes.Repeat([]byte("M"), lightning.MaxKeySize)
	case kind == 253:
		return bytes.Repeat([]byte("N"), lightning.MaxKeySize+1)
	case kind == 254:
		return []byte{byte(n)}
	}
	return nil
}

// value returns a value of one of several lengths around the engine's limits,
// filled so that no two puts of a program store the same.
func value(kind byte, serial int, pageSize int) []byte {
	const header = 40
	sizes := [...]int{
		8, 0, 1, 30, 100, 300, pageSize/4 - 1, pageSize / 4, pageSize/4 + 1, pageSize - header,
		pageSize - header + 1, pageSize, 2*pageSize - header, 3*pageSize + 7, 5 * pageSize, 60,
	}
	v := make([]byte, sizes[int(kind)%len(sizes)])
	for i := range v {
		v[i] = byte(serial>>(i%3*8)) + byte(i/3)
	}
	return v
}

// hangLimit is far above what any input takes.
const hangLimit = 30 * time.Second

// watch kills the process, with the stacks of all goroutines, if the input
// hangs. The fuzzer then keeps the input.
func watch(t testing.TB) {
	t.Helper()
	debug.SetMaxStack(128 << 20) // endless recursion is to fail before memory runs out
	timer := time.AfterFunc(hangLimit, func() {
		debug.SetTraceback("all")
		panic("the input hangs")
	})
	t.Cleanup(func() { timer.Stop() })
}
