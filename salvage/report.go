package salvage

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Grade says what justifies a value that was saved.
type Grade uint8

const (
	// Verified: every page from the newest meta page down has the digest that
	// its parent holds. The value is the one that a transaction would have read.
	Verified Grade = iota
	// Attested: a damaged page, which stands where its parent says and was born when its
	// parent says, holds the digest of the page below it that holds the value. What chance does to
	// a page does not make it hold the digest of another. It is the
	// value, unless the damage is a write that was lost in part.
	Attested
	// Older: verified from the older meta page down. It was the value at the
	// transaction Report.OlderTxID, and may have been changed or deleted since.
	Older
	// Orphan: a page that nothing vouches for. It looks whole, and its keys belong
	// where something is lost. It was the value at some time, or is forged.
	Orphan
	numGrades = iota
)

var gradeNames = [numGrades]string{"verified", "attested", "older", "orphan"}

// String returns the grade as the report shows it.
func (g Grade) String() string {
	if int(g) < len(gradeNames) {
		return gradeNames[g]
	}
	return fmt.Sprintf("grade %d", uint8(g))
}

// MarshalText writes what String returns.
func (g Grade) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// Counts is a number of keys by grade.
type Counts [numGrades]uint64

// Sum returns the number of keys of all grades.
func (c Counts) Sum() (n uint64) {
	for _, k := range c {
		n += k
	}
	return n
}

// MarshalJSON writes the numbers by name.
func (c Counts) MarshalJSON() ([]byte, error) {
	m := make(map[string]uint64, numGrades)
	for g, n := range c {
		m[Grade(g).String()] = n
	}
	return json.Marshal(m)
}

// Path is the place of a bucket: its name and the bucket around it. nil and the zero
// value are the root.
type Path struct {
	above *Path
	name  []byte
	depth int
}

func (p *Path) below(name []byte) *Path { return &Path{above: p, name: name, depth: p.depth + 1} }

// Names returns the names from the root on. They must not be changed.
func (p *Path) Names() (names [][]byte) {
	for ; p != nil && p.above != nil; p = p.above {
		names = append(names, p.name)
	}
	slices.Reverse(names)
	return names
}

// shownNames is how many names of a path are shown at its start and at its end.
const shownNames = 8

// shown returns the names, without those in the middle if there are too many.
func (p *Path) shown() (names []string) {
	if p == nil {
		return nil
	}
	for q := p; q.above != nil; q = q.above {
		switch {
		case p.depth <= 2*shownNames || q.depth <= shownNames || q.depth > p.depth-shownNames:
			names = append(names, text(q.name))
		case q.depth == shownNames+1:
			names = append(names, fmt.Sprintf("(%d more)", p.depth-2*shownNames))
		}
	}
	slices.Reverse(names)
	return names
}

// String returns the names with slashes before them, those in the middle left
// out if there are very many.
func (p *Path) String() string {
	if s := strings.Join(p.shown(), "/"); s != "" {
		return "/" + s
	}
	return "/"
}

// MarshalJSON writes the names as String shows them, in an array.
func (p *Path) MarshalJSON() ([]byte, error) {
	names := p.shown()
	if names == nil {
		names = []string{}
	}
	return json.Marshal(names)
}

// shownKey is how many bytes of a key are shown.
const shownKey = 256

// text shows a key: as it is where that can be read, else in hexadecimal.
func text(key []byte) string {
	more := ""
	if len(key) > shownKey {
		more = fmt.Sprintf("… (%d bytes)", len(key))
		key = key[:shownKey]
	}
	for _, c := range key {
		if c < ' ' || c > '~' || c == '/' {
			return "0x" + hex.EncodeToString(key) + more
		}
	}
	return string(key) + more
}

// Loss is a range of keys of one bucket that no verified page holds. What was put there
// all the same is in Saved.
type Loss struct {
	Bucket *Path
	Lower  []byte // first key that may be lost; nil = from the first of the bucket on
	Upper  []byte // first key that is not lost; nil = to the last of the bucket
	Page   uint64 // first page of the damaged extent
	Pages  int    // of the extent
	Reason string
	Saved  Counts // keys in the range that other pages gave, keys in buckets in it too
}

// String says what is lost and where.
func (l *Loss) String() string {
	bound := func(key []byte, open string) string {
		if key == nil {
			return open
		}
		return text(key)
	}
	s := fmt.Sprintf("bucket %v: keys from %s to before %s: %s", l.Bucket, bound(l.Lower, "the first"), bound(l.Upper, "the end"), l.Reason)
	for g, n := range l.Saved {
		if n > 0 {
			s += fmt.Sprintf("; %d %v", n, Grade(g))
		}
	}
	return s
}

// MarshalJSON writes the keys as String shows them, and in hexadecimal.
func (l *Loss) MarshalJSON() ([]byte, error) {
	type key struct {
		Text string `json:"text"`
		Hex  string `json:"hex"`
	}
	show := func(k []byte) *key {
		if k == nil {
			return nil
		}
		return &key{text(k), hex.EncodeToString(k)}
	}
	return json.Marshal(struct {
		Bucket *Path  `json:"bucket"`
		Lower  *key   `json:"lower"`
		Upper  *key   `json:"upper"`
		Page   uint64 `json:"page"`
		Pages  int    `json:"pages"`
		Reason string `json:"reason"`
		Saved  Counts `json:"saved"`
	}{l.Bucket, show(l.Lower), show(l.Upper), l.Page, l.Pages, l.Reason, l.Saved})
}

// Bucket says how much of a bucket that lost something was saved.
type Bucket struct {
	Path  *Path  `json:"path"`
	Keys  uint64 `json:"keys"` // as its header says
	Saved Counts `json:"saved"`
	// Missing is how many keys are not there; keys that were deleted before the
	// newest state and are there again make it too small.
	Missing uint64 `json:"missing"`
}

// PageRange is pages in a row.
type PageRange struct {
	First uint64 `json:"first"`
	Pages uint64 `json:"pages"`
}

// MaxListed bounds each list of a Report. The numbers in it count all.
const MaxListed = 10_000

// Report says what Run saved and what is lost.
type Report struct {
	Source    string `json:"source"`
	PageSize  int    `json:"pageSize"`  // bytes
	Pages     uint64 `json:"pages"`     // of the source
	TxID      uint64 `json:"txid"`      // of the state that was saved; 0 if no meta page tells
	OlderTxID uint64 `json:"olderTxid"` // of the state in the other meta page; 0 if there is none that helps
	// Root is what justifies the root: Verified if a meta page was good.
	Root Grade `json:"root"`

	Saved   Counts `json:"saved"`   // keys, buckets among them
	Buckets uint64 `json:"buckets"` // saved

	Losses  uint64    `json:"losses"`
	Lost    []*Loss   `json:"lost"`    // the first MaxListed
	Damaged []*Bucket `json:"damaged"` // buckets with losses, the first MaxListed

	UnreadablePages uint64      `json:"unreadablePages"`
	Unreadable      []PageRange `json:"unreadable"` // the first MaxListed

	// OrphanPages is how many leaves were found that nothing refers to and that fit
	// something lost; of these AmbiguousPages fit more than one place and were
	// left out. Both are 0 without Options.Orphans.
	OrphanPages    uint64 `json:"orphanPages"`
	AmbiguousPages uint64 `json:"ambiguousPages"`
	// Curtailed says that the search for other pages was ended, because the file makes it
	// longer than any damage does: it is forged.
	Curtailed bool `json:"curtailed"`
}

// Whole reports whether nothing is lost.
func (r *Report) Whole() bool { return r.Losses == 0 && r.Root == Verified }
