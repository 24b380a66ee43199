package page

// Spot is where a leaf cell without references has its key and value. It lets a
// walk look at many cells at once, and hand them out later without touching
// the page. The zero Spot is an empty key and value.
type Spot struct {
	at       uint16 // offset in the page of the key, which the value follows
	keyLen   uint16
	valueLen uint16
}

// Spots fills out with the spots of the leaf's cells from index i on, up to the
// first whose key or value is not in the cell or that is a nested bucket, and
// returns how many it filled.
func (n Node) Spots(i int, out []Spot) int {
	out = out[:min(len(out), max(n.Count()-i, 0))]
	for k := range out {
		at := n.offset(i + k)
		if n[at] != 0 {
			return k
		}
		keyLen, at := n.uvarint(at + 1)
		valueLen, at := n.uvarint(at)
		out[k] = Spot{uint16(at), uint16(keyLen), uint16(valueLen)}
	}
	return len(out)
}

// KeyOf returns the key at a spot of the leaf. It reads no byte of the page.
func (n Node) KeyOf(s Spot) []byte {
	at := int(s.at)
	end := at + int(s.keyLen)
	return n[at:end:end]
}

// ValueOf returns the value at a spot of the leaf. It reads no byte of the page.
func (n Node) ValueOf(s Spot) []byte {
	at := int(s.at) + int(s.keyLen)
	end := at + int(s.valueLen)
	return n[at:end:end]
}
