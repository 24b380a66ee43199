package lightning

import (
	"bytes"
	"fmt"
)

// sealSum is a node as it was when its transaction was sealed.
type sealSum struct {
	n    *node
	copy []byte
}

// noteSealed remembers what a sealed node must stay. Only with the tag
// invariants.
func (g *group) noteSealed(n *node) {
	if invariants {
		g.sealSums = append(g.sealSums, sealSum{n, bytes.Clone(n.buf)})
	}
}

// checkSealed panics if a page was changed after sealing. Nodes that a later
// member replaced have given their buffers back.
func (g *group) checkSealed() {
	for _, s := range g.sealSums {
		if s.n.buf != nil && !bytes.Equal(s.n.buf, s.copy) {
			panic(fmt.Sprintf("lightning: a page of transaction %d was changed after it was sealed", g.tip.id))
		}
	}
	g.sealSums = nil
}
