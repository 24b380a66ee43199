package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/fsync"
	"github.com/lightning-db/lightning/internal/walk"
	"github.com/lightning-db/lightning/page"
)

// patient is a database file to be damaged, with backups of it.
type patient struct {
	t     *testing.T
	r     *rand.Rand
	path  string
	image []byte // as it was
	used  []walk.Demand
	old   []byte // an older state of the file
	parts []string
	o     Options
}

func newPatient(t *testing.T, o lightning.Options, increments, changes int) *patient {
	t.Helper()
	h := newHistory(t, o)
	h.change(1500)
	h.back()
	old := readFile(t, h.db.Path())
	for range increments {
		h.change(changes)
		h.back()
	}
	p := &patient{t: t, r: h.rnd, path: h.db.Path(), old: old, parts: h.parts, o: h.o}
	h.close()
	p.image = readFile(t, p.path)
	p.used = p.extents()
	return p
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// extents lists what the state of the file consists of.
func (p *patient) extents() (all []walk.Demand) {
	p.t.Helper()
	part, err := openPart(p.t.Context(), p.path, &p.o)
	if err != nil {
		p.t.Fatal(err)
	}
	defer part.file.Close()
	c := &chain{ctx: p.t.Context(), o: &Options{}, laid: newOverlay()}
	if err := c.run(part, func(d walk.Demand, _ []byte) error {
		all = append(all, d)
		return nil
	}); err != nil {
		p.t.Fatal(err)
	}
	return all
}

func (p *patient) size() int { return int(p.image[20]) | int(p.image[21])<<8 | int(p.image[22])<<16 }

// end returns the number of pages that the state has.
func (p *patient) end() page.ID {
	p.t.Helper()
	part, err := openPart(p.t.Context(), p.path, &p.o)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := part.file.Close(); err != nil {
		p.t.Fatal(err)
	}
	return part.meta.End
}

// bytes returns the extent d of b.
func (p *patient) bytes(b []byte, d walk.Demand) []byte {
	return b[int(d.Ref.ID)*p.size():][:d.Pages*p.size()]
}

// damage damages an extent of the image b in one of many ways.
func (p *patient) damage(b []byte, d walk.Demand) {
	x := p.bytes(b, d)
	before := bytes.Clone(x)
	for bytes.Equal(x, before) {
		switch p.r.IntN(5) {
		case 0:
			x[p.r.IntN(len(x))] ^= 1 << p.r.IntN(8)
		case 1:
			clear(x[p.r.IntN(len(x)):])
		case 2: // another good page
			copy(x, p.bytes(p.image, p.used[p.r.IntN(len(p.used))]))
		case 3: // what was there before
			if at := int(d.Ref.ID) * p.size(); at+len(x) <= len(p.old) {
				copy(x, p.old[at:])
			}
		case 4:
			for i := range x {
				x[i] = byte(p.r.Uint32())
			}
		}
	}
}

func (p *patient) write(b []byte) {
	p.t.Helper()
	if err := os.WriteFile(p.path, b, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *patient) repair(copies ...string) (*RepairReport, error) {
	return Repair(p.t.Context(), p.path, copies, RepairOptions{Options: p.o})
}

// wantWhole holds that all that is in use is as it was, and nothing else was touched.
func (p *patient) wantWhole(what string, damaged []byte) {
	p.t.Helper()
	got := readFile(p.t, p.path)
	want := bytes.Clone(damaged)
	for _, d := range p.used {
		copy(p.bytes(want, d), p.bytes(p.image, d))
	}
	if !bytes.Equal(got, want) {
		p.t.Errorf("%s: the file is not as it was", what)
	}
}

// Damage of any kind in any page is healed byte for byte from the backups, and
// nothing else is touched.
func TestRepair_FromBackups(t *testing.T) {
	for name, o := range map[string]lightning.Options{"4k": {}, "keyed": {IntegrityKey: []byte("k")}, "16k": {PageSize: 16 << 10}} {
		t.Run(name, func(t *testing.T) {
			p := newPatient(t, o, 2, 200)
			types := map[string]int{}
			for range 60 {
				b := bytes.Clone(p.image)
				hit := map[page.ID]bool{}
				for range 1 + p.r.IntN(6) {
					d := p.used[p.r.IntN(len(p.used))]
					if !hit[d.Ref.ID] {
						p.damage(b, d)
						hit[d.Ref.ID] = true
					}
				}
				p.write(b)
				report, err := p.repair(p.parts...)
				if err != nil || report.Lost != 0 || len(report.Damaged) != len(hit) {
					t.Fatalf("%d extents damaged: report %+v, %v", len(hit), report, err)
				}
				for _, d := range report.Damaged {
					types[d.Type]++
					if !hit[page.ID(d.Page)] || d.From == "" || d.Problem == "" {
						t.Errorf("report has %+v", d)
					}
				}
				p.wantWhole("repaired", b)
			}
			if len(types) < 2 {
				t.Errorf("only these types were met: %v", types)
			}
			// Each extent, once.
			b := bytes.Clone(p.image)
			for _, d := range p.used {
				p.damage(b, d)
			}
			p.write(b)
			if report, err := p.repair(p.parts...); err != nil || len(report.Damaged) != len(p.used) {
				t.Fatalf("all damaged: %v", err)
			}
			p.wantWhole("all damaged", b)
			if report, err := p.repair(); err != nil || len(report.Damaged) != 0 || report.Bytes == 0 {
				t.Errorf("a whole database: %+v, %v", report, err)
			}
		})
	}
}

// No copy has what was written after the last backup; what else is damaged is
// healed all the same, and running it again with a better copy does the rest.
func TestRepair_NotWhole(t *testing.T) {
	p := newPatient(t, lightning.Options{}, 2, 3)
	var newest []walk.Demand
	for _, d := range p.used {
		if d.Ref.ID != 0 && int(d.Ref.ID+page.ID(d.Pages))*p.size() <= len(p.old) && !bytes.Equal(p.bytes(p.old, d), p.bytes(p.image, d)) || int(d.Ref.ID+page.ID(d.Pages))*p.size() > len(p.old) {
			newest = append(newest, d)
		}
	}
	leaf := func(d walk.Demand) bool {
		return page.LevelOf(p.bytes(p.image, d)) == 0 && len(d.Types) == 2 && d.Parent != 0
	}
	b := bytes.Clone(p.image)
	lost, healed := 0, 0
	for _, d := range p.used {
		if !leaf(d) || !contains(newest, d) && p.r.IntN(3) > 0 {
			continue
		}
		p.damage(b, d)
		if contains(newest, d) {
			lost++
		} else {
			healed++
		}
	}
	if lost == 0 || healed == 0 {
		t.Fatalf("%d and %d leaves damaged", lost, healed)
	}
	p.write(b)
	report, err := p.repair(p.parts[0])
	if !errors.Is(err, ErrNotWhole) || report.Lost != lost || len(report.Damaged) != lost+healed {
		t.Fatalf("got %v, %d of %d lost, want %d of %d", err, report.Lost, len(report.Damaged), lost, lost+healed)
	}
	report, err = p.repair(p.parts[2], p.parts[1])
	if err != nil || len(report.Damaged) != lost {
		t.Fatalf("with the increments: %v, %d damaged", err, len(report.Damaged))
	}
	p.wantWhole("in two runs", b)
}

func contains(all []walk.Demand, d walk.Demand) bool {
	for _, x := range all {
		if x.Ref == d.Ref {
			return true
		}
	}
	return false
}

// A file that was cut gets its pages, and its length, back.
func TestRepair_Truncated(t *testing.T) {
	p := newPatient(t, lightning.Options{}, 1, 200)
	for _, keep := range []int{2, 3, len(p.image) / p.size() / 2} {
		p.write(p.image[:keep*p.size()+100])
		if _, err := p.repair(p.parts...); err != nil {
			t.Fatal(err)
		}
		got := readFile(t, p.path)
		if end := int(p.end()) * p.size(); len(got) < end {
			t.Errorf("cut to %d pages: %d bytes long, want %d", keep, len(got), end)
		}
		for _, d := range p.used {
			if !bytes.Equal(p.bytes(got, d), p.bytes(p.image, d)) {
				t.Fatalf("cut to %d pages: extent at page %d is not as it was", keep, d.Ref.ID)
			}
		}
		db, err := lightning.Open(p.path, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.View(func(tx *lightning.Tx) error {
			for err := range tx.Check() {
				t.Error(err)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Nothing but the right bytes is taken, whatever the copy is.
func TestRepair_BadCopies(t *testing.T) {
	p := newPatient(t, lightning.Options{}, 1, 200)
	dir := t.TempDir()
	full, inc := readFile(t, p.parts[0]), readFile(t, p.parts[1])
	bad := map[string][]byte{
		"empty": {}, "text": []byte("nothing of ours"), "short": full[:len(full)/3], "older": p.old,
		"increment cut": inc[:len(inc)/2], "increment of nothing": inc[:2*page.MetaSize], "increment cut in its slot": inc[:page.MetaSize+100],
	}
	for name, b := range map[string][]byte{"full": full, "increment": inc} {
		scrambled := bytes.Clone(b)
		for i := 2 * page.MetaSize; i < len(scrambled); i += 1 + p.r.IntN(300) {
			scrambled[i] ^= byte(1 + p.r.IntN(255))
		}
		bad["scrambled "+name] = scrambled
		headless := bytes.Clone(b)
		clear(headless[:page.MetaSize])
		bad["headless "+name] = headless
	}
	var paths []string
	for name, b := range bad {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	for range 20 {
		b := bytes.Clone(p.image)
		for range 1 + p.r.IntN(20) {
			p.damage(b, p.used[p.r.IntN(len(p.used))])
		}
		p.write(b)
		if _, err := p.repair(append(paths, p.path+".not")...); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("a copy that is not there: %v", err)
		}
		if _, err := p.repair(paths...); err != nil && !errors.Is(err, ErrNotWhole) {
			t.Fatal(err)
		}
		got := readFile(t, p.path)
		for _, d := range p.used {
			if x := p.bytes(got, d); !bytes.Equal(x, p.bytes(b, d)) && !bytes.Equal(x, p.bytes(p.image, d)) {
				t.Fatalf("extent at page %d is neither as it was nor as it was damaged", d.Ref.ID)
			}
		}
		if _, err := p.repair(append(paths, p.parts...)...); err != nil {
			t.Fatal(err)
		}
		p.wantWhole("with the backups", b)
	}
	for name, b := range bad {
		if !bytes.Equal(readFile(t, filepath.Join(dir, name)), b) {
			t.Errorf("the copy %q was changed", name)
		}
	}
}

// A dry run says the same and writes nothing.
func TestRepair_DryRun(t *testing.T) {
	p := newPatient(t, lightning.Options{}, 1, 200)
	b := bytes.Clone(p.image)
	for range 5 {
		p.damage(b, p.used[p.r.IntN(len(p.used))])
	}
	p.write(b)
	dry, err := Repair(t.Context(), p.path, p.parts, RepairOptions{Options: p.o, DryRun: true})
	if err != nil || !bytes.Equal(readFile(t, p.path), b) {
		t.Fatalf("%v, or the file was changed", err)
	}
	report, err := p.repair(p.parts...)
	if err != nil || fmt.Sprint(report) != fmt.Sprint(dry) {
		t.Errorf("dry run: %v, then %v, %v", dry, report, err)
	}
}

// A commit that a crash has cut short is no damage: what Open would go back to
// is repaired.
func TestRepair_TornCommit(t *testing.T) {
	h := newHistory(t, lightning.Options{})
	h.change(800)
	h.back()
	h.change(20)
	killed := readFile(t, h.db.Path()) // before Close, the newest commit is unproven
	p := &patient{t: t, r: h.rnd, path: filepath.Join(h.dir, "killed"), parts: h.parts, image: killed}
	h.change(20)
	h.close()
	p.write(killed)
	part, err := openPart(t.Context(), p.path, &p.o)
	if err != nil {
		t.Fatal(err)
	}
	if err := part.file.Close(); err != nil {
		t.Fatal(err)
	}
	if part.meta.DurableTx == part.meta.TxID {
		t.Fatal("the newest commit is known durable")
	}
	b := bytes.Clone(killed)
	clear(b[int(part.meta.Root.Root.ID)*p.size():][:p.size()])
	p.write(b)
	report, err := p.repair()
	if err != nil || report.State.TxID >= uint64(part.meta.TxID) || len(report.Damaged) != 0 {
		t.Errorf("torn: %+v, %v", report, err)
	}
	if !bytes.Equal(readFile(t, p.path), b) {
		t.Error("the file was changed")
	}
}

// What is known to have been durable is never given up for what is older, torn or not.
func TestRepair_NeverBehindWhatWasDurable(t *testing.T) {
	h := newHistory(t, lightning.Options{})
	h.change(300)
	before := readFile(t, h.db.Path())
	h.change(20)
	h.change(20)
	killed := readFile(t, h.db.Path())
	h.close()
	p := &patient{t: t, r: h.rnd, path: filepath.Join(h.dir, "killed"), image: killed}
	p.write(killed)
	part, err := openPart(t.Context(), p.path, &p.o)
	if err != nil {
		t.Fatal(err)
	}
	newest := part.meta
	metas, err := part.readMetas(&p.o)
	if err := errors.Join(err, part.file.Close()); err != nil || len(metas) != 2 {
		t.Fatalf("%d slots, %v", len(metas), err)
	}
	b := bytes.Clone(killed)
	clear(b[int(newest.Root.Root.ID)*p.size():][:p.size()])
	slot := 0 // of the state before
	if killed[64] == byte(newest.TxID) {
		slot = p.size()
	}
	copy(b[slot:slot+page.MetaSize], before[slot:]) // as if a write to it had been lost
	p.write(b)
	report, err := p.repair()
	if !errors.Is(err, ErrNotWhole) || report.State.TxID != uint64(newest.TxID) {
		t.Errorf("%+v, %v", report, err)
	}
}

// scratched is a file some pages of which cannot be read until they are written.
type scratched struct {
	fsync.File
	size int64
	bad  map[int64]bool // pages
}

func (f *scratched) ReadMedium(op fsync.Op, b []byte, off int64) error {
	for id := off / f.size; id*f.size < off+int64(len(b)); id++ {
		if f.bad[id] {
			return &fsync.OpError{Op: op, Path: f.Name(), Off: off, Err: syscall.EIO}
		}
	}
	return f.File.ReadMedium(op, b, off)
}

func (f *scratched) WriteAt(op fsync.Op, b []byte, off int64) error {
	for id := off / f.size; id*f.size < off+int64(len(b)); id++ {
		delete(f.bad, id)
	}
	return f.File.WriteAt(op, b, off)
}

// forgetful is a file that does not keep what repairs write.
type forgetful struct{ fsync.File }

func (f *forgetful) WriteAt(op fsync.Op, b []byte, off int64) error {
	if op == fsync.OpRepairWrite {
		return nil
	}
	return f.File.WriteAt(op, b, off)
}

// repairThrough is repair with wrap between it and the file.
func (p *patient) repairThrough(wrap func(fsync.File) fsync.File, copies ...string) (*RepairReport, error) {
	defer fsync.Intercept(p.path, wrap)()
	return p.repair(copies...)
}

// What cannot be read is damage like any other.
func TestRepair_Unreadable(t *testing.T) {
	p := newPatient(t, lightning.Options{}, 1, 200)
	for range 20 {
		f := &scratched{size: int64(p.size()), bad: map[int64]bool{}}
		hit := map[page.ID]bool{}
		for range 1 + p.r.IntN(8) {
			d := p.used[p.r.IntN(len(p.used))]
			hit[d.Ref.ID] = true
			f.bad[int64(d.Ref.ID)+int64(p.r.IntN(d.Pages))] = true
		}
		p.write(p.image)
		wrap := func(file fsync.File) fsync.File { f.File = file; return f }
		if _, err := p.repairThrough(wrap); !errors.Is(err, ErrNotWhole) {
			t.Fatalf("without a copy: %v", err)
		}
		report, err := p.repairThrough(wrap, p.parts...)
		if err != nil || len(report.Damaged) != len(hit) || len(f.bad) != 0 {
			t.Fatalf("%d extents unreadable, %d pages left: %+v, %v", len(hit), len(f.bad), report, err)
		}
		p.wantWhole("unreadable pages", p.image)
	}
}

// A write or sync that fails is an error, and so is a medium that does not keep what is
// written to it.
func TestRepair_CannotWrite(t *testing.T) {
	p := newPatient(t, lightning.Options{}, 0, 0)
	b := bytes.Clone(p.image)
	p.damage(b, p.used[p.r.IntN(len(p.used))])
	for _, op := range []fsync.Op{fsync.OpRepairWrite, fsync.OpRepairSync, fsync.OpOpenSync} {
		p.write(b)
		if _, err := p.repairThrough(func(f fsync.File) fsync.File {
			faults := fsync.NewFaults(f)
			faults.FailAlways(op, syscall.EIO)
			return faults
		}, p.parts...); !errors.Is(err, syscall.EIO) {
			t.Errorf("%v fails: %v", op, err)
		}
		if op == fsync.OpRepairWrite && !bytes.Equal(readFile(t, p.path), b) {
			t.Errorf("%v fails, and the file has changed", op)
		}
	}
	p.write(b)
	_, err := p.repairThrough(func(f fsync.File) fsync.File { return &forgetful{f} }, p.parts...)
	var damage *lightning.CorruptionError
	if !errors.As(err, &damage) || !strings.Contains(err.Error(), "does not keep") {
		t.Errorf("a medium that forgets: %v", err)
	}
}

func TestRepair_Errors(t *testing.T) {
	p := newPatient(t, lightning.Options{}, 0, 0)
	b := bytes.Clone(p.image)
	clear(b[:2*p.size()])
	p.write(b)
	if _, err := p.repair(p.parts...); !errors.Is(err, ErrNotBackup) {
		t.Errorf("both slots gone: %v", err)
	}
	p.write(p.image)
	if _, err := Repair(t.Context(), p.path, nil, RepairOptions{Options: Options{IntegrityKey: []byte("x")}}); !errors.Is(err, lightning.ErrIntegrityKey) {
		t.Errorf("wrong key: %v", err)
	}
	if _, err := p.repair(p.path + ".not"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a copy that is not there: %v", err)
	}
	db, err := lightning.Open(p.path, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Repair(t.Context(), p.path, nil, RepairOptions{Options: Options{LockTimeout: 1}}); !errors.Is(err, lightning.ErrTimeout) {
		t.Errorf("open elsewhere: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Repair(ctx, p.path, nil, RepairOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

// Stopped at any page, a repair leaves a file that the next one finishes.
func TestRepair_Stopped(t *testing.T) {
	p := newPatient(t, lightning.Options{}, 1, 200)
	b := bytes.Clone(p.image)
	for _, d := range p.used {
		p.damage(b, d)
	}
	p.write(b)
	for n := 1; ; n += 7 {
		ctx := &countdown{Context: t.Context(), left: n}
		_, err := Repair(ctx, p.path, p.parts, RepairOptions{})
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	p.wantWhole("in many runs", b)
}

// countdown is a context that ends when it was asked often enough.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// FuzzRepair gives damaged files to be repaired from copies that an enemy made.
func FuzzRepair(f *testing.F) {
	full, increment := smallChain(f)
	f.Add(full, increment, false)
	f.Add(full[:len(full)/2], full, false)
	f.Add(full, increment[:len(increment)/2], true)
	dir := f.TempDir()
	path, donor, good := filepath.Join(dir, "db"), filepath.Join(dir, "copy"), filepath.Join(dir, "full")
	if err := os.WriteFile(good, full, 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, damaged, other []byte, sealed bool) {
		if sealed {
			other = forge(other)
		}
		if err := errors.Join(os.WriteFile(path, damaged, 0o600), os.WriteFile(donor, other, 0o600)); err != nil {
			t.Fatal(err)
		}
		report, err := Repair(t.Context(), path, []string{donor, good}, RepairOptions{Options: Options{LockTimeout: 1e9}})
		if err != nil {
			return
		}
		again, err := Repair(t.Context(), path, nil, RepairOptions{})
		if err != nil || len(again.Damaged) != 0 || again.State != report.State {
			t.Fatalf("repaired, and then: %+v, %v", again, err)
		}
	})
}
