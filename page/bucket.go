package page

import "fmt"

// Bucket is the header of a bucket: the value of its cell in the parent, and
// part of the meta page for the root bucket.
type Bucket struct {
	Root     Ref    // root page of the bucket's tree; zero if empty or inline
	Sequence uint64 // user's counter, see NextSequence
	Count    uint64 // keys in the bucket, nested buckets included
}

// BucketSize is the length in bytes of an encoded bucket header. A cell that
// is longer holds the bucket inline: a leaf image follows the header.
const BucketSize = RefSize + 8 + 8

// GetBucket reads the bucket header at the start of b.
func GetBucket(b []byte) Bucket {
	return Bucket{
		Root:     GetRef(b),
		Sequence: le.Uint64(b[RefSize:]),
		Count:    le.Uint64(b[RefSize+8:]),
	}
}

// PutBucket writes the bucket header h to the start of b.
func PutBucket(b []byte, h Bucket) {
	PutRef(b, h.Root)
	le.PutUint64(b[RefSize:], h.Sequence)
	le.PutUint64(b[RefSize+8:], h.Count)
}

// InlineOf returns the leaf image that follows the header in the bucket cell's
// payload, or nil if the bucket is not inline.
func InlineOf(payload []byte) Node {
	if len(payload) == BucketSize {
		return nil
	}
	return Node(payload[BucketSize:])
}

func validateBucket(payload []byte, pageSize int) error {
	if len(payload) < BucketSize {
		return fmt.Errorf("bucket header of %d bytes", len(payload))
	}
	h := GetBucket(payload)
	inline := InlineOf(payload)
	if inline == nil {
		if h.Root.IsZero() != (h.Count == 0) {
			return fmt.Errorf("bucket of %d keys with root page %d", h.Count, h.Root.ID)
		}
		return nil
	}
	if !h.Root.IsZero() {
		return fmt.Errorf("bucket both inline and at page %d", h.Root.ID)
	}
	if len(inline) < HeaderSize || TypeOf(inline) != TypeInline {
		return fmt.Errorf("inline bucket without a leaf")
	}
	if err := inline.validate(pageSize); err != nil {
		return fmt.Errorf("inline bucket: %w", err)
	}
	if uint64(inline.Count()) != h.Count {
		return fmt.Errorf("inline bucket of %d keys says %d", inline.Count(), h.Count)
	}
	return nil
}
