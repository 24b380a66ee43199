package salvage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/arch"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/atrest"
	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

// errRead is wrapped by what is wrong with pages that could not be read.
var errRead = errors.New("cannot be read")

// source is the damaged file.
type source struct {
	ctx      context.Context
	file     fsync.File
	report   *Report
	pageSize int
	size     int64         // bytes
	pages    page.ID       // whole pages
	hasher   *arch.Hasher  // nil if no meta slot tells the id of the file
	slots    [2]*page.Meta // nil where the slot is not valid
	raw      [2][]byte     // the bytes of the slots

	recent  map[page.Ref][]byte // nodes found good
	order   []page.Ref          // of recent, oldest first
	refused walk.PageSet        // pages known to be unreadable

	windows [4]window    // what was read last: neighbours are read next, mostly
	turn    int          // window to be replaced next
	holed   walk.PageSet // numbers of windows that cannot be read as a whole: a failing device is slow

	done     int64 // pages read
	progress func(done, total int64)
}

// window is a part of the file.
type window struct {
	off int64
	b   []byte
}

// windowBytes is how much is read at once where a page is asked for.
const windowBytes = 256 << 10

// recentNodes is how many nodes are kept: enough for the path from the root to a
// leaf, so that a page above is not read again after each page below.
const recentNodes = 256

func openSource(ctx context.Context, path string, o *Options, r *Report) (_ *source, err error) {
	f, err := atrest.Open(ctx, path, os.O_RDONLY, o.LockTimeout)
	if err != nil {
		return nil, err
	}
	s := &source{ctx: ctx, file: f, report: r, recent: map[page.Ref][]byte{}, refused: walk.PageSet{}, holed: walk.PageSet{}, progress: o.Progress}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if s.size, err = f.Size(); err != nil {
		return nil, err
	}
	if err := s.identify(o); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s.pages = page.ID(s.size / int64(s.pageSize))
	r.Source, r.PageSize, r.Pages = path, s.pageSize, uint64(s.pages)
	return s, nil
}

// medium fills b from the offset off of the file.
func (s *source) medium(b []byte, off int64) error {
	return s.file.ReadMedium(fsync.OpMetaRead, b, off)
}

// slot returns the bytes of the meta slot at off, nil if they cannot be read.
func (s *source) slot(off int64) []byte {
	b := make([]byte, page.MetaSize)
	if off+page.MetaSize > s.size || s.file.ReadMedium(fsync.OpMetaRead, b, off) != nil {
		return nil
	}
	return b
}

// identify finds out about the file from its meta slots: one that is good, or else
// the part of a damaged one that says how digests are keyed, which proves itself. Slot 0 says
// where slot 1 is; else it is looked for where each page size has it.
func (s *source) identify(o *Options) error {
	var damaged []page.MetaIdentity
	var foreign error
	found := func(off int64) bool {
		b := s.slot(off)
		if b == nil {
			return false
		}
		id, err := page.PeekMeta(b)
		if err != nil || off > 0 && off != int64(id.PageSize) {
			return false
		}
		if off > 0 && len(o.IntegrityKey) == 0 && errors.Is(page.CheckLead(int(off), s.medium), page.ErrMetaMagic) {
			return false
		}
		h, check := page.Keys(o.IntegrityKey, id.FileID)
		if _, err := page.DecodeMeta(b, h, check); err == nil {
			s.use(id, h)
			return true
		} else if errors.Is(err, page.ErrMetaKey) {
			if len(o.IntegrityKey) > 0 || id.Flags&page.MetaIntegrityKey != 0 {
				foreign = err // else the id of the file is damaged: there is no key to be wrong
			}
			return false
		}
		if id.KeyCheck == check {
			damaged = append(damaged, id)
		}
		return false
	}
	ok := found(0)
	for size := int64(page.MinSize); !ok && size <= page.MaxSize; size *= 2 {
		ok = found(size)
	}
	switch {
	case ok:
	case len(damaged) > 0:
		h, _ := page.Keys(o.IntegrityKey, damaged[0].FileID)
		s.use(damaged[0], h)
	case foreign != nil:
		return fmt.Errorf("%w: %w", lightning.ErrIntegrityKey, foreign)
	case !o.Orphans:
		return fmt.Errorf("%w: both meta pages are lost; what nothing vouches for is saved with Orphans only", lightning.ErrInvalid)
	default:
		return s.guess()
	}
	return nil
}

// use settles what the identity of the file says.
func (s *source) use(id page.MetaIdentity, h *arch.Hasher) {
	s.pageSize, s.hasher = id.PageSize, h
	for i := range s.slots {
		s.raw[i] = s.slot(int64(i) * int64(s.pageSize))
		if s.raw[i] == nil {
			continue
		}
		m, err := page.DecodeMeta(s.raw[i], h, id.KeyCheck)
		if err == nil && m.FileID == id.FileID && m.PageSize == id.PageSize {
			s.slots[i] = m
		}
	}
}

// guess takes the page size by which most pages look whole. Digests cannot be
// computed: they are keyed by the id of the file, which is lost.
func (s *source) guess() error {
	best := 0
	for size := page.MinSize; size <= page.MaxSize; size *= 2 {
		s.pageSize, s.pages = size, page.ID(s.size/int64(size))
		n := 0
		if err := s.scan(func(id page.ID, b []byte) error {
			if wholeNode(id, b) {
				n++
			}
			return nil
		}); err != nil {
			return err
		}
		if n*size > best*s.report.PageSize {
			best, s.report.PageSize = n, size
		}
	}
	if best == 0 {
		return fmt.Errorf("%w: no page looks like one of a database", lightning.ErrInvalid)
	}
	s.pageSize = s.report.PageSize
	return nil
}

// wholeNode reports whether the page looks like a node that was written to where
// it is.
func wholeNode(id page.ID, b []byte) bool {
	t := page.TypeOf(b)
	return (t == page.TypeBranch || t == page.TypeLeaf) && page.IDOf(b) == id && page.PagesOf(b) == 1 && page.Validate(b) == nil
}

// scan calls fn for each page of the file that can be read.
func (s *source) scan(fn func(id page.ID, b []byte) error) error {
	b := make([]byte, s.pageSize)
	for id := page.ID(2); id < s.pages; id++ {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if s.read(id, b) != nil {
			continue
		}
		if err := fn(id, b); err != nil {
			return err
		}
	}
	return nil
}

// read fills b with pages from id on.
func (s *source) read(id page.ID, b []byte) error {
	s.done += int64(len(b) / s.pageSize)
	if s.progress != nil {
		s.progress(min(s.done, int64(s.pages)), int64(s.pages))
	}
	err := s.fetch(b, int64(id)*int64(s.pageSize))
	if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if len(b) == s.pageSize {
		s.unreadable(id)
	} else { // which of them?
		one := make([]byte, s.pageSize)
		for i := range len(b) / s.pageSize {
			if s.file.ReadMedium(fsync.OpPageRead, one, int64(id+page.ID(i))*int64(s.pageSize)) != nil {
				s.unreadable(id + page.ID(i))
			}
		}
	}
	return fmt.Errorf("%w: %w", errRead, err)
}

// fetch fills b from off on. A page comes out of a window, if that can be read.
func (s *source) fetch(b []byte, off int64) error {
	if len(b) == s.pageSize {
		for i := range s.windows {
			w := &s.windows[i]
			if off >= w.off && off+int64(len(b)) <= w.off+int64(len(w.b)) {
				copy(b, w.b[off-w.off:])
				return nil
			}
		}
		number := off / windowBytes
		if s.holed.Has(page.ID(number)) {
			return s.file.ReadMedium(fsync.OpPageRead, b, off)
		}
		w := &s.windows[s.turn]
		if w.b == nil {
			w.b = make([]byte, windowBytes)
		}
		start := number * windowBytes
		w.b = w.b[:max(0, min(windowBytes, s.size-start))]
		if s.file.ReadMedium(fsync.OpPageRead, w.b, start) == nil && off+int64(len(b)) <= start+int64(len(w.b)) {
			w.off = start
			s.turn = (s.turn + 1) % len(s.windows)
			copy(b, w.b[off-start:])
			return nil
		}
		w.b = w.b[:0]
		s.holed.Add(page.ID(number))
	}
	return s.file.ReadMedium(fsync.OpPageRead, b, off)
}

// unreadable notes a page.
func (s *source) unreadable(id page.ID) {
	if !s.refused.Add(id) {
		return
	}
	r := s.report
	r.UnreadablePages++
	if n := len(r.Unreadable); n > 0 && r.Unreadable[n-1].First+r.Unreadable[n-1].Pages == uint64(id) {
		r.Unreadable[n-1].Pages++
	} else if n < MaxListed {
		r.Unreadable = append(r.Unreadable, PageRange{uint64(id), 1})
	}
}

// extent returns the extent that d asks for, or what is wrong with it. The caller
// may keep it.
func (s *source) extent(d walk.Demand) ([]byte, error) {
	if b := s.recent[d.Ref]; b != nil && d.Match(b) == nil {
		return b, nil
	}
	if d.Ref.ID < 2 || uint64(d.Ref.ID)+uint64(d.Pages) > uint64(s.pages) {
		return nil, &walk.Fault{Page: d.Ref.ID, Problem: "lies past the end of the file"}
	}
	if d.Pages > math.MaxInt/s.pageSize {
		return nil, &walk.Fault{Page: d.Ref.ID, Problem: "is larger than the memory of this platform"}
	}
	b := make([]byte, s.pageSize)
	if err := s.read(d.Ref.ID, b); err != nil {
		return nil, &walk.Fault{Page: d.Ref.ID, Problem: "page", Err: err}
	}
	if d.Pages > 1 { // a forged length is not worth memory
		if err := page.MatchHeader(b, d.Ref, d.Types[0], d.Pages); err != nil {
			return nil, &walk.Fault{Page: d.Ref.ID, Problem: "header", Err: err}
		}
		b = make([]byte, d.Pages*s.pageSize)
		if err := s.read(d.Ref.ID, b); err != nil {
			return nil, &walk.Fault{Page: d.Ref.ID, Problem: "extent", Err: err}
		}
	}
	if s.hasher != nil {
		if got := page.Digest(s.hasher.Sum(b)); got != d.Ref.Digest {
			return nil, &walk.Fault{Page: d.Ref.ID, Want: d.Ref.Digest, Got: got, Problem: "bytes do not match their digest"}
		}
	}
	if err := d.Match(b); err != nil {
		return nil, err
	}
	if d.Pages == 1 {
		s.keep(d.Ref, b)
	}
	return b, nil
}

func (s *source) keep(r page.Ref, b []byte) {
	if len(s.order) == recentNodes {
		delete(s.recent, s.order[0])
		s.order = append(s.order[:0], s.order[1:]...)
	}
	s.recent[r] = b
	s.order = append(s.order, r)
}

// state is a tree of buckets to be saved.
type state struct {
	meta  *page.Meta
	grade Grade
}

// states returns the state to be saved, and an older one to fill gaps from.
// It is the one that Open would choose; if damage leaves Open none, the newest.
func (s *source) states() (newest state, older *page.Meta, err error) {
	a, b := s.slots[0], s.slots[1]
	if b.Newer(a) {
		a, b = b, a
	}
	if a == nil {
		return s.lostState()
	}
	if b != nil && b.TxID >= a.DurableTx && b.TxID < a.TxID {
		ok, err := s.acceptable(a)
		if err != nil {
			return state{}, nil, err
		}
		if !ok {
			if ok, err = s.acceptable(b); err != nil {
				return state{}, nil, err
			}
			if ok { // the newer commit was cut short, and nobody was told that it succeeded
				return state{meta: b}, nil, nil
			}
		}
	}
	if b != nil && b.TxID == a.TxID {
		b = nil // the same state
	}
	return state{meta: a}, b, nil
}

// acceptable reports whether all that the state's unproven transactions wrote
// is there, see rule C in DESIGN.
func (s *source) acceptable(m *page.Meta) (bool, error) {
	if int64(m.End) > int64(s.pages) {
		return false, nil
	}
	var buf []byte
	w := &walk.Walk{
		Meta: m, Since: m.DurableTx, PageSize: s.pageSize, Hasher: s.hasher,
		Read: func(start page.ID, pages int) ([]byte, error) {
			if err := s.ctx.Err(); err != nil {
				return nil, err
			}
			if n := pages * s.pageSize; cap(buf) < n {
				buf = make([]byte, n)
			}
			buf = buf[:pages*s.pageSize]
			return buf, s.read(start, buf)
		},
	}
	if m.DurableTx == m.TxID {
		return true, nil
	}
	err := w.Run()
	return err == nil, s.ctx.Err()
}

// lostState finds a root without a meta page: the one that a damaged slot
// names, or else the newest page that looks like one.
func (s *source) lostState() (newest state, older *page.Meta, err error) {
	var best page.Ref
	for _, b := range s.raw {
		if b == nil || s.hasher == nil {
			continue
		}
		r := page.MetaRoot(b).Root
		if _, err := s.extent(walk.Tree(r)); err == nil && r.Birth >= best.Birth {
			best = r
		}
	}
	if !best.IsZero() {
		return state{&page.Meta{TxID: best.Birth, End: s.pages, Root: page.Bucket{Root: best}}, Attested}, nil, nil
	}
	best, err = s.findRoot()
	if err != nil {
		return state{}, nil, err
	}
	return state{&page.Meta{TxID: best.Birth, End: s.pages, Root: page.Bucket{Root: best}}, Orphan}, nil, nil
}
