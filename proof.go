package lightning

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/lightning-db/lightning/page"
)

// Proof is what a proof made by Tx.Prove says, once VerifyProof has found it
// true.
type Proof struct {
	State   State    // in which it is so
	Buckets [][]byte // path of the bucket
	Key     []byte
	Found   bool   // whether the bucket has the key; false if there is no such bucket, too
	Value   []byte // if it has
}

var (
	// ErrProof is returned for what is not a proof, or does not prove what it
	// says.
	ErrProof = errors.New("not a proof")
	// ErrProofState is returned for a proof that speaks of another state than
	// the one asked for.
	ErrProofState = errors.New("the proof is of another state")
)

// A proof is made of the pages that a search for the key reads. Their digests hang
// together up to the meta page, whose digest is that of the state. Whoever verifies it
// searches in a file that has these pages only, and none that the digests do not
// vouch for.
//
//	magic 16 | version u32 | names u32 | extents u32
//	names, those of the buckets and then the key: length u32, bytes
//	meta slot
//	extents: page u64, pages u32, bytes
var proofMagic = [16]byte{'L', 'i', 'g', 'h', 't', 'n', 'i', 'n', 'g', 'P', 'r', 0x1a, '\r', '\n', 0x00, '\n'}

const proofVersion = 1

// Prove returns a proof, for VerifyProof, that in the state that the transaction
// sees the bucket at the path has the key with its value, or that it has not,
// or that there is no such bucket. An empty path is the root. A writable
// transaction proves what was committed last. The proof has some pages of the database in it,
// with keys and values beside the one asked for. It fails with ErrIncompatibleValue
// if the key is a bucket.
func (tx *Tx) Prove(path [][]byte, key []byte) (proof []byte, err error) {
	if tx.writable {
		r, err := tx.db.beginRead()
		if err != nil {
			return nil, err
		}
		defer r.rollback()
		tx = r
	}
	if tx.closed.Load() {
		return nil, ErrTxClosed
	}
	p := &prover{tx: tx, extents: make(map[page.ID][]byte)}
	if err := tx.db.guarded(func() error { return p.search(path, key) }); err != nil {
		return nil, err
	}
	return p.encode(append(slices.Clone(path), key)), nil
}

// prover collects the extents that a search reads.
type prover struct {
	tx      *Tx
	extents map[page.ID][]byte // by first page
}

func (p *prover) search(path [][]byte, key []byte) error {
	b := p.tx.root()
	for _, name := range path {
		if _, err := p.step(b, name); err != nil {
			return err
		}
		child, err := b.open(name)
		if err != nil || child == nil {
			return err // that it is not there is what is proved
		}
		b = child
	}
	isBucket, err := p.step(b, key)
	if err == nil && isBucket {
		return ErrIncompatibleValue
	}
	return err
}

// step collects what a search for key in b reads, and the value, and tells
// whether key is a bucket.
func (p *prover) step(b *Bucket, key []byte) (isBucket bool, err error) {
	path, found, err := b.tree.seek(nil, key)
	if err != nil {
		return false, err
	}
	for _, s := range path {
		if page.TypeOf(s.img) != page.TypeInline {
			p.extents[page.IDOf(s.img)] = s.img
		}
		if _, f := s.img.Search(key); f != page.NeedLong {
			continue
		}
		for i := range s.img.Count() {
			if c := s.img.Cell(i); c.IsLong() {
				if err := p.extent(page.GetRef(s.img[c.KeyRefAt():]), uint64(c.KeyLen())); err != nil {
					return false, err
				}
			}
		}
	}
	if !found {
		return false, nil
	}
	leaf := path[len(path)-1]
	c := leaf.img.Cell(leaf.i)
	if c.IsBig() {
		err = p.extent(page.GetRef(leaf.img[c.ValueRefAt():]), uint64(c.ValueLen()))
	}
	return c.IsBucket(), err
}

// extent collects the extent of n bytes of payload at r.
func (p *prover) extent(r page.Ref, n uint64) error {
	b, err := p.tx.db.extent(r, page.ExtentPages(n, p.tx.db.pageSize))
	p.extents[r.ID] = b
	return err
}

func (p *prover) encode(names [][]byte) []byte {
	le := binary.LittleEndian
	b := append([]byte(nil), proofMagic[:]...)
	b = le.AppendUint32(b, proofVersion)
	b = le.AppendUint32(b, uint32(len(names)))
	b = le.AppendUint32(b, uint32(len(p.extents)))
	for _, name := range names {
		b = le.AppendUint32(b, uint32(len(name)))
		b = append(b, name...)
	}
	m := p.tx.snap.meta
	m.DurableTx = m.TxID
	slot := make([]byte, page.MetaSize)
	page.EncodeMeta(slot, &m, p.tx.db.hasher)
	b = append(b, slot...)
	ids := make([]page.ID, 0, len(p.extents))
	for id := range p.extents {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		b = le.AppendUint64(b, uint64(id))
		b = le.AppendUint32(b, uint32(page.PagesOf(p.extents[id])))
		b = append(b, p.extents[id]...)
	}
	return b
}

// VerifyProof verifies a proof made by Tx.Prove against the digest of a state
// that the caller trusts, State.Digest, and returns what it proves. The database is not
// needed, its integrity key is, if it has one. It fails with ErrProofState
// if the proof is of another state, with ErrIntegrityKey, and with ErrProof for
// all else that is wrong. It makes a file for temporary use in os.TempDir.
func VerifyProof(proof []byte, digest [32]byte, integrityKey []byte) (*Proof, error) {
	r := proofReader{b: proof}
	if string(r.take(16)) != string(proofMagic[:]) {
		return nil, fmt.Errorf("%w: it does not begin like one", ErrProof)
	}
	if v := r.u32(); v != proofVersion {
		return nil, fmt.Errorf("%w: version %d is not supported", ErrProof, v)
	}
	names, extents := r.u32(), r.u32()
	if names > MaxBucketDepth+1 {
		return nil, fmt.Errorf("%w: of %d names", ErrProof, names)
	}
	p := &Proof{}
	for i := uint32(0); i < names && !r.short; i++ {
		p.Buckets = append(p.Buckets, r.take(int64(r.u32())))
	}
	slot := r.take(page.MetaSize)
	if r.short || len(p.Buckets) == 0 {
		return nil, fmt.Errorf("%w: it is cut short", ErrProof)
	}
	p.Buckets, p.Key = p.Buckets[:len(p.Buckets)-1], p.Buckets[len(p.Buckets)-1]

	id, err := page.PeekMeta(slot)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	hasher, check := page.Keys(integrityKey, id.FileID)
	m, err := page.DecodeMeta(slot, hasher, check)
	switch {
	case errors.Is(err, page.ErrMetaKey):
		return nil, fmt.Errorf("%w: %w", ErrIntegrityKey, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	p.State = State{FileID: m.FileID, TxID: uint64(m.TxID), Digest: page.StateDigest(m, hasher)}
	if p.State.Digest != digest {
		return nil, fmt.Errorf("%w: it is of %v", ErrProofState, p.State)
	}
	f, err := r.file(m, slot, extents)
	if f != nil {
		defer os.Remove(f.Name())
	}
	if err != nil {
		return nil, err
	}
	return p, p.look(f, integrityKey)
}

// look searches for the key in the file f, which has the pages of the proof, and closes it.
func (p *Proof) look(f *os.File, integrityKey []byte) (err error) {
	db, err := Open(f.Name(), 0, &Options{
		ReadOnly: true, IntegrityKey: integrityKey, NoStatistics: true,
		OpenFile: func(string, int, os.FileMode) (*os.File, error) { return f, nil },
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.View(func(tx *Tx) error { return db.guarded(func() error { return p.find(tx.root()) }) })
	if err != nil {
		return fmt.Errorf("%w: it lacks a page, or a page is not the state's: %w", ErrProof, err)
	}
	return nil
}

func (p *Proof) find(b *Bucket) error {
	for _, name := range p.Buckets {
		child, err := b.open(name)
		if err != nil || child == nil {
			return err
		}
		b = child
	}
	v, i, found, err := b.tree.find(p.Key)
	if err != nil || !found {
		return err
	}
	c := v.img.Cell(i)
	if c.IsBucket() {
		return ErrIncompatibleValue
	}
	value, err := b.tree.valueOf(v, &c)
	p.Found, p.Value = true, append([]byte{}, value...)
	return err
}

// proofReader takes a proof apart.
type proofReader struct {
	b     []byte
	short bool // more was asked for than there was
}

// take returns the next n bytes, or nil.
func (r *proofReader) take(n int64) []byte {
	if r.short = r.short || n > int64(len(r.b)); r.short {
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *proofReader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// file writes the meta and the extents to where they belong in a new file, which
// takes room for them only.
func (r *proofReader) file(m *page.Meta, slot []byte, extents uint32) (*os.File, error) {
	f, err := os.CreateTemp("", "lightning-proof-*")
	if err != nil {
		return nil, err
	}
	size := int64(m.PageSize)
	write := func(b []byte, id page.ID) {
		if err == nil {
			_, err = f.WriteAt(b, int64(id)*size)
		}
	}
	if err = f.Truncate(int64(m.End) * size); err != nil {
		err = fmt.Errorf("%w: of a state of %d pages: %w", ErrProof, m.End, err)
	}
	write(slot, 0)
	write(slot, 1)
	for i := uint32(0); i < extents && err == nil; i++ {
		head := r.take(8)
		b := r.take(int64(r.u32()) * size)
		if r.short {
			err = fmt.Errorf("%w: it is cut short", ErrProof)
			break
		}
		id := page.ID(binary.LittleEndian.Uint64(head))
		if id < 2 || id >= m.End || uint64(len(b)) > uint64(m.End-id)*uint64(size) {
			err = fmt.Errorf("%w: page %d", ErrProof, id)
			break
		}
		write(b, id)
	}
	if err == nil && len(r.b) > 0 {
		err = fmt.Errorf("%w: it goes on behind its end", ErrProof)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return f, nil
}
