package workloads

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

// machineWorkloads have no engine: they are what the machine can do.
var machineWorkloads = []Workload{
	{
		Name: "machine", Title: "The machine",
		Metrics: []Metric{
			{Name: "BLAKE3 of 4 KiB", Unit: Nanoseconds},
			{Name: "BLAKE3 of 64 KiB, for 4 KiB", Unit: Nanoseconds},
			{Name: "computing, 14 hashes of 4 KiB, P50", Unit: Nanoseconds},
			{Name: "computing, 14 hashes of 4 KiB, P99", Unit: Nanoseconds},
			{Name: "memory copy", Unit: BytesPerSec, MoreGood: true},
			{Name: "making a key", Unit: Nanoseconds},
			{Name: "taking a key from the list", Unit: Nanoseconds},
		},
		Limit: limitMachine, LimitTitle: "limits",
	},
}

// all is in the order of the report.
var all = concat(machineWorkloads, readWorkloads, loadWorkloads, commitWorkloads, bigWorkloads, openWorkloads)

func concat(groups ...[]Workload) (joined []Workload) {
	for _, g := range groups {
		joined = append(joined, g...)
	}
	return joined
}

// limitMachine measures memory, hashing and the cost of the harness's own keys.
func limitMachine(c *Cell) (Metrics, error) {
	part := *c
	part.Seconds = c.Seconds / 5
	const size = 64 << 20
	from, to := newValuePool(size), make([]byte, size)
	page := from[:4096]
	hash4, err := part.repeat(func(int) error { hash(page); return nil })
	if err != nil {
		return nil, err
	}
	hash64, err := part.repeat(func(int) error { hash(from[:64<<10]); return nil })
	if err != nil {
		return nil, err
	}
	// About as long as a commit without sync, without anything that waits.
	_, computing, err := part.repeatTimed(func(int) error {
		for range 14 {
			hash(page)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	copy(to, from) // touches the pages
	copied, _, err := part.repeatTimed(func(int) error { copy(to, from); return nil })
	if err != nil {
		return nil, err
	}
	keys, p := c.readOrder(0), newPermutation(c.Keys, visiting)
	var key [KeySize]byte
	made, err := part.repeat(func(i int) error {
		c.space.key(key[:], p.at(i%c.Keys))
		Sink += int(key[0])
		return nil
	})
	if err != nil {
		return nil, err
	}
	taken, err := part.repeat(func(i int) error { Sink += int(keys.at(i % keys.len())[0]); return nil })
	return Metrics{
		"BLAKE3 of 4 KiB":                    hash4.nanoseconds(),
		"BLAKE3 of 64 KiB, for 4 KiB":        hash64.nanoseconds() / 16,
		"computing, 14 hashes of 4 KiB, P50": percentile(computing, 50),
		"computing, 14 hashes of 4 KiB, P99": percentile(computing, 99),
		"memory copy":                        copied.perSecond() * size,
		"making a key":                       made.nanoseconds(),
		"taking a key from the list":         taken.nanoseconds(),
	}, err
}

func hash(data []byte) {
	sum := blake3.Sum256(data)
	Sink += int(sum[0])
}

// limitMap measures a Go map of the same keys and values.
func limitMap(c *Cell) (Metrics, error) {
	m := make(map[[KeySize]byte][]byte, c.Keys)
	p := newPermutation(c.Keys, insertion)
	var key [KeySize]byte
	values := make([]byte, c.Keys*ValueSize)
	for i := range c.Keys {
		c.space.key(key[:], p.at(i))
		v := values[i*ValueSize : (i+1)*ValueSize]
		copy(v, c.values.value(i, ValueSize))
		m[key] = v
	}
	t, err := c.readAll(c.readOrder(0), func(key []byte) error {
		v, found := m[[KeySize]byte(key)]
		if found {
			touch(v)
		}
		return required(found, nil)
	})
	return t.readMetrics(), err
}

// writtenFile makes a file of size bytes whose blocks have been written, so
// that overwriting them changes nothing but data.
func (c *Cell) writtenFile(size int) (*os.File, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(c.Dir, "bare"))
	if err != nil {
		return nil, err
	}
	pool := newValuePool(1 << 20)
	for at := 0; at < size; at += len(pool) {
		if _, err := f.WriteAt(pool, int64(at)); err != nil {
			return nil, closeWith(err, f)
		}
	}
	if err := f.Sync(); err != nil {
		return nil, closeWith(err, f)
	}
	return f, nil
}

// limitWrite measures what a durable commit cannot do without: six pages of
// 4 KiB in one run, written with one call, and one flush.
func limitWrite(c *Cell) (Metrics, error) {
	const (
		page  = 4096
		pages = 6
		size  = 256 << 20
	)
	f, err := c.writtenFile(size)
	if err != nil {
		return nil, err
	}
	vector := make([][]byte, pages)
	for i := range vector {
		vector[i] = newValuePool(page)
	}
	p := newPermutation(size/(page*pages), visiting)
	m := Metrics{Flushes.Name: 1}
	err = c.writtenEach(m, func() (int, error) {
		t, h, err := c.repeatTimed(func(i int) error {
			at := int64(p.at(i%int(p.n))) * page * pages
			if _, err := unix.Pwritev(int(f.Fd()), vector, at); err != nil {
				return err
			}
			return unix.Fdatasync(int(f.Fd()))
		})
		if err == nil {
			m[p50.Name], m[p99.Name], m[perAllocs.Name] = percentile(h, 50), percentile(h, 99), t.allocsEach()
		}
		return t.n, err
	})
	return m, errors.Join(err, f.Close())
}

// limitBig measures hashing and writing 1 MiB.
func (c *Cell) limitBig(durable bool) (Metrics, error) {
	count := bigCount(c.Keys)
	f, err := c.writtenFile(count * bigSize)
	if err != nil {
		return nil, err
	}
	values := newValuePool(2 * bigSize)
	t, _, err := c.repeatTimed(func(i int) error {
		value := values.value(i, bigSize)
		hash(value)
		if _, err := f.WriteAt(value, int64(i%count)*bigSize); err != nil || !durable {
			return err
		}
		return unix.Fdatasync(int(f.Fd()))
	})
	return Metrics{bytesPerSec.Name: t.perSecond() * bigSize}, errors.Join(err, f.Close())
}

// limitSum measures reading one byte of each cache line.
func limitSum(c *Cell) (Metrics, error) {
	memory := newValuePool(bigCount(c.Keys) * bigSize)
	var t tally
	for began := time.Now(); t.time < c.duration(); t.time = time.Since(began) {
		sumLines(memory)
		t.n++
	}
	return Metrics{bytesPerSec.Name: t.perSecond() * float64(len(memory))}, nil
}
