package lightning

import "github.com/lightning-db/lightning/page"

// recentPages keeps images of the branches and leaves that were written last,
// so that the next writer goes down the path that the one before it wrote without
// verifying in the map what never left memory. It is the writer's alone: what is in the
// map is verified at its first touch all the same, by readers, or by a writer
// that no longer finds it here. Guarded by the writer lock.
type recentPages struct {
	branches, leaves []recentPage // by the page number modulo the length; nil until used
}

type recentPage struct {
	ref page.Ref // the digest included: an image is what its reference says
	buf []byte   // as written, but for its header and the place of its cells; nil if there is none
}

// The bytes of images that are kept: the branches above a million small
// keys, most of which a transaction of a thousand of them writes, and the leaves that
// are written over and over.
const (
	recentBranchBytes = 4 << 20
	recentLeafBytes   = 512 << 10
)

// slot returns the place of a node of the given level at page id.
func (r *recentPages) slot(id page.ID, leaf bool) *recentPage {
	slots := r.branches
	if leaf {
		slots = r.leaves
	}
	if len(slots) == 0 {
		return &recentPage{}
	}
	return &slots[id%page.ID(len(slots))]
}

// get returns the image of the node at ref, or nil.
func (r *recentPages) get(ref page.Ref) page.Node {
	for _, leaf := range []bool{false, true} {
		if s := r.slot(ref.ID, leaf); s.buf != nil && s.ref == ref {
			return page.Node(s.buf)
		}
	}
	return nil
}

// keep takes over the image of n, a branch or leaf that has been written and that nobody
// uses any more, and returns the image that had its place, or nil.
func (r *recentPages) keep(n *node) (evicted []byte) {
	if r.branches == nil {
		r.branches = make([]recentPage, max(1, recentBranchBytes/len(n.buf)))
		r.leaves = make([]recentPage, max(1, recentLeafBytes/len(n.buf)))
	}
	n.resolve(n.buf)
	s := r.slot(n.ref.ID, !n.img().IsBranch())
	evicted = s.buf
	*s = recentPage{n.ref, n.buf}
	return evicted
}
