package migrate

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/lightning-db/lightning/internal/boltfile"
)

// compare walks over source and copy side by side and returns what both hold.
// It fails with ErrDifferent at the first entry that differs. size is about
// that of the source in bytes.
func compare(ctx context.Context, want, got walker, size int64, progress func(Progress)) (counts Counts, err error) {
	var path [][]byte
	for n := int64(0); ; n++ {
		if err := ctx.Err(); err != nil {
			return counts, err
		}
		w, wErr := want.Next()
		g, gErr := got.Next()
		for _, err := range []error{wErr, gErr} {
			if err != nil && err != io.EOF {
				return counts, err
			}
		}
		if wErr == io.EOF && gErr == io.EOF {
			progress(Progress{Comparing, counts.Bytes, counts.Bytes})
			return counts, nil
		}
		if difference := differ(w, g, wErr, gErr); difference != "" {
			key := w.Key
			if key == nil {
				key = g.Key
			}
			return counts, fmt.Errorf("%w: %s: %s", ErrDifferent, showPath(path, key), difference)
		}
		switch w.Kind {
		case boltfile.BeginBucket:
			if n > 0 { // not the root bucket
				path = append(path, w.Key)
				counts.Buckets++
			}
		case boltfile.Pair:
			counts.Keys++
		case boltfile.EndBucket:
			path = path[:len(path)-1]
		}
		counts.Bytes += int64(len(w.Key) + len(w.Value))
		if n%progressEvery == 0 {
			progress(Progress{Comparing, counts.Bytes, max(size, counts.Bytes)})
		}
	}
}

// differ says in words how the copy's entry differs from the source's, or "".
func differ(want, got Entry, wantErr, gotErr error) string {
	switch {
	case wantErr != nil:
		return "the copy has more"
	case gotErr != nil:
		return "the copy ends before"
	case want.Kind != got.Kind:
		return "key, bucket or end of a bucket, but another of these in the copy"
	case !bytes.Equal(want.Key, got.Key):
		return fmt.Sprintf("the copy has %.64q", got.Key)
	case !bytes.Equal(want.Value, got.Value):
		return "another value"
	case want.Sequence != got.Sequence:
		return fmt.Sprintf("sequence %d, but %d in the copy", want.Sequence, got.Sequence)
	}
	return ""
}
