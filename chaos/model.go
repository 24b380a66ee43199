package chaos

import (
	"fmt"
	"hash/maphash"
	"maps"
	"strings"

	"github.com/lightning-db/lightning"
)

// content is what one state of a database holds: "bucket/" or "bucket/key" to
// the hash of the sequence or value.
type content map[string]uint64

var hashSeed = maphash.MakeSeed()

func hashOf(entry string, value []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(hashSeed)
	h.WriteString(entry)
	h.WriteByte(0)
	h.Write(value)
	return h.Sum64() | 1
}

// model is the content that the newest transaction should leave. It is changed
// beside the database and can take back what a failed transaction did.
type model struct {
	entries content
	undo    []func()
}

func newModel(c content) *model { return &model{entries: maps.Clone(c)} }

func (m *model) put(entry string, value []byte) { m.set(entry, hashOf(entry, value)) }

func (m *model) sequence(bucket string, n uint64) { m.put(bucket+"/", fmt.Append(nil, n)) }

// set stores the hash of an entry, 0 to delete it.
func (m *model) set(entry string, hash uint64) {
	old := m.entries[entry]
	m.undo = append(m.undo, func() { m.replace(entry, old) })
	m.replace(entry, hash)
}

func (m *model) replace(entry string, hash uint64) {
	if hash == 0 {
		delete(m.entries, entry)
		return
	}
	m.entries[entry] = hash
}

// drop removes the bucket and all below.
func (m *model) drop(bucket string) {
	for entry := range m.entries {
		if strings.HasPrefix(entry, bucket+"/") {
			m.set(entry, 0)
		}
	}
}

// begin starts a transaction.
func (m *model) begin() { m.undo = m.undo[:0] }

// rollback takes back what was done since begin.
func (m *model) rollback() {
	for i := len(m.undo) - 1; i >= 0; i-- {
		m.undo[i]()
	}
	m.undo = m.undo[:0]
}

// load reads a whole state. With an error it returns what it read before that.
func load(tx *lightning.Tx) (content, error) {
	c := make(content)
	var walk func(path string, b *lightning.Bucket) error
	walk = func(path string, b *lightning.Bucket) error {
		if b == nil {
			if err := tx.Err(); err != nil {
				return err
			}
			return fmt.Errorf("bucket %q is listed and cannot be opened, and the transaction knows no error", path)
		}
		sequence := b.Sequence()
		c[path+"/"] = hashOf(path+"/", fmt.Append(nil, sequence))
		return b.ForEach(func(k, v []byte) error {
			entry := path + "/" + string(k)
			if v == nil {
				return walk(entry, b.Bucket(k))
			}
			c[entry] = hashOf(entry, v)
			return nil
		})
	}
	if err := tx.ForEach(func(name []byte, b *lightning.Bucket) error { return walk(string(name), b) }); err != nil {
		return c, err
	}
	return c, tx.Err()
}

// within returns the first difference that makes got no part of want, "" if
// there is none.
func (want content) within(got content) string {
	for entry, hash := range got {
		switch w, ok := want[entry]; {
		case !ok:
			return fmt.Sprintf("%q was never there", shorten(entry))
		case w != hash:
			return fmt.Sprintf("%q has another value", shorten(entry))
		}
	}
	return ""
}

// diff returns a difference between want and got, "" if there is none.
func (want content) diff(got content) string {
	if d := want.within(got); d != "" {
		return d
	}
	for entry := range want {
		if _, ok := got[entry]; !ok {
			return fmt.Sprintf("%q is missing", shorten(entry))
		}
	}
	return ""
}

func shorten(entry string) string {
	if len(entry) > 40 {
		return entry[:40] + "..."
	}
	return entry
}
