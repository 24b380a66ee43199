package lightning_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/seed"
)

var loadRounds = flag.Int("load.rounds", 25, "transactions of TestBucket_Load_Model for each page size")

// loadModel is a database whose bucket b is loaded and changed at random, and what
// it must hold.
type loadModel struct {
	*rand.Rand
	t        *testing.T
	db       *lightning.DB
	pageSize int
	want     map[string]string
	serial   int
}

// TestBucket_Load_Model loads sorted runs of keys of every kind, before, among and
// behind those that are there, between puts and deletes, in transactions that are
// committed, rolled back, or end because the source fails. Sizes, fills and page
// sizes vary. After each commit the database is checked and compared with a map.
func TestBucket_Load_Model(t *testing.T) {
	for _, size := range pageSizes {
		t.Run(fmt.Sprintf("page=%d", size), func(t *testing.T) {
			m := &loadModel{Rand: seed.Rand(t), t: t, pageSize: size, want: map[string]string{}}
			opts := &lightning.Options{PageSize: size, NoSync: true}
			m.db = openDB(t, opts)
			mustUpdate(t, m.db, func(tx *lightning.Tx) { mustCreate(t, tx, "b") })
			for range *loadRounds {
				m.transaction()
				checkDB(t, m.db)
				if t.Failed() {
					return
				}
				wantModel(t, m.db, m.want)
				if m.IntN(10) == 0 {
					m.db = reopen(t, m.db, opts)
				}
			}
		})
	}
}

var errDropped = errors.New("dropped on purpose")

func (m *loadModel) transaction() {
	before := maps.Clone(m.want)
	err := m.db.Update(func(tx *lightning.Tx) error {
		b := mustBucket(m.t, tx, "b")
		for range 1 + m.IntN(4) {
			if err := m.step(b); err != nil {
				return err
			}
		}
		if m.IntN(3) == 0 {
			wantPairs(m.t, b, m.want)
		}
		if m.IntN(6) == 0 {
			return errDropped
		}
		return nil
	})
	if err != nil {
		wantErr(m.t, "Update", err, errDropped)
		m.want = before
	}
}

func (m *loadModel) step(b *lightning.Bucket) error {
	switch m.IntN(8) {
	case 0:
		from, to := m.key(), m.key()
		if from > to {
			from, to = to, from
		}
		_, err := b.DeleteRange([]byte(from), []byte(to))
		maps.DeleteFunc(m.want, func(k, _ string) bool { return k >= from && k < to })
		return err
	case 1:
		for k := range m.want {
			if m.IntN(3) > 0 {
				delete(m.want, k)
				if err := b.Delete([]byte(k)); err != nil {
					return err
				}
			}
		}
		return nil
	case 2:
		for range m.IntN(50) {
			k, v := m.key(), m.value()
			m.want[k] = v
			if err := b.Put([]byte(k), []byte(v)); err != nil {
				return err
			}
		}
		return nil
	}
	return m.load(b)
}

// load loads a sorted run of keys; one in five fails in the middle.
func (m *loadModel) load(b *lightning.Bucket) error {
	b.FillPercent = []float64{lightning.DefaultFillPercent, 0.05, 0.3, 0.8, 1, 2}[m.IntN(6)]
	run := map[string]string{}
	prefix := ""
	if m.IntN(2) == 0 { // behind what is there
		prefix = slices.Max(append(slices.Collect(maps.Keys(m.want)), ""))
		prefix = prefix[:m.IntN(min(len(prefix), 70)+1)] + "\xff"
	}
	for range m.IntN(400) {
		run[prefix+m.key()] = m.value()
	}
	keys := slices.Sorted(maps.Keys(run))
	stop := len(keys)
	if m.IntN(5) == 0 {
		stop = m.IntN(len(keys) + 1)
	}
	n, err := b.Load(func(put func(key, value []byte) error) error {
		var pairs []pair
		for _, k := range keys[:stop] {
			pairs = append(pairs, pair{k, run[k]})
		}
		if err := feed(pairs...)(put); err != nil {
			return err
		}
		if stop < len(keys) {
			return errDropped
		}
		return nil
	})
	for _, k := range keys[:stop] {
		m.want[k] = run[k]
	}
	if n != stop {
		m.t.Errorf("Load = %d, want %d", n, stop)
	}
	if err == errDropped && m.IntN(2) == 0 {
		return nil // what was loaded stays
	}
	return err
}

// key returns a key of one of several kinds: short ones, such with much in common,
// and long ones that differ before or behind what pages hold of them.
func (m *loadModel) key() string {
	inline := m.pageSize / 8
	tie := strings.Repeat("t", 64)
	switch k := m.IntN(40); {
	case k < 12:
		return m.text(1+m.IntN(3), "\x00\x01ab\xfe\xff")
	case k < 24:
		return "common/prefix/" + m.text(4, "0123456789")
	case k < 32:
		return m.text(10, "abcdefgh")
	case k < 35:
		return tie[:60+m.IntN(5)] + m.text(3, "\x00ab\xff")
	case k < 37:
		return tie + m.text(inline-66+m.IntN(5), "ab")
	case k < 39:
		return tie + strings.Repeat("u", inline) + m.text(m.IntN(4), "\x00ab")
	}
	return m.text(1+m.IntN(lightning.MaxKeySize/4), "xy")
}

// value returns a value unlike those before, now and then one with pages of its own.
func (m *loadModel) value() string {
	m.serial++
	v := fmt.Sprintf("%d.", m.serial)
	switch k := m.IntN(40); {
	case k < 4:
		return ""
	case k < 30:
		return v + strings.Repeat("v", m.IntN(200))
	case k < 38:
		return v + strings.Repeat("w", m.IntN(m.pageSize/4))
	}
	return v + strings.Repeat("x", m.pageSize/4+m.IntN(3*m.pageSize))
}

func (m *loadModel) text(n int, alphabet string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[m.IntN(len(alphabet))]
	}
	return string(b)
}
