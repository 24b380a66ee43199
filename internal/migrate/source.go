package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/await"
	"github.com/lightning-db/lightning/internal/boltfile"
	"github.com/lightning-db/lightning/page"
)

// Entry and Position are the same for both formats.
type (
	Entry    = boltfile.Entry
	Position = boltfile.Position
)

// walker goes over the entries of a source in order, until io.EOF.
type walker interface {
	Next() (Entry, error)
}

// source is a file that is read. It is valid inside withSource.
type source interface {
	// walk returns a walk over what is behind from, or over all if it is nil.
	walk(from *Position) (walker, error)
	identity() (identity, error)
	mode() (os.FileMode, error)
	used() int64 // bytes, about
}

// identity tells one state of one source from others, whatever its path. For
// Lightning DB the file's id and the transaction are enough.
type identity struct {
	Format  Format `json:"format"`
	Mark    string `json:"mark"`
	TxID    uint64 `json:"tx"`
	Size    int64  `json:"size,omitempty"`
	ModTime int64  `json:"mtime,omitempty"` // ns since 1970
}

// Detect tells the format of the file at path by its first pages. What is not
// Lightning DB and not of bbolt gives ErrUnknownFormat.
func Detect(path string) (format Format, err error) {
	f, err := fsync.Open(path, os.O_RDONLY, 0, nil)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := peekMeta(f, nil); err == nil || errors.Is(err, page.ErrMetaVersion) {
		return Lightning, nil
	} else if !errors.Is(err, page.ErrMetaMagic) {
		return "", err
	}
	bolt, err := boltfile.Recognize(func(p []byte, off int64) (int, error) { return f.ReadAt(fsync.OpMetaRead, p, off) })
	if err == nil && !bolt {
		err = fmt.Errorf("%w: %s", ErrUnknownFormat, path)
	}
	return Bolt, err
}

// peekMeta reads the identity in the first slot that has one, or if txID is
// not nil in the slot of that transaction.
func peekMeta(f fsync.File, txID *uint64) (found page.MetaIdentity, err error) {
	err = page.ErrMetaMagic
	b := make([]byte, page.MetaSize)
	for off := int64(0); off <= page.MaxSize; off = max(2*off, page.MinSize) {
		n, readErr := f.ReadAt(fsync.OpMetaRead, b, off)
		if readErr != nil && readErr != io.EOF {
			return found, readErr
		}
		id, peekErr := page.PeekMeta(b[:n])
		if peekErr == nil && (txID == nil || uint64(page.PeekTxID(b)) == *txID) {
			return id, nil
		}
		if peekErr != nil && !errors.Is(peekErr, page.ErrMetaMagic) {
			err = peekErr
		}
	}
	return found, err
}

// withSource opens the file at path for reading, calls fn and closes it again.
func withSource(ctx context.Context, format Format, path string, opts *Options, fn func(source) error) error {
	if format == Bolt {
		f, err := boltfile.Open(ctx, path, opts.LockTimeout)
		if errors.Is(err, boltfile.ErrInUse) {
			err = fmt.Errorf("%w (%w)", err, lightning.ErrTimeout)
		}
		if err != nil {
			return err
		}
		return errors.Join(fn(boltSource{f}), f.Close())
	}
	db, err := openLightning(ctx, path, opts, true)
	if err != nil {
		return err
	}
	err = db.View(func(tx *lightning.Tx) error {
		err := fn(&lightningSource{tx: tx, path: path})
		if damage := tx.Err(); damage != nil {
			return damage
		}
		return err
	})
	return errors.Join(err, db.Close())
}

// openLightning waits for the lock of the file until ctx or the timeout ends.
func openLightning(ctx context.Context, path string, opts *Options, readOnly bool) (*lightning.DB, error) {
	return await.Open(ctx, opts.LockTimeout, lightning.ErrTimeout, func(step time.Duration) (*lightning.DB, error) {
		return lightning.Open(path, privateMode, &lightning.Options{
			Timeout: step, ReadOnly: readOnly, PageSize: opts.PageSize, IntegrityKey: opts.IntegrityKey,
		})
	})
}

// boltSource is a bbolt file.
type boltSource struct{ file *boltfile.File }

func (s boltSource) walk(from *Position) (walker, error) { return s.file.Walk(from) }
func (s boltSource) mode() (os.FileMode, error)          { return s.file.Mode() }
func (s boltSource) used() int64                         { return s.file.Used() }

func (s boltSource) identity() (identity, error) {
	id, err := s.file.Identity()
	return identity{
		Format: Bolt, Mark: strconv.FormatUint(id.Checksum, 16), TxID: id.TxID, Size: id.Size, ModTime: id.ModTime.UnixNano(),
	}, err
}

// lightningSource is a snapshot of a Lightning DB file.
type lightningSource struct {
	tx   *lightning.Tx
	path string
}

func (s *lightningSource) used() int64 { return s.tx.Size() }

func (s *lightningSource) mode() (os.FileMode, error) {
	info, err := os.Stat(s.path)
	if err != nil {
		return 0, err
	}
	return info.Mode().Perm(), nil
}

func (s *lightningSource) identity() (id identity, err error) {
	f, err := fsync.Open(s.path, os.O_RDONLY, 0, nil)
	if err != nil {
		return id, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	txID := uint64(s.tx.ID())
	meta, err := peekMeta(f, &txID)
	return identity{Format: Lightning, Mark: fmt.Sprintf("%x", meta.FileID), TxID: txID}, err
}

func (s *lightningSource) walk(from *Position) (walker, error) {
	w := &lightningWalk{tx: s.tx}
	w.push(s.tx.Cursor().Bucket())
	if from == nil {
		return w, nil
	}
	w.begun = true
	for _, name := range from.Path {
		child := w.top().cursor.Bucket().Bucket(name)
		if child == nil {
			if err := s.tx.Err(); err != nil {
				return nil, err
			}
			return nil, fmt.Errorf("%w: no bucket %q", ErrSourceChanged, name)
		}
		w.top().after = name
		w.push(child)
	}
	w.top().after = from.Key
	return w, nil
}

// lightningWalk goes over the entries of a snapshot.
type lightningWalk struct {
	tx      *lightning.Tx
	buckets []*lightningBucket // from the root to the innermost
	begun   bool
}

// lightningBucket is a bucket that the walk is in.
type lightningBucket struct {
	cursor *lightning.Cursor
	moved  bool
	after  []byte // where to begin; nil is the start
}

func (w *lightningWalk) top() *lightningBucket { return w.buckets[len(w.buckets)-1] }

func (w *lightningWalk) push(b *lightning.Bucket) {
	w.buckets = append(w.buckets, &lightningBucket{cursor: b.Cursor()})
}

// next returns the next key of the bucket, or nil.
func (b *lightningBucket) next() (key, value []byte) {
	if b.moved {
		return b.cursor.Next()
	}
	b.moved = true
	if len(b.after) == 0 {
		return b.cursor.First()
	}
	key, value = b.cursor.Seek(b.after)
	if string(key) == string(b.after) {
		return b.cursor.Next()
	}
	return key, value
}

// Next returns the next entry, and io.EOF behind the last one.
func (w *lightningWalk) Next() (Entry, error) {
	if !w.begun {
		w.begun = true
		return Entry{Kind: boltfile.BeginBucket, Sequence: w.top().cursor.Bucket().Sequence()}, nil
	}
	key, value := w.top().next()
	switch {
	case key == nil:
		if err := w.tx.Err(); err != nil {
			return Entry{}, err
		}
		if len(w.buckets) == 1 {
			return Entry{}, io.EOF
		}
		w.buckets = w.buckets[:len(w.buckets)-1]
		return Entry{Kind: boltfile.EndBucket}, nil
	case value != nil:
		return Entry{Kind: boltfile.Pair, Key: key, Value: value}, nil
	}
	child := w.top().cursor.Bucket().Bucket(key)
	if child == nil {
		if err := w.tx.Err(); err != nil {
			return Entry{}, err
		}
		return Entry{}, fmt.Errorf("%q has no value and is no bucket", key)
	}
	w.push(child)
	return Entry{Kind: boltfile.BeginBucket, Key: key, Sequence: child.Sequence()}, nil
}
