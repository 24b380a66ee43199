package engines

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var seed = flag.Uint64("seed", 0, "seed of the random program; 0 = from the clock")

// TestEngines_AgreeWithMap runs one random program on each engine and on a map:
// what is compared must be right first.
func TestEngines_AgreeWithMap(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", *seed)
	for _, e := range All() {
		for _, durable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/durable=%t", e.Name, durable), func(t *testing.T) {
				p := &program{
					t: t, dir: t.TempDir(), engine: e,
					options: Options{Durable: durable, Writers: 1},
					random:  rand.New(rand.NewPCG(*seed, 1)),
					model:   make(map[string][]byte),
				}
				p.open()
				for range 12 {
					p.write()
					p.read()
				}
				p.reopen()
				p.read()
				p.close()
			})
		}
	}
}

// program is a random program that keeps a map beside an engine.
type program struct {
	t       *testing.T
	dir     string
	engine  Engine
	options Options
	random  *rand.Rand
	model   map[string][]byte
	db      DB
	session Session
}

func (p *program) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *program) open() {
	var err error
	p.db, err = p.engine.Open(p.dir, p.options)
	p.check(err)
	p.session, err = p.db.NewSession()
	p.check(err)
}

func (p *program) close() {
	p.check(p.session.Close())
	p.check(p.db.Close())
}

func (p *program) reopen() {
	p.check(p.db.Sync())
	p.close()
	p.open()
}

func (p *program) key() []byte { return fmt.Appendf(nil, "key %012d", p.random.IntN(500)) }

func (p *program) value() []byte {
	size := 1 + p.random.IntN(200)
	if p.random.IntN(20) == 0 {
		size = 100_000
	}
	v := make([]byte, size)
	for i := range v {
		v[i] = byte(p.random.Uint32())
	}
	return v
}

// write commits a few changes to both.
func (p *program) write() {
	changes := make(map[string][]byte)
	for range p.random.IntN(40) {
		if p.random.IntN(3) == 0 {
			changes[string(p.key())] = nil
		} else {
			changes[string(p.key())] = p.value()
		}
	}
	p.check(p.db.Update(func(w Writer) error {
		for k, v := range changes {
			if v == nil {
				if err := w.Delete([]byte(k)); err != nil {
					return err
				}
			} else if err := w.Put([]byte(k), v); err != nil {
				return err
			}
		}
		return nil
	}))
	for k, v := range changes {
		if v == nil {
			delete(p.model, k)
		} else {
			p.model[k] = v
		}
	}
}

// read compares gets of both kinds, and scans.
func (p *program) read() {
	for range 50 {
		key := p.key()
		p.compare(key, p.session.ViewGet)
	}
	p.check(p.session.Begin())
	for range 50 {
		key := p.key()
		p.compare(key, p.session.Get)
	}
	keys := slices.Sorted(maps.Keys(p.model))
	for _, n := range []int{1, 11, len(keys) + 1} {
		p.compareScan(keys, n)
	}
	p.check(p.session.End())
}

func (p *program) compare(key []byte, get func([]byte, func([]byte)) (bool, error)) {
	p.t.Helper()
	var got []byte
	found, err := get(key, func(v []byte) { got = bytes.Clone(v) })
	p.check(err)
	want, exists := p.model[string(key)]
	if found != exists || !bytes.Equal(got, want) {
		p.t.Fatalf("%q: found %t, %d bytes; want %t, %d bytes", key, found, len(got), exists, len(want))
	}
}

func (p *program) compareScan(keys []string, n int) {
	p.t.Helper()
	from := p.key()
	if n > len(keys) {
		from = []byte{0}
	}
	at, _ := slices.BinarySearch(keys, string(from))
	want := keys[at:min(at+n, len(keys))]
	var got []string
	visited, err := p.session.Scan(from, n, func(k, v []byte) {
		got = append(got, string(k))
		if !bytes.Equal(v, p.model[string(k)]) {
			p.t.Errorf("%q: another value", k)
		}
	})
	p.check(err)
	if visited != len(want) || !slices.Equal(got, want) {
		p.t.Fatalf("scan of %d from %q visited %d: %q, want %q", n, from, visited, got, want)
	}
}

func TestByName_Unknown(t *testing.T) {
	if _, err := ByName([]string{"bbolt", "oracle"}); err == nil {
		t.Error("an engine that does not exist was found")
	}
	found, err := ByName([]string{"bbolt", "lightning"})
	if err != nil || Names(found) != "lightning,bbolt" {
		t.Errorf("got %s, %v", Names(found), err)
	}
}
