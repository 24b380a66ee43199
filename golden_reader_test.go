package lightning

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/zeebo/blake3"
)

// formatReader reads a database file as docs/FORMAT.md says and shares no code
// with the engine.
type formatReader struct {
	file  []byte
	size  uint64 // of a page
	key   [32]byte
	end   uint64
	seen  map[uint64]bool // pages referred to
	types map[byte]int    // extents read, by type
}

// formatRef is a reference to an extent.
type formatRef struct {
	id, birth uint64
	digest    []byte
}

func u16(b []byte) uint64 { return uint64(binary.LittleEndian.Uint16(b)) }
func u32(b []byte) uint64 { return uint64(binary.LittleEndian.Uint32(b)) }
func u64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

func readRef(b []byte) formatRef { return formatRef{u64(b), u64(b[8:]), b[16:40]} }

// readFormat returns all that the file holds.
func readFormat(file, integrityKey []byte) (*goldenBucket, *formatReader, error) {
	r := &formatReader{file: file, size: u32(file[20:]), seen: map[uint64]bool{}, types: map[byte]int{}}
	blake3.DeriveKey("lightning-db 2026 page digests v1", append(bytes.Clone(integrityKey), file[32:48]...), r.key[:])
	var meta []byte
	for slot := range uint64(2) {
		m := file[slot*r.size:][:4096]
		if err := r.checkMeta(m, len(integrityKey) > 0); err != nil {
			return nil, nil, fmt.Errorf("slot %d: %w", slot, err)
		}
		if meta == nil || u64(m[64:]) > u64(meta[64:]) || (u64(m[64:]) == u64(meta[64:]) && u64(m[72:]) > u64(meta[72:])) {
			meta = m
		}
	}
	r.end = u64(meta[80:])
	if r.end*r.size > uint64(len(file)) {
		return nil, nil, errors.New("the file is too short")
	}
	root, err := r.bucket(meta[88:144])
	if err != nil {
		return nil, nil, err
	}
	return root, r, r.space(meta)
}

func (r *formatReader) checkMeta(m []byte, keyed bool) error {
	var check [16]byte
	blake3.DeriveKey("lightning-db 2026 key check v1", r.key[:], check[:])
	flags := uint64(0)
	if keyed {
		flags = 1
	}
	switch {
	case string(m[:16]) != "LightningDB\x1a\r\n\x00\n":
		return errors.New("magic")
	case u32(m[16:]) != 1 || u32(m[20:]) != r.size || u32(m[24:]) != flags:
		return errors.New("version, page size or flags")
	case !bytes.Equal(m[32:48], r.file[32:48]) || !bytes.Equal(m[48:64], check[:]):
		return errors.New("file id or key check")
	case !bytes.Equal(r.sum(m[:4064], 32), m[4064:]):
		return errors.New("digest")
	case !zeros(m[236:256]) || !zeros(m[256+u32(m[28:]):4064]):
		return errors.New("reserved bytes are not zero")
	}
	return nil
}

func zeros(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

func (r *formatReader) sum(b []byte, n int) []byte {
	h, err := blake3.NewKeyed(r.key[:])
	if err != nil {
		panic(err)
	}
	if _, err := h.Write(b); err != nil {
		panic(err)
	}
	return h.Sum(nil)[:n]
}

// extent returns the verified extent at ref, of one of the types.
func (r *formatReader) extent(ref formatRef, pages uint64, types ...byte) ([]byte, error) {
	if ref.id < 2 || ref.id+pages > r.end {
		return nil, fmt.Errorf("page %d lies outside the file", ref.id)
	}
	b := r.file[ref.id*r.size : (ref.id+pages)*r.size]
	if !bytes.Equal(r.sum(b, 24), ref.digest) {
		return nil, fmt.Errorf("page %d: digest", ref.id)
	}
	if bytes.IndexByte(types, b[0]) < 0 || u32(b[4:]) != pages || u64(b[8:]) != ref.id || u64(b[16:]) != ref.birth {
		return nil, fmt.Errorf("page %d: header %x", ref.id, b[:40])
	}
	for i := range pages {
		if r.seen[ref.id+i] {
			return nil, fmt.Errorf("page %d is referred to twice", ref.id+i)
		}
		r.seen[ref.id+i] = true
	}
	r.types[b[0]]++
	return b, nil
}

// payload returns the n bytes of a big value or long key.
func (r *formatReader) payload(ref formatRef, n uint64, typ byte) ([]byte, error) {
	b, err := r.extent(ref, (40+n+r.size-1)/r.size, typ)
	if err != nil {
		return nil, err
	}
	if u64(b[24:]) != n || !zeros(b[40+n:]) {
		return nil, fmt.Errorf("page %d: payload", ref.id)
	}
	return b[40 : 40+n], nil
}

// bucket reads the bucket with the given header and inline leaf.
func (r *formatReader) bucket(h []byte) (*goldenBucket, error) {
	out := &goldenBucket{Sequence: u64(h[40:])}
	switch {
	case len(h) > 56:
		r.types[h[56]]++
		if err := r.node(h[56:], out); err != nil {
			return nil, fmt.Errorf("inline bucket: %w", err)
		}
	case u64(h) != 0:
		if err := r.tree(readRef(h), -1, out); err != nil {
			return nil, err
		}
	}
	if uint64(len(out.Keys)) != u64(h[48:]) {
		return nil, fmt.Errorf("bucket of %d keys says %d", len(out.Keys), u64(h[48:]))
	}
	return out, nil
}

func (r *formatReader) tree(ref formatRef, level int, out *goldenBucket) error {
	b, err := r.extent(ref, 1, 1, 2)
	if err != nil {
		return err
	}
	if level >= 0 && int(u16(b[2:])) != level {
		return fmt.Errorf("page %d: level %d, want %d", ref.id, u16(b[2:]), level)
	}
	if err := r.node(b, out); err != nil {
		return fmt.Errorf("page %d: %w", ref.id, err)
	}
	return nil
}

// node reads a branch, leaf or inline leaf and what is below.
func (r *formatReader) node(b []byte, out *goldenBucket) error {
	heap, prefix := u32(b[28:]), u16(b[36:])
	live := uint64(0)
	var last []byte
	for i := range u32(b[24:]) {
		slot := b[40+6*i:]
		at := u16(slot[4:])
		var key []byte
		var n uint64
		var err error
		if b[0] == 1 {
			key, n, err = r.branchCell(b[at:], int(u16(b[2:]))-1, out)
		} else {
			key, n, err = r.leafCell(b[at:], out)
		}
		if err != nil {
			return fmt.Errorf("cell %d: %w", i, err)
		}
		live += n
		var head [4]byte
		if b[0] != 1 || i > 0 {
			copy(head[:], key[prefix:])
			if last != nil && (bytes.Compare(last, key) >= 0 || !bytes.Equal(last[:prefix], key[:prefix])) {
				return fmt.Errorf("cell %d: order", i)
			}
			last = key
		}
		if uint64(binary.BigEndian.Uint32(head[:])) != u32(slot) || at < heap {
			return fmt.Errorf("slot %d: %x for key %x", i, slot[:6], key)
		}
	}
	if live+u32(b[32:]) != uint64(len(b))-heap {
		return errors.New("heap and garbage")
	}
	return nil
}

// cellKey reads the key of a cell from its body and returns it whole, with the
// bytes it takes.
func (r *formatReader) cellKey(flags byte, n uint64, body []byte) ([]byte, uint64, error) {
	if flags&1 == 0 {
		return body[:n], n, nil
	}
	key, err := r.payload(readRef(body), n, 5)
	if err == nil && !bytes.HasPrefix(key, body[40:104]) {
		err = errors.New("long key begins otherwise")
	}
	return key, 104, err
}

func (r *formatReader) branchCell(c []byte, level int, out *goldenBucket) (key []byte, n uint64, err error) {
	keyLen, k := binary.Uvarint(c[41:])
	at := uint64(41 + k)
	key, n, err = r.cellKey(c[0], keyLen, c[at:])
	if err != nil {
		return nil, 0, err
	}
	return key, at + n, r.tree(readRef(c[1:]), level, out)
}

func (r *formatReader) leafCell(c []byte, out *goldenBucket) (key []byte, n uint64, err error) {
	keyLen, k := binary.Uvarint(c[1:])
	valueLen, m := binary.Uvarint(c[1+k:])
	at := uint64(1 + k + m)
	key, n, err = r.cellKey(c[0], keyLen, c[at:])
	if err != nil {
		return nil, 0, err
	}
	at += n
	e := goldenKey{Key: goldenText(key)}
	n = at + valueLen
	switch {
	case c[0]&4 != 0:
		e.Bucket, err = r.bucket(c[at:n])
	case c[0]&2 != 0:
		var value []byte
		value, err = r.payload(readRef(c[at:]), valueLen, 4)
		e.Value = goldenText(value)
		n = at + 40
	default:
		e.Value = goldenText(c[at:n])
	}
	out.Keys = append(out.Keys, e)
	return key, n, err
}

// space reads the map of free pages and checks that each page of the file is
// either referred to or free.
func (r *formatReader) space(meta []byte) error {
	free := map[uint64]bool{}
	if u64(meta[144:]) != 0 {
		chunk := uint64(0)
		if err := r.spaceIndex(readRef(meta[144:]), -1, &chunk, free); err != nil {
			return err
		}
	}
	log := meta[256 : 256+u32(meta[28:])]
	links := uint64(0)
	for ref := readRef(meta[184:]); ref.id != 0; links++ {
		b, err := r.extent(ref, 1, 8)
		if err != nil {
			return err
		}
		p := b[40 : 40+u64(b[24:])]
		ref = readRef(p)
		log = append(bytes.Clone(p[40:]), log...)
	}
	for len(log) > 0 {
		start, k := binary.Uvarint(log)
		v, m := binary.Uvarint(log[k:])
		log = log[k+m:]
		for p := start; p < start+v>>1; p++ {
			if free[p] == (v&1 != 0) {
				return fmt.Errorf("log: page %d twice freed or taken", p)
			}
			free[p] = v&1 != 0
		}
	}
	count := uint64(0)
	for p, is := range free {
		if is {
			count++
			if p >= r.end {
				return fmt.Errorf("page %d past the end is free", p)
			}
		}
	}
	if count != u64(meta[224:]) || links != u32(meta[232:]) {
		return fmt.Errorf("%d free pages and %d log pages, the meta says otherwise", count, links)
	}
	for p := uint64(2); p < r.end; p++ {
		if free[p] == r.seen[p] {
			return fmt.Errorf("page %d: free %t, referred to %t", p, free[p], r.seen[p])
		}
	}
	return nil
}

func (r *formatReader) spaceIndex(ref formatRef, level int, chunk *uint64, free map[uint64]bool) error {
	b, err := r.extent(ref, 1, 7)
	if err != nil {
		return err
	}
	height := int(u16(b[2:]))
	if height < 1 || (level >= 0 && height != level) {
		return fmt.Errorf("page %d: level %d", ref.id, height)
	}
	for i := range u32(b[24:]) {
		e := b[40+48*i:]
		if height > 1 {
			if err := r.spaceIndex(readRef(e), height-1, chunk, free); err != nil {
				return err
			}
			continue
		}
		if u64(e) != 0 {
			if err := r.bitmap(readRef(e), *chunk*(r.size-40)*8, u32(e[40:]), free); err != nil {
				return err
			}
		}
		*chunk++
	}
	return nil
}

func (r *formatReader) bitmap(ref formatRef, first, want uint64, free map[uint64]bool) error {
	b, err := r.extent(ref, 1, 6)
	if err != nil {
		return err
	}
	count := uint64(0)
	for i, c := range b[40:] {
		for bit := range 8 {
			if c>>bit&1 != 0 {
				free[first+uint64(i*8+bit)] = true
				count++
			}
		}
	}
	if count != want {
		return fmt.Errorf("bitmap at page %d: %d free pages, want %d", ref.id, count, want)
	}
	return nil
}

// missing returns the types of extents that the file should hold and does not.
func (r *formatReader) missing(bitmaps bool) (types []byte) {
	for typ := byte(1); typ <= 8; typ++ {
		if r.types[typ] == 0 && (typ < 6 || bitmaps) {
			types = append(types, typ)
		}
	}
	return types
}
