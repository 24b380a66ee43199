package lightning

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/mutant"
	"github.com/lightning-db/lightning/page"
)

// RecoveryStage is one of the twelve stages of Open, by the names that
// operators know from log-based databases. There is no log here: recovery only
// validates.
type RecoveryStage string

// The stages in their order.
const (
	StageInitialization        RecoveryStage = "Initialization"        // open the file
	StageLockAcquisition       RecoveryStage = "LockAcquisition"       // lock it against other processes
	StageConfigValidation      RecoveryStage = "ConfigValidation"      // options that contradict each other
	StageResourceCheck         RecoveryStage = "ResourceCheck"         // length of the file; create it if new
	StageWalDiscovery          RecoveryStage = "WalDiscovery"          // read the meta slots
	StageWalValidation         RecoveryStage = "WalValidation"         // verify them
	StageTransactionRecovery   RecoveryStage = "TransactionRecovery"   // choose the newest state that is whole
	StageIndexReconstruction   RecoveryStage = "IndexReconstruction"   // map the file, load the map of free pages
	StageConsistencyValidation RecoveryStage = "ConsistencyValidation" // verify the root
	StageResourceCleanup       RecoveryStage = "ResourceCleanup"       // make the name of a new file durable
	StageDatabaseUnlock        RecoveryStage = "DatabaseUnlock"        // let transactions in
	StageFinalization          RecoveryStage = "Finalization"          // done
)

// RecoveryProgress tells how far Open is.
type RecoveryProgress struct {
	Stage   RecoveryStage
	Percent float64 // of all stages, 0 to 100
	Pages   int     // validated so far in TransactionRecovery
}

// candidate is a meta slot that could be opened.
type candidate struct {
	slot int
	meta *page.Meta
}

// recovery is the state of an Open under way.
type recovery struct {
	db      *DB
	size    int64
	head    []byte       // first bytes of the file
	slots   [2]candidate // meta is nil where the slot is not valid
	faults  [2]error     // why
	chosen  candidate
	percent float64
	rebuild *spaceRebuild // judges the map of free pages, see RebuildSpace; nil for Open
	mapless bool          // the map of free pages does not count when a state is judged
}

// run runs the stages of Open.
func (r *recovery) run(mode os.FileMode) error {
	db := r.db
	stages := []struct {
		name RecoveryStage
		run  func() error
	}{
		{StageInitialization, func() error { return db.openFile(mode) }},
		{StageLockAcquisition, db.lockFile},
		{StageConfigValidation, r.checkConfig},
		{StageResourceCheck, r.checkSize},
		{StageWalDiscovery, r.discover},
		{StageWalValidation, r.judge},
		{StageTransactionRecovery, r.settleState},
		{StageIndexReconstruction, r.loadSpace},
		{StageConsistencyValidation, r.checkRoot},
		{StageResourceCleanup, r.settleName},
		{StageDatabaseUnlock, r.publish},
		{StageFinalization, func() error { return nil }},
	}
	for i, s := range stages {
		r.percent = float64(i) * 100 / float64(len(stages))
		r.report(s.name, 0)
		if err := s.run(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	r.percent = 100
	r.report(StageFinalization, 0)
	return nil
}

func (r *recovery) report(stage RecoveryStage, pages int) {
	if fn := r.db.options.OnRecovery; fn != nil {
		fn(RecoveryProgress{Stage: stage, Percent: r.percent, Pages: pages})
	}
}

func (r *recovery) checkConfig() error {
	o := &r.db.options
	if o.PageSize != 0 && !page.ValidSize(o.PageSize) {
		return fmt.Errorf("page size %d: want a power of two from %d to %d", o.PageSize, page.MinSize, page.MaxSize)
	}
	if o.LargeTxPages < 0 {
		return fmt.Errorf("LargeTxPages is %d: want 0 or more", o.LargeTxPages)
	}
	if o.ReadAhead > ReadAheadOff {
		return fmt.Errorf("no such ReadAhead: %d", o.ReadAhead)
	}
	if o.Verify > VerifyNever {
		return fmt.Errorf("no such Verify: %d", o.Verify)
	}
	return nil
}

// checkSize creates the database in an empty file.
func (r *recovery) checkSize() (err error) {
	if r.size, err = r.db.file.Size(); err != nil {
		return err
	}
	unfinished, err := r.unfinished()
	if err != nil {
		return err
	}
	if !unfinished {
		return nil
	}
	if r.db.readOnly || r.rebuild != nil {
		return fmt.Errorf("%w: the file is empty", ErrInvalid)
	}
	if err := r.db.create(); err != nil {
		return err
	}
	r.size, err = r.db.file.Size()
	return err
}

// unfinished reports whether the file is empty, or what a crash within create
// left: two pages, the first of nothing but zeros, and in the second at most
// a meta slot that cannot be read. Open never returned for it, so no data can
// be lost.
func (r *recovery) unfinished() (bool, error) {
	if r.size == 0 {
		return true, nil
	}
	size := r.db.newPageSize()
	if r.size != 2*int64(size) {
		return false, nil
	}
	b := make([]byte, r.size)
	if _, err := r.db.file.ReadAt(fsync.OpMetaRead, b, 0); err != nil && err != io.EOF {
		return false, err
	}
	slot, rest := b[size:size+page.MetaSize], b[size+page.MetaSize:]
	if !page.IsZero(b[:size]) || !page.IsZero(rest) {
		return false, nil
	}
	id, err := page.PeekMeta(slot)
	switch {
	case errors.Is(err, page.ErrMetaMagic): // not written, or torn
	case err != nil || page.PeekTxID(slot) > 1:
		return false, nil // for discover to judge
	default:
		check := r.db.useKey(id.FileID)
		if _, err = page.DecodeMeta(slot, r.db.hasher, check); err == nil || errors.Is(err, page.ErrMetaKey) {
			return false, nil
		}
	}
	r.db.Logger().Warningf("%s: creating the database was cut short: done anew", r.db.path)
	return true, nil
}

// newPageSize returns the page size of a file to be created.
func (db *DB) newPageSize() int {
	if db.options.PageSize != 0 {
		return db.options.PageSize
	}
	return DefaultPageSize
}

// create writes the two meta slots of an empty database, slot 1 durably before
// slot 0. So what a crash leaves of the first write, be it torn, has a first
// page of zeros, which no other file begins with; and of the second write
// nothing needs to be left.
func (db *DB) create() error {
	size := db.newPageSize()
	db.usePageSize(size)
	m := page.Meta{PageSize: size, End: 2}
	if len(db.options.IntegrityKey) > 0 {
		m.Flags |= page.MetaIntegrityKey
	}
	if _, err := rand.Read(m.FileID[:]); err != nil {
		return err
	}
	m.KeyCheck = db.useKey(m.FileID)
	if err := db.file.Truncate(fsync.OpTruncate, 0); err != nil {
		return err
	}
	if err := db.file.Grow(fsync.OpGrow, 2*int64(size)); err != nil {
		return err
	}
	for slot := 1; slot >= 0; slot-- {
		m.TxID, m.DurableTx = page.TxID(slot), page.TxID(slot)
		if err := db.writeMetaSlot(slot, &m); err != nil {
			return err
		}
		if err := db.file.SyncFull(fsync.OpCreateSync); err != nil {
			return err
		}
	}
	return nil
}

// settle brings what a killed process left in the page cache to the medium, so
// that the state chosen from there is durable. What cannot be written is found
// missing there. Also a meta that calls itself durable may not have been synced,
// nor a length that the process was about to sync.
func (r *recovery) settle() error {
	err := r.db.file.SyncFull(fsync.OpOpenSync)
	if err != nil && r.db.readOnly {
		// Some platforms do not let readers sync. The medium decides.
		r.db.Logger().Warningf("%s: sync before reading: %v", r.db.path, err)
		return nil
	}
	return err
}

// discover finds the page size and reads both meta slots from the medium.
func (r *recovery) discover() error {
	db := r.db
	if err := r.settle(); err != nil {
		return err
	}
	// Both slots of the smallest pages with one read: each waits for the medium.
	r.head = make([]byte, min(r.size, 2*page.MetaSize))
	if err := db.file.ReadMedium(fsync.OpMetaRead, r.head, 0); err != nil {
		return err
	}
	sizes := []int{0}
	for n := page.MinSize; n <= page.MaxSize; n *= 2 {
		sizes = append(sizes, n)
	}
	if _, err := page.PeekIncrement(r.head); !errors.Is(err, page.ErrIncrementMagic) {
		return ErrIncrement
	}
	// Slot 0 tells the page size; if it is damaged, slot 1 is where it says.
	var first error
	var unsure *page.MetaIdentity
	for _, n := range sizes {
		if int64(n)+page.MetaSize > r.size {
			continue
		}
		b, err := r.slot(int64(n))
		if err != nil {
			return err
		}
		id, err := page.PeekMeta(b)
		if err == nil && id.PageSize == n && len(db.options.IntegrityKey) == 0 { // a value cannot know the key
			err = page.CheckLead(n, func(b []byte, off int64) error { return db.file.ReadMedium(fsync.OpMetaRead, b, off) })
			if err != nil && !errors.Is(err, page.ErrMetaMagic) {
				return err // it may be good
			}
		}
		if err == nil && (n == 0 || id.PageSize == n) {
			check := db.useKey(id.FileID)
			if _, err = page.DecodeMeta(b, db.hasher, check); err == nil {
				return r.read(id)
			}
			if unsure == nil {
				unsure = &id
			}
		}
		if first == nil {
			first = err
		}
	}
	if unsure != nil {
		return r.read(*unsure) // neither slot is good: judge says why
	}
	if first == nil {
		first = page.ErrMetaMagic
	}
	return metaError(first)
}

// slot returns the bytes of the meta slot at the given offset of the file.
func (r *recovery) slot(off int64) ([]byte, error) {
	if off+page.MetaSize <= int64(len(r.head)) {
		return r.head[off : off+page.MetaSize], nil
	}
	b := make([]byte, page.MetaSize)
	err := r.db.file.ReadMedium(fsync.OpMetaRead, b, off)
	return b, err
}

// read decodes both slots with the key of the file.
func (r *recovery) read(id page.MetaIdentity) error {
	db := r.db
	db.usePageSize(id.PageSize)
	check := db.useKey(id.FileID)
	for slot := range 2 {
		off := int64(slot) * int64(db.pageSize)
		if off+page.MetaSize > r.size {
			r.faults[slot] = fmt.Errorf("%w: the file ends before it", page.ErrMetaMagic)
			continue
		}
		b, err := r.slot(off)
		if err != nil {
			return err
		}
		m, err := page.DecodeMeta(b, db.hasher, check)
		if err == nil && (m.PageSize != db.pageSize || m.FileID != id.FileID) {
			err = page.ErrMetaFields
		}
		r.slots[slot] = candidate{slot, m}
		if r.faults[slot] = err; err != nil {
			r.slots[slot].meta = nil
		}
	}
	return nil
}

// judge fails if neither slot is valid.
func (r *recovery) judge() error {
	if r.slots[0].meta != nil || r.slots[1].meta != nil {
		for slot, err := range r.faults {
			if err != nil { // erased by rule D, or it held a newer commit
				r.db.Logger().Warningf("%s: meta slot %d cannot be used: %v", r.db.path, slot, err)
			}
		}
		return nil
	}
	// The fault that says most: a wrong key looks like a damaged slot.
	for _, want := range []error{page.ErrMetaKey, page.ErrMetaVersion, page.ErrMetaDigest, page.ErrMetaFields} {
		for _, err := range r.faults {
			if errors.Is(err, want) {
				return metaError(err)
			}
		}
	}
	return metaError(r.faults[0])
}

func metaError(err error) error {
	for _, m := range []struct{ from, to error }{
		{page.ErrMetaMagic, ErrInvalid},
		{page.ErrMetaPageSize, ErrInvalid},
		{page.ErrMetaVersion, ErrVersionMismatch},
		{page.ErrMetaKey, ErrIntegrityKey},
		{page.ErrMetaDigest, ErrChecksum},
		{page.ErrMetaFields, ErrChecksum},
	} {
		if errors.Is(err, m.from) {
			return fmt.Errorf("%w: %w", m.to, err)
		}
	}
	return err
}

// settleState chooses the state. Where Open would find none, what is damaged may be
// no more than the map that is about to be rebuilt.
func (r *recovery) settleState() error {
	err := r.choose()
	if r.rebuild == nil || !errors.Is(err, ErrChecksum) {
		return err
	}
	r.chosen, r.mapless = candidate{}, true
	return r.choose()
}

// choose takes the newest acceptable meta (rule C), and refuses to go back
// behind a state that is known to have been durable (rule F).
func (r *recovery) choose() error {
	order := []candidate{r.slots[0], r.slots[1]}
	if order[1].meta.Newer(order[0].meta) {
		order[0], order[1] = order[1], order[0]
	}
	var durable page.TxID
	var refused error
	for _, c := range order {
		if c.meta == nil {
			continue
		}
		durable = max(durable, c.meta.DurableTx)
		if r.chosen.meta != nil {
			continue
		}
		switch err := r.accept(c.meta); {
		case err == nil:
			r.chosen = c
		case errors.Is(err, ErrChecksum):
			r.db.Logger().Warningf("%s: transaction %d was not completely written: %v", r.db.path, c.meta.TxID, err)
			refused = err
		default:
			return err
		}
	}
	if r.chosen.meta == nil {
		return refused
	}
	if r.chosen.meta.TxID < durable && !mutant.Is(mutant.RollBackSilently) {
		return fmt.Errorf("transaction %d, known to have been durable, is damaged: %w", durable, refused)
	}
	return nil
}

// accept validates what the meta's transaction and the unproven ones before it
// wrote, as the medium has it.
func (r *recovery) accept(m *page.Meta) error {
	db := r.db
	if need := int64(m.End) * int64(db.pageSize); r.size < need && !mutant.Is(mutant.NoLengthCheck) {
		return db.corrupt(uint64(r.size/int64(db.pageSize)), fmt.Sprintf("file of %d bytes is shorter than the %d its meta page says", r.size, need), nil)
	}
	if m.DurableTx == m.TxID || mutant.Is(mutant.NoValidation) {
		return nil
	}
	if r.mapless {
		m = withoutMap(m)
	}
	v := &validation{db: db}
	return v.run(m, func(pages int) { r.report(StageTransactionRecovery, pages) })
}

// loadSpace maps the file and loads the map of free pages.
func (r *recovery) loadSpace() error {
	db, m := r.db, r.chosen.meta
	if err := db.mapFile(r.size); err != nil {
		return err
	}
	if db.readOnly {
		return nil
	}
	return db.guarded(func() (err error) {
		if r.rebuild != nil {
			db.space, err = r.rebuild.load(r)
		} else {
			db.space, err = openSpace(db, m)
		}
		return err
	})
}

// checkRoot verifies the root page, so that a file without a readable root is
// refused here and not at the first Get.
func (r *recovery) checkRoot() error {
	root := r.chosen.meta.Root.Root
	if root.IsZero() {
		return nil
	}
	return r.db.guarded(func() error {
		_, err := r.db.extent(root, 1)
		return err
	})
}

// settleName makes the name of a file without transactions durable: it may be
// new, and the process that created it may not have come so far. Without its
// name all that is committed would be lost.
func (r *recovery) settleName() error {
	if r.db.readOnly || r.chosen.meta.TxID > 1 {
		return nil
	}
	return fsync.SyncDir(r.db.path)
}

// publish makes the chosen state the one that transactions begin with. For
// writers it is durable: it was synced and validated from the medium.
func (r *recovery) publish() error {
	db, c := r.db, r.chosen
	db.found = c.meta.TxID
	db.durable, db.written, db.durableSlot = c.meta.TxID, c.meta.TxID, c.slot
	for i, s := range r.slots {
		if s.meta != nil {
			db.slots[i] = slotState{s.meta.TxID, s.meta.End}
		}
	}
	other := r.slots[1-c.slot].meta
	db.rejected = other != nil && other.TxID > c.meta.TxID
	if db.rejected {
		db.slots[1-c.slot] = slotState{}
	}
	db.setTip(stateOf(c.meta))
	db.endPages.Store(uint64(c.meta.End))
	db.proven = &snapshot{meta: *c.meta}
	db.published.Store(db.proven)
	db.gauge()
	return nil
}
