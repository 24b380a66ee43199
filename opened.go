package lightning

import (
	"slices"
	"strings"
)

// openBuckets holds the nested buckets that a writable transaction has opened in one
// bucket. A nil openBuckets holds none.
type openBuckets struct {
	list   []*Bucket
	byName map[string]*Bucket // of list, once it is long
	first  [2]*Bucket         // first storage of list
}

// manyBuckets is from how many buckets on a map finds them faster than a look at
// each.
const manyBuckets = 16

// get returns the bucket with the given name, or nil.
func (o *openBuckets) get(name []byte) *Bucket {
	if o == nil {
		return nil
	}
	if o.byName != nil {
		return o.byName[string(name)]
	}
	for _, b := range o.list {
		if b.name == string(name) {
			return b
		}
	}
	return nil
}

func (o *openBuckets) add(b *Bucket) {
	if o.list == nil {
		o.list = o.first[:0]
	}
	o.list = append(o.list, b)
	if o.byName != nil {
		o.byName[b.name] = b
		return
	}
	if len(o.list) >= manyBuckets {
		o.byName = make(map[string]*Bucket)
		for _, b := range o.list {
			o.byName[b.name] = b
		}
	}
}

func (o *openBuckets) remove(b *Bucket) {
	if o == nil {
		return
	}
	if i := slices.Index(o.list, b); i >= 0 {
		o.list = slices.Delete(o.list, i, i+1)
	}
	delete(o.byName, b.name)
}

// all returns the buckets in no order.
func (o *openBuckets) all() []*Bucket {
	if o == nil {
		return nil
	}
	return o.list
}

// sorted returns the buckets by name.
func (o *openBuckets) sorted() []*Bucket {
	if o == nil {
		return nil
	}
	slices.SortFunc(o.list, func(a, b *Bucket) int { return strings.Compare(a.name, b.name) })
	return o.list
}
