package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

// ErrNotWhole is returned by Repair when no copy had the bytes of a damaged page.
var ErrNotWhole = errors.New("the database is still damaged")

// RepairOptions are the settings of Repair.
type RepairOptions struct {
	Options
	// DryRun changes nothing: the report says what would have been done.
	DryRun bool
}

// RepairReport says what Repair found and did.
type RepairReport struct {
	State   lightning.State // that was looked at: the one that Open would choose
	Bytes   int64           // read and verified
	Damaged []DamagedExtent // in the order in which they were found
	Lost    int             // how many of them no copy had
}

// DamagedExtent is a page, or a big value or key of several, that was not as the reference to it
// demands.
type DamagedExtent struct {
	Page    uint64 // the first one
	Pages   int
	Type    string // that was demanded, as in "leaf" or "branch or leaf"
	Problem string
	From    string // path of the copy that had the right bytes; "" if none had
}

// Repair replaces damaged pages of the database file at path by the right ones from copies: full backups,
// increments, old copies of the file, replicas, in the order given. Only bytes with
// exactly the digest that the reference demands are taken, so a copy that is older, of
// another database, damaged or forged can do no harm; and what is right is never touched.
//
// The file must not be open elsewhere: it is locked. The state looked at is the newest one that Open would choose;
// all its pages are read from the medium. Below a damaged page for which there is no copy nothing can be
// looked at: the report has the page, and the error is ErrNotWhole. A repaired page is read back
// after the sync.
//
// Repair fails with the errors of Inspect when no meta slot can be read: a state is named by its slot
// alone, so restore a backup then. It can be stopped at any time, by ctx or a kill, and
// begun again: each page is replaced by itself, and what was damaged is at worst still damaged. The report is valid
// with an error, too.
func Repair(ctx context.Context, path string, copies []string, o RepairOptions) (report *RepairReport, err error) {
	flag := os.O_RDWR
	if o.DryRun {
		flag = os.O_RDONLY
	}
	p, err := openFile(ctx, path, flag, &o.Options)
	if err != nil {
		return nil, err
	}
	r := &repair{ctx: ctx, o: &o, part: p}
	defer func() { err = errors.Join(err, r.close()) }()
	metas, err := p.readMetas(&o.Options)
	if err != nil {
		return nil, p.refuse(err)
	}
	for _, c := range copies {
		d, err := openDonor(ctx, c, metas[0].PageSize, &o.Options)
		if err != nil {
			return nil, fmt.Errorf("copy %s: %w", c, err)
		}
		r.donors = append(r.donors, d)
	}
	err = r.run(metas)
	if err == nil && r.report.Lost > 0 {
		err = fmt.Errorf("%s: %w: no copy has the right bytes of %d extents", path, ErrNotWhole, r.report.Lost)
	}
	return r.report, errors.Join(err, r.settle())
}

// repair is a Repair under way.
type repair struct {
	ctx    context.Context
	o      *RepairOptions
	part   *part // the database
	donors []*donor
	report *RepairReport
	meta   *page.Meta
	torn   bool // what is lost was written after the newest state known durable
	buf    []byte
	fixed  []walk.Demand // to be read back
}

func (r *repair) close() error {
	err := r.part.file.Close()
	for _, d := range r.donors {
		err = errors.Join(err, d.part.file.Close())
	}
	return err
}

// run repairs the newest state. If pages of it are lost that may never have been
// written, because a crash came first, it is the one before that counts, as for Open.
func (r *repair) run(metas []*page.Meta) error {
	if !r.o.DryRun {
		if err := r.part.file.SyncFull(fsync.OpOpenSync); err != nil {
			return err
		}
	}
	var durable page.TxID
	for _, m := range metas {
		durable = max(durable, m.DurableTx)
	}
	for i, m := range metas {
		if err := r.state(m); err != nil {
			return err
		}
		if !r.torn || i+1 == len(metas) || metas[i+1].TxID < durable {
			break
		}
	}
	return nil
}

// state goes through all pages of a state.
func (r *repair) state(m *page.Meta) error {
	r.meta, r.torn = m, false
	r.report = &RepairReport{State: r.part.name(m)}
	w := walk.Walk{
		Meta: m, PageSize: m.PageSize, Hasher: r.part.hasher, Read: r.read, Heal: r.heal,
		Visit: func(_ walk.Demand, b []byte) error {
			r.report.Bytes += int64(len(b))
			return nil
		},
		Older: func(d walk.Demand) error {
			return &walk.Fault{Page: d.Ref.ID, Problem: "born before the first transaction"}
		},
		Progress: func(pages int) {
			if r.o.Progress != nil {
				r.o.Progress(int64(pages)*int64(m.PageSize), int64(m.End)*int64(m.PageSize))
			}
		},
	}
	return r.part.damage(w.Run())
}

// read reads pages from the medium.
func (r *repair) read(start page.ID, pages int) ([]byte, error) {
	if err := r.ctx.Err(); err != nil {
		return nil, err
	}
	size := int64(r.meta.PageSize)
	if int64(start)+int64(pages) > r.part.Size/size {
		return nil, &walk.Fault{Page: start, Problem: "the file ends before it"}
	}
	n := pages * int(size)
	r.buf = slices.Grow(r.buf[:0], n)[:n]
	return r.buf, r.part.file.ReadMedium(fsync.OpPageRead, r.buf, int64(start)*size)
}

// heal looks for the right bytes of a damaged extent and puts them in their place.
func (r *repair) heal(d walk.Demand, cause error) ([]byte, error) {
	if err := r.ctx.Err(); err != nil {
		return nil, err
	}
	found := DamagedExtent{Page: uint64(d.Ref.ID), Pages: d.Pages, Type: d.Kind(), Problem: cause.Error()}
	for _, donor := range r.donors {
		b := donor.find(d, func(b []byte) bool { return page.Digest(r.part.hasher.Sum(b)) == d.Ref.Digest })
		if b == nil {
			continue
		}
		found.From = donor.part.Path
		r.report.Damaged = append(r.report.Damaged, found)
		if r.o.DryRun {
			return b, nil
		}
		r.fixed = append(r.fixed, d)
		return b, r.part.file.WriteAt(fsync.OpRepairWrite, b, int64(d.Ref.ID)*int64(r.meta.PageSize))
	}
	r.report.Damaged = append(r.report.Damaged, found)
	r.report.Lost++
	r.torn = r.torn || d.Ref.Birth > r.meta.DurableTx
	return nil, nil
}

// settle makes what was written durable and reads it back.
func (r *repair) settle() error {
	if len(r.fixed) == 0 {
		return nil
	}
	f, size := r.part.file, int64(r.meta.PageSize)
	// A file that was cut has room for all pages again.
	if err := f.Grow(fsync.OpGrow, int64(r.meta.End)*size); err != nil && r.report.Lost == 0 {
		return err
	}
	if err := f.SyncFull(fsync.OpRepairSync); err != nil {
		return err
	}
	for _, d := range r.fixed {
		b := make([]byte, d.Pages*int(size))
		if err := f.ReadMedium(fsync.OpPageRead, b, int64(d.Ref.ID)*size); err != nil {
			return err
		}
		if got := page.Digest(r.part.hasher.Sum(b)); got != d.Ref.Digest {
			return r.part.damage(&walk.Fault{Page: d.Ref.ID, Want: d.Ref.Digest, Got: got, Problem: "the medium does not keep what is written to it: copy the file to another one"})
		}
	}
	return nil
}
