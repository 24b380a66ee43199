package lightning

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/lightning-db/lightning/page"
)

// forgeLeaf makes a file, right digests everywhere, whose bucket b has one leaf that
// spoil has broken. The leaf says that it was born in the given transaction, and so
// does the reference to it; all else was born in transaction 2.
func forgeLeaf(t *testing.T, birth page.TxID, spoil func(leaf page.Node)) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "forged.db")
	db := mustOpen(t, path, Options{})
	m, size := db.published.Load().meta, db.pageSize
	mustClose(t, db)
	scratch := make([]byte, size)
	seal := func(n page.Node, id page.ID, birth page.TxID) page.Ref {
		page.Stamp(n, id, birth)
		overwriteAt(t, path, db.offset(id), n)
		return page.Ref{ID: id, Birth: birth, Digest: page.Digest(db.hasher.Sum(n))}
	}
	leaf := page.InitNode(make([]byte, size), 0)
	leaf.Insert(0, page.AppendLeafCell(nil, 0, page.Key{Bytes: []byte("key")}, []byte("value")), scratch)
	spoil(leaf)
	header := make([]byte, page.BucketSize)
	page.PutBucket(header, page.Bucket{Root: seal(leaf, 2, birth), Count: 1})
	root := page.InitNode(make([]byte, size), 0)
	root.Insert(0, page.AppendLeafCell(nil, page.CellBucket, page.Key{Bytes: []byte("b")}, header), scratch)
	m.Root = page.Bucket{Root: seal(root, 3, 2), Count: 1}
	m.TxID, m.DurableTx, m.End = 2, 2, 4
	var slot [page.MetaSize]byte
	page.EncodeMeta(slot[:], &m, db.hasher)
	overwriteAt(t, path, 0, slot[:])
	overwriteAt(t, path, int64(size), slot[:])
	return path
}

// A right digest proves the structure of pages that this process wrote. Those
// that were in the file when it was opened may be forged, and are looked at; nor can they pass
// for pages of a transaction to come.
func TestVerified_StructureOfForgedPages(t *testing.T) {
	intact := func(page.Node) {}
	overrun := func(leaf page.Node) { leaf[44], leaf[45] = 0xff, 0xff } // where the first cell is
	for name, c := range map[string]struct {
		birth page.TxID
		spoil func(leaf page.Node)
		want  error
	}{
		"intact":            {2, intact, nil},
		"broken":            {2, overrun, ErrChecksum},
		"broken, to come":   {1000, overrun, ErrChecksum},
		"intact, to come":   {1000, intact, ErrChecksum},
		"broken, long past": {1, overrun, ErrChecksum},
	} {
		db, err := Open(forgeLeaf(t, c.birth, c.spoil), 0o600, nil)
		if err == nil {
			err = db.View(func(tx *Tx) error {
				if b := tx.Bucket([]byte("b")); b != nil && string(b.Get([]byte("key"))) != "value" && tx.Err() == nil {
					t.Errorf("%s: the key is not there", name)
				}
				return nil
			})
			mustClose(t, db)
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}
