// Package lightning is a key-value database in one file: ordered keys in
// nested buckets, transactions that see a snapshot, one writer at a time and
// any number of readers, none of whom waits for another. Its API is that of
// go.etcd.io/bbolt v1.5.0, with additions.
//
// Open gives a DB. Read in DB.View, write in DB.Update:
//
//	db, err := lightning.Open("app.db", 0o600, nil)
//	...
//	err = db.Update(func(tx *lightning.Tx) error {
//		b, err := tx.CreateBucketIfNotExists([]byte("users"))
//		if err != nil {
//			return err
//		}
//		return b.Put([]byte("alice"), []byte("admin"))
//	})
//
// When Update returns nil the change is on the medium, unless Options.Durability
// says otherwise: see Sync, Periodic and NoSync. Slices that a transaction
// returns are valid until it ends and must not be written to.
//
// Every page is covered by a tree of BLAKE3 digests whose root is in the meta
// page, and is checked when the process first touches it. Methods that have no
// error result, such as Bucket.Get and the moves of a Cursor, return nil for a
// page that is damaged or cannot be read; Tx.Err then tells why, and View,
// Update and Commit return it as a *CorruptionError.
//
// # Reading the source
//
// The API: options.go and errors.go; open.go and db.go (the handle, its locks,
// beginning transactions); tx.go, bucket.go, cursor.go and iter.go; batch.go;
// logger.go and stats.go.
//
// Reading and changing a tree: tree.go (search, copy-on-write, put), tree_split.go,
// tree_delete.go and tree_range.go, on the nodes of node.go; load.go and
// tree_edge.go (sorted pairs, appended); verified.go (pages from the map, checked
// at first touch); fault.go (faults of the mapping become errors); reader.go (who
// reads which snapshot).
//
// Committing: commit.go (sealing a transaction, sharing a flush), flush.go (the
// stages of a flush), file.go (growing and cutting the file, erasing a rejected
// meta); freelist.go, freelist_edit.go and freemap.go (free space, and when a
// page may be used again).
//
// Opening: recover.go (the stages of Open), rebuild.go (with a new map of free
// pages) and validation.go (checking what the
// last commit wrote). Whole files: check.go, backup.go and compact.go.
//
// Byte layouts are in the package page, the mapping in mmap, file operations in
// fsync, hashing in arch. docs/ARCHITECTURE.md shows how they fit together and
// docs/adr why they are as they are.
package lightning
