package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/lightning-db/lightning/internal/boltfile"
)

// Suffix is behind the name of a copy that is not whole yet.
const Suffix = ".migrating"

// Defaults of Options.
const (
	DefaultBatchBytes   = 16 << 20
	DefaultBatchEntries = 50_000
)

// Format is the format of a database file.
type Format string

// The formats.
const (
	Bolt      Format = "bolt"
	Lightning Format = "lightning"
)

// Other returns the format that f is migrated to.
func (f Format) Other() Format {
	if f == Bolt {
		return Lightning
	}
	return Bolt
}

var (
	// ErrUnknownFormat is returned for a source of neither format.
	ErrUnknownFormat = errors.New("neither a bbolt nor a Lightning DB file")
	// ErrSame is returned when source and destination are the same file.
	ErrSame = errors.New("source and destination are the same file")
	// ErrSourceChanged is returned when the source is not what it was when the
	// copy was begun.
	ErrSourceChanged = errors.New("the source has changed since the migration was begun")
	// ErrNotOurs is returned when the name of the unfinished copy belongs to
	// something else.
	ErrNotOurs = errors.New("not the unfinished copy of this source")
	// ErrMarkerClash is returned when the source has a key or bucket with the
	// name of the bucket that a migration keeps its position in.
	ErrMarkerClash = errors.New("the source has a bucket that only an unfinished copy has")
	// ErrDifferent is returned when the copy differs from its source.
	ErrDifferent = errors.New("the copy differs from the source")
	// ErrTooLargeForBolt is returned for entries that bbolt cannot keep.
	ErrTooLargeForBolt = errors.New("bbolt cannot hold this entry beside those before it: together they are larger than 4 GiB")
)

// Phase is what a migration is doing.
type Phase string

// The phases.
const (
	Copying   Phase = "copying"
	Comparing Phase = "comparing"
)

// Progress is how far a phase has come. Done and Total count bytes; Total is
// the size of the source, and so not exact.
type Progress struct {
	Phase       Phase
	Done, Total int64
}

// Options say what to migrate. Source and Destination must be set.
type Options struct {
	Source      string
	Destination string
	// PageSize of the destination in bytes; 0 is its engine's default.
	PageSize int
	// LockTimeout is how long to wait for the lock of a file; 0 is for ever.
	LockTimeout time.Duration
	// IntegrityKey of the Lightning DB file, be it source or destination.
	IntegrityKey []byte
	// BatchBytes and BatchEntries bound a transaction, but for a single entry
	// that is larger; 0 stands for the defaults.
	BatchBytes   int64
	BatchEntries int
	// DryRun reads the source and writes nothing.
	DryRun bool
	// Progress is called now and then, in the goroutine of Run, if not nil.
	Progress func(Progress)
}

// Counts says how much there is of something. Bytes are those of keys and values.
type Counts struct {
	Buckets int64 `json:"buckets"` // without the root bucket
	Keys    int64 `json:"keys"`
	Bytes   int64 `json:"bytes"`
}

// Result is what a migration did, or with DryRun what it would copy.
type Result struct {
	From     Format `json:"from"`
	To       Format `json:"to"`
	Counts          // of the whole source
	Resumed  bool   `json:"resumed"`  // it took up, or would, what an earlier run began
	Verified bool   `json:"verified"` // the copy was compared with the source
	// RootSequence is the sequence of the source's root bucket if it is not in
	// the copy: bbolt does not store that one.
	RootSequence uint64 `json:"root_sequence_dropped,omitempty"`
}

// migration is one run.
type migration struct {
	opts   Options
	result Result
	source source
	temp   string // name of the copy until it is whole
	id     identity
}

// Run migrates the source to the destination. Stopped by an error, by the end
// of ctx or by the end of the process, it is taken up by the next Run with the
// same source and destination. Besides the errors of this package it returns
// those of the engines and of the file system; a file in use gives an error
// that wraps lightning.ErrTimeout.
func Run(ctx context.Context, opts Options) (Result, error) {
	if opts.BatchBytes == 0 {
		opts.BatchBytes = DefaultBatchBytes
	}
	if opts.BatchEntries == 0 {
		opts.BatchEntries = DefaultBatchEntries
	}
	if opts.Progress == nil {
		opts.Progress = func(Progress) {}
	}
	m := &migration{opts: opts, temp: opts.Destination + Suffix}
	from, err := Detect(opts.Source)
	if err != nil {
		return m.result, err
	}
	m.result.From, m.result.To = from, from.Other()
	linked, err := m.checkNames()
	if err != nil {
		return m.result, err
	}
	err = withSource(ctx, from, opts.Source, &m.opts, func(s source) error {
		m.source = s
		if err := m.checkMarkerClash(); err != nil {
			return err
		}
		if m.id, err = s.identity(); err != nil {
			return err
		}
		switch {
		case opts.DryRun:
			return m.dryRun(ctx)
		case linked:
			return m.unlink(ctx)
		}
		if err := m.fill(ctx); err != nil {
			return err
		}
		if err := m.verify(ctx, m.temp); err != nil {
			return err
		}
		mode, err := s.mode()
		if err != nil {
			return err
		}
		return place(m.temp, opts.Destination, mode)
	})
	return m.result, err
}

// checkNames looks for what is in the way. It reports linked if an earlier run
// was stopped between giving the copy its name and taking the other one away.
func (m *migration) checkNames() (linked bool, err error) {
	source, err := os.Stat(m.opts.Source)
	if err != nil {
		return false, err
	}
	destination, err := os.Lstat(m.opts.Destination)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if followed, err := os.Stat(m.opts.Destination); err == nil && os.SameFile(source, followed) {
		return false, fmt.Errorf("%w: %s", ErrSame, m.opts.Source)
	}
	if temp, err := os.Lstat(m.temp); err == nil && os.SameFile(temp, destination) {
		return true, nil
	}
	return false, fmt.Errorf("destination %s: %w; nothing was written", m.opts.Destination, fs.ErrExist)
}

// checkMarkerClash looks for an entry of the root bucket named like the marker.
func (m *migration) checkMarkerClash() error {
	// The marker's name ends in a zero byte: no key is between it and the name without.
	before := &Position{Key: markerName[:len(markerName)-1]}
	w, err := m.source.walk(before)
	if err != nil {
		return err
	}
	e, err := w.Next()
	if err != nil && err != io.EOF {
		return err
	}
	if err == nil && string(e.Key) == string(markerName) {
		return fmt.Errorf("%w: %q", ErrMarkerClash, markerName)
	}
	return nil
}

// walk walks over what of the source goes into the copy.
func (m *migration) walk(from *Position) (walker, error) {
	w, err := m.source.walk(from)
	if err == nil && m.result.To == Bolt && from == nil {
		w = &rootSequenceDropper{walker: w, dropped: &m.result.RootSequence}
	}
	return w, err
}

// rootSequenceDropper keeps the root bucket's sequence from bbolt.
type rootSequenceDropper struct {
	walker
	begun   bool
	dropped *uint64
}

// Next returns the next entry.
func (d *rootSequenceDropper) Next() (Entry, error) {
	e, err := d.walker.Next()
	if !d.begun && err == nil {
		d.begun = true
		*d.dropped, e.Sequence = e.Sequence, 0
	}
	return e, err
}

// dryRun reads all of the source.
func (m *migration) dryRun(ctx context.Context) error {
	_, err := os.Lstat(m.temp)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	m.result.Resumed = err == nil
	c := &copier{m: m, limit: m.leafLimit()}
	return c.run(ctx)
}

// unlink finishes a run that ended between the two steps of place.
func (m *migration) unlink(ctx context.Context) error {
	m.result.Resumed = true
	if err := m.verify(ctx, m.opts.Destination); err != nil {
		return err
	}
	return os.Remove(m.temp)
}

// fill makes the copy whole, but for its name.
func (m *migration) fill(ctx context.Context) (err error) {
	t, st, err := m.openTarget(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if st == nil { // whole since an earlier run
		return nil
	}
	c := &copier{m: m, target: t, limit: m.leafLimit(), state: *st}
	if err := c.run(ctx); err != nil {
		return err
	}
	return t.finish()
}

// verify compares the copy at path with the source.
func (m *migration) verify(ctx context.Context, path string) error {
	err := withSource(ctx, m.result.To, path, &m.opts, func(cp source) error {
		want, err := m.walk(nil)
		if err != nil {
			return err
		}
		got, err := cp.walk(nil)
		if err != nil {
			return err
		}
		if m.result.Counts, err = compare(ctx, want, got, m.source.used(), m.opts.Progress); err != nil {
			return err
		}
		if w, ok := got.(*boltfile.Walker); ok {
			return w.CheckSpace() // bbolt has no digests that would cover it
		}
		return nil
	})
	if damage := (*boltfile.DamageError)(nil); errors.Is(err, ErrDifferent) || errors.As(err, &damage) && damage.Path == path {
		return m.advise(err)
	}
	if err != nil {
		return err
	}
	now, err := m.source.identity()
	if err != nil {
		return err
	}
	if now != m.id {
		return m.advise(ErrSourceChanged)
	}
	m.result.Verified = true
	return nil
}

// advise says how to begin anew.
func (m *migration) advise(err error) error {
	return fmt.Errorf("%w; to begin anew remove %s", err, m.temp)
}
