package lightning

import (
	"fmt"
	"strings"
)

// damageWant is what all buckets must hold: paths of buckets end in "/".
type damageWant map[string]string

func (tr *damageTruth) want() damageWant {
	want := damageWant{}
	for _, b := range tr.buckets {
		at := damagePath(b.path)
		want[at] = fmt.Sprint(b.sequence)
		for _, e := range b.entries {
			if !e.nested {
				want[at+e.key] = e.value
			}
		}
	}
	return want
}

func damagePath(path []string) string {
	return strings.Join(append(path[:len(path):len(path)], ""), "/")
}

// write changes every bucket, in transactions of their own, opens the file
// again and compares. Without damage in use nothing may fail; with it a change
// may be refused, but what is read afterwards must be right.
func (j *damageJudge) write() {
	if j.db.IsReadOnly() {
		return
	}
	want := j.truth.want()
	for i, b := range j.truth.buckets {
		if b.path == nil {
			continue
		}
		j.change(b, want, fmt.Sprintf("new%d", i), damageText(i, 700))
	}
	last := j.truth.buckets[len(j.truth.buckets)-1].path
	for _, path := range [][]string{{"one", "nest"}, last[:1]} {
		at := damagePath(path)
		err := j.db.Update(func(tx *Tx) error {
			in := damageBucketAt(tx, path[:len(path)-1])
			if in == nil {
				return tx.Err()
			}
			return in.DeleteBucket([]byte(path[len(path)-1]))
		})
		if !j.changedWell("DeleteBucket", err) {
			continue
		}
		for key := range want {
			if strings.HasPrefix(key, at) {
				delete(want, key)
			}
		}
	}
	if err := j.db.Close(); err != nil {
		j.wrong("Close after changes: %v", err)
	}
	db, err := Open(j.lab.path, 0o600, nil)
	if err != nil {
		j.wrong("Open after changes: %v", err)
		return
	}
	j.db = db
	j.compare(want)
}

// change puts a key, replaces one, deletes one and counts up.
func (j *damageJudge) change(b *damageBucket, want damageWant, key, value string) {
	at := damagePath(b.path)
	update := func(what string, fn func(b *Bucket) error) bool {
		err := j.db.Update(func(tx *Tx) error {
			bucket := damageBucketAt(tx, b.path)
			if bucket == nil {
				return tx.Err()
			}
			return fn(bucket)
		})
		return j.changedWell(what, err)
	}
	if update("Put", func(b *Bucket) error { return b.Put([]byte(key), []byte(value)) }) {
		want[at+key] = value
	}
	for i, e := range b.entries {
		switch {
		case e.nested:
		case i%7 == 1:
			if update("Delete", func(b *Bucket) error { return b.Delete([]byte(e.key)) }) {
				delete(want, at+e.key)
			}
		case i%7 == 3:
			if update("Put", func(b *Bucket) error { return b.Put([]byte(e.key), []byte("changed")) }) {
				want[at+e.key] = "changed"
			}
		}
	}
	if update("SetSequence", func(b *Bucket) error { return b.SetSequence(9) }) {
		want[at] = "9"
	}
}

// changedWell judges the error of a change and reports whether there is none.
func (j *damageJudge) changedWell(what string, err error) bool {
	switch {
	case err == nil:
		return true
	case corruption(err) == nil:
		j.wrong("%s fails with %T: %v", what, err, err)
	case len(j.hits) == 0:
		j.wrong("%s fails where nothing in use is damaged: %v", what, err)
	}
	return false
}

// compare reads all that can be read and compares it with want.
func (j *damageJudge) compare(want damageWant) {
	seen, failed := 0, false
	see := func(key, value string) {
		seen++
		if w, ok := want[key]; !ok || w != value {
			j.wrong("after changes %.40q is %.20q, want %.20q (%t)", key, value, w, ok)
		}
	}
	note := func(err error) {
		if err == nil {
			return
		}
		failed = true
		if corruption(err) == nil {
			j.wrong("after changes: %T: %v", err, err)
		}
	}
	var walk func(path []string)
	walk = func(path []string) {
		var nested []string
		note(j.db.View(func(tx *Tx) error {
			bucket := damageBucketAt(tx, path)
			if bucket == nil {
				if tx.Err() == nil {
					j.wrong("after changes bucket %q is gone", path)
				}
				return nil
			}
			see(damagePath(path), fmt.Sprint(bucket.Sequence()))
			return bucket.ForEach(func(k, v []byte) error {
				if v == nil {
					nested = append(nested, string(k))
					return nil
				}
				see(damagePath(path)+string(k), string(v))
				return nil
			})
		}))
		for _, name := range nested {
			walk(append(path[:len(path):len(path)], name))
		}
	}
	walk(nil)
	note(j.db.View(func(tx *Tx) error {
		for err := range tx.Check() {
			note(err)
		}
		return nil
	}))
	if failed && len(j.hits) == 0 {
		j.wrong("after changes: damage where none was")
	}
	if !failed && seen != len(want) {
		j.wrong("after changes: %d entries, want %d, no error", seen, len(want))
	}
}
