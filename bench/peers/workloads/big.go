package workloads

import "github.com/lightning-db/lightning/bench/peers/engines"

var bytesPerSec = Metric{Name: "throughput", Unit: BytesPerSec, MoreGood: true}

var bigWorkloads = []Workload{
	{
		Name: "big-put-sync", Title: "1 MiB values: put in a durable commit", Base: Big, Writes: true,
		Metrics: []Metric{bytesPerSec}, Run: func(c *Cell) (Metrics, error) { return c.putBig(true) },
		Limit: func(c *Cell) (Metrics, error) { return c.limitBig(true) }, LimitTitle: "bare BLAKE3 + pwrite + fdatasync",
	},
	{
		Name: "big-put", Title: "1 MiB values: put, no sync", Base: Big, Writes: true,
		Metrics: []Metric{bytesPerSec}, Run: func(c *Cell) (Metrics, error) { return c.putBig(false) },
		Limit: func(c *Cell) (Metrics, error) { return c.limitBig(false) }, LimitTitle: "bare BLAKE3 + pwrite",
	},
	{
		Name: "big-get", Title: "1 MiB values: get, one byte of each 64 read", Base: Big,
		Metrics: []Metric{bytesPerSec}, Run: runBigGet,
		Limit: limitSum, LimitTitle: "the same reads from an array of 256 MiB",
	},
	{
		Name: "big-neighbour", Title: "1 MiB values: a small put beside them in a durable commit", Base: Big, Writes: true,
		Metrics: []Metric{writtenCalls}, Run: runBigNeighbour,
	},
}

// putBig overwrites big values, one in a commit.
func (c *Cell) putBig(durable bool) (m Metrics, err error) {
	return m, c.withDB(engines.Options{Durable: durable, Writers: 1}, func(db engines.DB) error {
		space, values := newSpace(bigCount(c.Keys)), newValuePool(2*bigSize)
		p := newPermutation(space.n, visiting)
		keys := listKeys(space, &p, 0, space.n)
		t, _, err := c.repeatTimed(func(i int) error {
			return db.Update(func(w engines.Writer) error {
				return w.Put(keys.at(i%keys.len()), values.value(i+1, bigSize))
			})
		})
		m = Metrics{bytesPerSec.Name: t.perSecond() * bigSize}
		return err
	})
}

// sumLines reads one byte of each cache line.
func sumLines(value []byte) {
	sum := 0
	for i := 0; i < len(value); i += 64 {
		sum += int(value[i])
	}
	Sink += sum
}

// runBigGet reads all values once off the clock, so that what is measured is
// not the first touch.
func runBigGet(c *Cell) (m Metrics, err error) {
	return m, c.withSession(func(s engines.Session) error {
		space := newSpace(bigCount(c.Keys))
		p := newPermutation(space.n, visiting)
		keys := listKeys(space, &p, 0, space.n)
		get := func(i int) error { return required(s.ViewGet(keys.at(i%keys.len()), sumLines)) }
		for i := range keys.len() {
			if err := get(i); err != nil {
				return err
			}
		}
		t, _, err := c.repeatTimed(get)
		m = Metrics{bytesPerSec.Name: t.perSecond() * bigSize}
		return err
	})
}

// runBigNeighbour puts a small value beside the big ones. The key sorts between
// two of theirs.
func runBigNeighbour(c *Cell) (m Metrics, err error) {
	return m, c.withDB(engines.Options{Durable: true, Writers: 1}, func(db engines.DB) error {
		space := newSpace(bigCount(c.Keys))
		key := append(listKeys(space, nil, space.n/2, 1), 0)
		put := func(i int) error {
			return db.Update(func(w engines.Writer) error { return w.Put(key, c.values.value(i, ValueSize)) })
		}
		for i := range 8 {
			if err := put(i); err != nil {
				return err
			}
		}
		m = Metrics{}
		return c.writtenEach(m, func() (int, error) {
			t, _, err := c.repeatTimed(put)
			return t.n, err
		})
	})
}
