package lightning

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"

	"github.com/lightning-db/lightning/page"
)

// How a judge reads a damaged file.

// readAll reads everything in every way.
func (j *damageJudge) readAll() {
	for _, b := range j.truth.buckets {
		if !j.reachable(b) {
			continue
		}
		j.walks(b)
		if j.quick {
			continue
		}
		j.lookups(b)
		err := j.view("Stats", func(tx *Tx) error {
			if s := damageBucketAt(tx, b.path).Stats(); tx.Err() == nil && s != b.stats {
				j.wrong("Stats of %q: %+v, want %+v", b.path, s, b.stats)
			}
			return nil
		})
		if err != nil && !touched(j.hits, append(slices.Clip(b.open.may), b.within...)) {
			j.wrong("Stats of %q fails where nothing is damaged: %v", b.path, err)
		}
	}
	j.check()
	if !j.quick {
		j.describe()
		j.copy()
	}
}

// reachable opens the bucket and looks at its header.
func (j *damageJudge) reachable(b *damageBucket) (ok bool) {
	err := j.view("Bucket", func(tx *Tx) error {
		bucket := damageBucketAt(tx, b.path)
		if bucket == nil {
			if tx.Err() == nil {
				j.wrong("bucket %q is gone, no error", b.path)
			}
			return nil
		}
		ok = true
		if bucket.Sequence() != b.sequence || bucket.Len() != len(b.entries) {
			j.wrong("bucket %q: sequence %d, %d keys; want %d, %d", b.path, bucket.Sequence(), bucket.Len(), b.sequence, len(b.entries))
		}
		return nil
	})
	j.verdict(fmt.Sprintf("Bucket %.40q", b.path), err, b.open.must, b.open.may)
	return ok && err == nil
}

// lookups reads each key with Get and Seek, and looks for keys between them.
func (j *damageJudge) lookups(b *damageBucket) {
	for i, e := range b.entries {
		err := j.one(b, e.key, e)
		j.verdict(fmt.Sprintf("Get and Seek %.20q", e.key), err, e.must, e.may)
		if i%5 == 0 {
			j.one(b, e.key+"\x00", nil)
		}
	}
	for _, key := range []string{"\x00", "key", "zzzz", damageLongKey('k', 9, 700), damageLongKey('m', 9, 700)} {
		j.one(b, key, nil)
	}
}

// one looks for a key in a transaction of its own; e is nil if there is none.
func (j *damageJudge) one(b *damageBucket, key string, e *damageEntry) error {
	return j.view("Get and Seek", func(tx *Tx) error {
		bucket := damageBucketAt(tx, b.path)
		v := bucket.Get([]byte(key))
		switch {
		case v == nil && tx.Err() != nil:
		case e == nil || e.nested:
			if v != nil {
				j.wrong("Get %.20q of %q returns %.20q", key, b.path, v)
			}
		case v == nil || string(v) != e.value:
			j.wrong("Get %.20q of %q returns %.20q, no error", key, b.path, v)
		}
		failed := tx.Err() != nil
		k, v := bucket.Cursor().Seek([]byte(key))
		if k == nil && tx.Err() != nil {
			return nil
		}
		i, _ := b.find(key)
		switch {
		case i == len(b.entries):
			if k != nil {
				j.wrong("Seek %.20q leads to %.20q, want the end", key, k)
			}
		case !sameDamageEntry(b.entries[i], k, v):
			j.wrong("Seek %.20q leads to %.20q (failed before: %t)", key, k, failed)
		}
		return nil
	})
}

func sameDamageEntry(e *damageEntry, k, v []byte) bool {
	return k != nil && string(k) == e.key && (v == nil) == e.nested && string(v) == e.value
}

// walks goes over the bucket in every way.
func (j *damageJudge) walks(b *damageBucket) {
	type step func() (k, v []byte)
	cursor := func(start func(c *Cursor) step, move func(c *Cursor) step) func(*Bucket, func(k, v []byte)) error {
		return func(bucket *Bucket, visit func(k, v []byte)) error {
			c := bucket.Cursor()
			for k, v := start(c)(); k != nil; k, v = move(c)() {
				visit(k, v)
			}
			return nil
		}
	}
	needs := append(slices.Clip(b.open.must), b.walk...)
	for _, w := range []struct {
		name     string
		backward bool
		run      func(*Bucket, func(k, v []byte)) error
	}{
		{"ForEach", false, func(bucket *Bucket, visit func(k, v []byte)) error {
			return bucket.ForEach(func(k, v []byte) error { visit(k, v); return nil })
		}},
		{"Next", false, cursor(func(c *Cursor) step { return c.First }, func(c *Cursor) step { return c.Next })},
		{"Prev", true, cursor(func(c *Cursor) step { return c.Last }, func(c *Cursor) step { return c.Prev })},
	} {
		if j.quick && w.name != "Next" {
			continue
		}
		seen := 0
		err := j.view(w.name, func(tx *Tx) error {
			err := w.run(damageBucketAt(tx, b.path), func(k, v []byte) {
				at := seen
				if w.backward {
					at = len(b.entries) - 1 - seen
				}
				if seen >= len(b.entries) || !sameDamageEntry(b.entries[at], k, v) {
					j.wrong("%s of %q: entry %d is %.20q", w.name, b.path, seen, k)
				}
				seen++
			})
			return err
		})
		if err == nil && seen != len(b.entries) {
			j.wrong("%s of %q: %d keys of %d, no error", w.name, b.path, seen, len(b.entries))
		}
		j.verdict(fmt.Sprintf("%s of %.40q", w.name, b.path), err, needs, append(needs, b.open.may...))
	}
}

// describe asks for the structure and for each page.
func (j *damageJudge) describe() {
	j.view("Inspect", func(tx *Tx) error {
		if got := tx.Inspect(); tx.Err() == nil && fmt.Sprint(got) != fmt.Sprint(j.truth.inspect) {
			j.wrong("Inspect: %v, want %v", got, j.truth.inspect)
		}
		return nil
	})
	j.view("Page", func(tx *Tx) error {
		for id := range int(j.truth.end) {
			info, err := tx.Page(id)
			switch {
			case err != nil:
				j.expect("Page", err)
			case info == nil:
				j.wrong("Page(%d) is nil", id)
			case info.OverflowCount < 0 || info.Count < 0:
				j.wrong("Page(%d): %+v", id, *info)
			case !slices.Contains(j.changed, page.ID(id)) && *info != j.truth.pages[id]:
				j.wrong("Page(%d): %+v, want %+v", id, *info, j.truth.pages[id])
			}
		}
		return nil
	})
}

// check runs Check, which must name every damaged extent that it can get at.
func (j *damageJudge) check() {
	named := map[page.ID]bool{}
	err := j.view("View around Check", func(tx *Tx) error {
		for err := range tx.Check() {
			j.expect("Check", err)
			if c := corruption(err); c != nil {
				named[page.ID(c.Page)] = true
			}
		}
		return nil
	})
	if err != nil {
		j.wrong("View around Check: %v", err)
	}
	if (len(named) > 0) != (len(j.hits) > 0) {
		j.wrong("Check names %v, damaged are %v", named, j.hits)
	}
	for id := range j.hits {
		above := false
		for at := j.truth.parent[id]; at >= 2; at = j.truth.parent[at] {
			above = above || j.hits[at]
		}
		if !above && !named[id] {
			j.wrong("Check names %v, not %d", named, id)
		}
	}
}

// copy writes a backup.
func (j *damageJudge) copy() {
	var out bytes.Buffer
	err := j.view("WriteTo", func(tx *Tx) error {
		n, err := tx.WriteTo(&out)
		if err != nil && n > 0 {
			j.wrong("WriteTo hands on %d bytes, then %v", n, err)
		}
		return err
	})
	switch {
	case (err != nil) != (len(j.hits) > 0):
		j.wrong("WriteTo: %v, damaged are %v", err, j.hits)
	case err == nil && !bytes.Equal(out.Bytes(), j.truth.stream):
		j.wrong("WriteTo writes something else")
	}
}

// exercise reads everything, whatever comes of it: for settings that promise
// no more than to return.
func (j *damageJudge) exercise() (outcome string) {
	defer func() {
		if r := recover(); r != nil {
			j.wrong("panic: %v\n%s", r, debug.Stack())
		}
	}()
	if err := j.lab.set(j.image); err != nil {
		j.wrong("make the image: %v", err)
		return ""
	}
	db, err := Open(j.lab.path, 0o600, &Options{ReadOnly: j.readOnly, Verify: j.verify})
	if err != nil {
		return damageRefused
	}
	err = db.View(func(tx *Tx) error {
		for _, b := range j.f.now.buckets {
			bucket := damageBucketAt(tx, b.path)
			if bucket == nil {
				continue
			}
			for _, e := range b.entries {
				bucket.Get([]byte(e.key))
				bucket.Cursor().Seek([]byte(e.key + "\x00"))
			}
			c := bucket.Cursor()
			for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
			}
			bucket.Stats()
		}
		for id := range int(j.f.now.end) {
			if _, err := tx.Page(id); err != nil {
				break
			}
		}
		tx.Inspect()
		for range tx.Check() {
		}
		_, err := tx.WriteTo(io.Discard)
		return errors.Join(err, tx.ForEach(func(_ []byte, b *Bucket) error { return nil }))
	})
	if errClose := db.Close(); errClose != nil {
		j.wrong("Close: %v", errClose)
	}
	if err != nil {
		return damageReported
	}
	return "no error"
}
