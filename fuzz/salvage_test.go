package fuzz

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/memdir"
	"github.com/lightning-db/lightning/salvage"
)

// flagOrphans of an input of FuzzSalvage is salvage.Options.Orphans.
const flagOrphans = 2

// FuzzSalvage damages a valid file as FuzzOpen does and salvages it, and rebuilds its map
// of free pages. It proves: nothing panics, hangs, or allocates out of proportion to the file; the
// source is left alone; what is saved is a sound database; with digests as they were,
// what is saved as verified is what was written; and a map is rebuilt only to a sound file.
func FuzzSalvage(f *testing.F) {
	files := seedFiles(f)
	for i := range files {
		for flags := range uint8(4) {
			f.Add(uint8(i), flags, []byte{})
			f.Add(uint8(i), flags, []byte{1, 99, 3, 7, 200, 31, 10, 4, byte(i), 77, 8, 5, 6})
			f.Add(uint8(i), flags, []byte{10, 1, 9, 8, 255, 60, 11, 44, 7, 3, 2, 1, 0, 70})
		}
	}
	f.Fuzz(func(t *testing.T, index, flags uint8, edits []byte) {
		watch(t)
		seed := files[int(index)%len(files)]
		image := damage(seed, &program{edits[:min(len(edits), 256)]})
		if flags&flagReseal != 0 {
			reseal(image, seed.key)
		}
		salvageDamaged(t, seed, image, flags)
		rebuildDamaged(t, seed, image)
	})
}

func salvageDamaged(t *testing.T, seed *seedFile, image []byte, flags uint8) {
	dir := memdir.Temp(t)
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	if err := os.WriteFile(src, image, 0o600); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := salvage.Run(context.Background(), src, dst, salvage.Options{IntegrityKey: seed.key, Orphans: flags&flagOrphans != 0})
	runtime.ReadMemStats(&after)
	if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(128<<20+256*max(len(image), len(seed.bytes))); got > limit {
		t.Errorf("%d bytes allocated for a file of %d", got, len(image))
	}
	if now, readErr := os.ReadFile(src); readErr != nil || !bytes.Equal(now, image) {
		t.Errorf("the source was changed: %v", readErr)
	}
	if left, _ := filepath.Glob(dst + ".*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err != nil {
		if !errors.Is(err, lightning.ErrInvalid) && !errors.Is(err, lightning.ErrIntegrityKey) {
			t.Errorf("salvage: %v", err)
		}
		return
	}
	if len(r.Lost) == 0 && flags&flagReseal == 0 && r.Root == salvage.Verified && r.Saved.Sum() != r.Saved[salvage.Verified] {
		t.Errorf("nothing is lost, and %v was saved", r.Saved)
	}
	checkFile(t, dst, seed.key)
}

// rebuildDamaged rebuilds the map: the file is as it was afterwards, or sound in its map.
func rebuildDamaged(t *testing.T, seed *seedFile, image []byte) {
	path := filepath.Join(memdir.Temp(t), "rebuild")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := lightning.RebuildSpace(context.Background(), path, &lightning.Options{IntegrityKey: seed.key})
	if err == nil && r.Rebuilt {
		again, err := lightning.RebuildSpace(context.Background(), path, &lightning.Options{IntegrityKey: seed.key})
		if err != nil || again.Rebuilt || again.Used != r.Used {
			t.Errorf("rebuilt %+v, and again %+v, %v", r, again, err)
		}
		return
	}
	if now, readErr := os.ReadFile(path); readErr != nil || !bytes.Equal(now, image) {
		t.Errorf("the file was changed: %v, %v", readErr, err)
	}
	var open *lightning.OpenError
	if err != nil && !errors.As(err, &open) {
		t.Errorf("RebuildSpace failed with %T: %v", err, err)
	}
}

// checkFile expects a sound database at path.
func checkFile(t *testing.T, path string, key []byte) {
	db, err := lightning.Open(path, 0, &lightning.Options{ReadOnly: true, IntegrityKey: key})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(func(tx *lightning.Tx) error {
		for err := range tx.Check() {
			t.Errorf("%s: %v", path, err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
