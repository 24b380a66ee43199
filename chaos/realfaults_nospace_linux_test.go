package chaos_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/lightning-db/lightning"
)

const realNoSpaceAdvice = "free space on the device"

// A new database on a file system with room for a few pages only: Open fails
// with ENOSPC, and works when there is room.
func TestRealFaults_NoSpace_Create(t *testing.T) {
	if !realChild(t, realNeeds{mounts: true}) {
		return
	}
	for _, pageSize := range []int{4096, 65536} {
		for free := range 2*pageSize/4096 + 1 {
			dir := realTmpfs(t, 4<<20)
			b := newRealBallast(t, dir)
			b.fill()
			b.release(int64(free) * 4096)
			path := filepath.Join(dir, "new.db")
			what := fmt.Sprintf("Open with %d pages of %d bytes to come and %d free ones of 4096", 2, pageSize, free)
			for range 2 { // what the first attempt leaves must not be in the way of the next
				db, err := lightning.Open(path, 0o600, &lightning.Options{PageSize: pageSize})
				if err == nil {
					if err := db.Close(); err != nil {
						t.Errorf("%s: Close: %v", what, err)
					}
					if free < 2*pageSize/4096 {
						t.Errorf("%s: succeeds", what)
					}
					continue
				}
				if free >= 2*pageSize/4096 {
					t.Errorf("%s: %v", what, err)
				}
				realOpenError(t, what, err, syscall.ENOSPC, path)
			}
			b.release(4 << 20)
			d := openReal(t, path, lightning.Options{PageSize: pageSize})
			d.mustPut("after space was made", "b", map[string]int{"k": 100})
			d.reopened("after space was made")
		}
	}
}

// realGrowthStep is one transaction of a workload that keeps growing the file.
func realGrowthStep(rng *rand.Rand, i int) map[string]int {
	values := map[string]int{}
	switch i % 6 {
	case 0, 3: // leaves and branches
		for range 200 {
			values[fmt.Sprintf("%08x", rng.Uint32())] = rng.IntN(900)
		}
	case 1: // extents of a few pages
		for range 20 {
			values[fmt.Sprintf("%08x", rng.Uint32())] = 2000 + rng.IntN(20000)
		}
	case 2: // one long extent
		values["big"+fmt.Sprint(i)] = 200_000 + rng.IntN(400_000)
	case 4: // longer than a growth step
		values["huge"+fmt.Sprint(i/12)] = 2<<20 + rng.IntN(1<<20)
	case 5: // frees, and is written anew
		values["big"+fmt.Sprint(i-3)] = -1
		values["again"] = 50_000
	}
	return values
}

// On a device that is full all the time every transaction that lengthens the
// file meets ENOSPC, and again and again while space comes back page by page.
func TestRealFaults_NoSpace_EveryGrowth(t *testing.T) {
	if !realChild(t, realNeeds{mounts: true}) {
		return
	}
	for _, mode := range realModeNames() {
		for _, pageSize := range []int{4096, 32768} {
			if pageSize != 4096 && (testing.Short() || mode != "sync") {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", mode, pageSize), func(t *testing.T) {
				realEveryGrowth(t, lightning.Options{Durability: realModes[mode], PageSize: pageSize})
			})
		}
	}
}

func realEveryGrowth(t *testing.T, o lightning.Options) {
	seed := realSeed(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	dir := realTmpfs(t, 64<<20)
	d := openReal(t, filepath.Join(dir, "grows.db"), o)
	b := newRealBallast(t, dir)
	refused := 0
	for i := range 36 {
		values := realGrowthStep(rng, i)
		what := fmt.Sprintf("step %d", i)
		b.fill()
		for tries := 0; ; tries++ {
			err := d.put("data", values)
			if err == nil {
				break
			}
			refused++
			d.fails(what, err, syscall.ENOSPC, realNoSpaceAdvice)
			if b.size == 0 {
				t.Fatalf("%s: no space, though all of it is free: %v", what, err)
			}
			if tries == 0 {
				d.holds(what)
			}
			// Page by page at first; a long extent needs more than that.
			b.release(int64(1+rng.IntN(8<<min(tries, 5))) * 4096)
		}
		d.holds(what)
	}
	if refused < 30 {
		t.Errorf("only %d commits met the full device", refused)
	}
	t.Logf("%d commits were refused", refused)
	b.fill()
	if err := d.db.Sync(); err != nil {
		t.Fatalf("Sync on the full device: %v", err)
	}
	d.reopened("closed and opened on the full device")
	d.mustPutWithSpace(b, "and after space was made")
}

// mustPutWithSpace makes room and expects that writing works again.
func (d *realData) mustPutWithSpace(b *realBallast, what string) {
	d.t.Helper()
	b.release(b.size)
	d.mustPut(what, "data", map[string]int{"room": 700_000})
	d.reopened(what)
}

// Writers that share flushes, while somebody takes and gives back the device's
// space: a commit that returned nil stands, any other left nothing.
func TestRealFaults_NoSpace_Concurrent(t *testing.T) {
	if !realChild(t, realNeeds{mounts: true}) {
		return
	}
	for _, mode := range realModeNames() {
		t.Run(mode, func(t *testing.T) {
			seed := realSeed(t)
			dir := realTmpfs(t, 48<<20)
			d := openReal(t, filepath.Join(dir, "group.db"), lightning.Options{Durability: realModes[mode]})
			b := newRealBallast(t, dir)
			b.fill()
			const writers, commits = 6, 40
			var wg sync.WaitGroup
			all := make([]*realData, writers)
			refused := make([]int, writers)
			for w := range writers {
				mine := &realData{t: t, path: d.path, db: d.db, want: map[string]map[string]int{}}
				all[w] = mine
				rng := rand.New(rand.NewPCG(seed, uint64(w)))
				wg.Go(func() {
					for range commits {
						key := fmt.Sprint("key", rng.IntN(20))
						size := []int{100, 3000, 60_000, 200_000}[rng.IntN(4)]
						if err := mine.put(fmt.Sprint("writer", w), map[string]int{key: size}); err != nil {
							if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, lightning.ErrPoisoned) {
								t.Errorf("writer %d: %v", w, err)
								return
							}
							refused[w]++
						}
					}
				})
			}
			done := make(chan struct{})
			go func() { wg.Wait(); close(done) }()
			realTides(b, rand.New(rand.NewPCG(seed, 99)), done)
			for w, mine := range all {
				t.Logf("writer %d: %d of %d commits refused", w, refused[w], commits)
				for name, want := range mine.want {
					d.want[name] = want
				}
			}
			d.sound("after the writers")
			d.reopened("opened again")
			d.mustPutWithSpace(b, "after space was made")
		})
	}
}

// realTides gives and takes space until done is closed.
func realTides(b *realBallast, rng *rand.Rand, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		default:
		}
		b.release(int64(rng.IntN(512)) * 4096)
		if rng.IntN(4) == 0 {
			b.fill()
		}
	}
}

// A file with holes, as sparse copies have them, on a full device: a write into
// a hole cannot be kept, and reading one through a map would be a fault. Neither
// ends the process.
func TestRealFaults_NoSpace_Holes(t *testing.T) {
	if !realChild(t, realNeeds{mounts: true}) {
		return
	}
	dir := realTmpfs(t, 48<<20)
	full := openReal(t, filepath.Join(dir, "full.db"), lightning.Options{})
	values := map[string]int{}
	for i := range 3000 {
		values[fmt.Sprintf("%06d", i)] = 1000
	}
	for i := range 20 {
		values[fmt.Sprint("big", i)] = 300_000
	}
	full.mustPut("fill", "data", values)
	for i := range 3000 { // every second page or so becomes free
		if i%8 < 5 {
			values[fmt.Sprintf("%06d", i)] = -1
		}
	}
	for i := range 20 {
		values[fmt.Sprint("big", i)] = -1 + i%2*300_001
	}
	full.mustPut("delete", "data", values)
	sparse := filepath.Join(dir, "sparse.db")
	if err := full.db.View(func(tx *lightning.Tx) error { return tx.CopyFile(sparse, 0o600) }); err != nil {
		t.Fatal(err)
	}
	holes := realPunch(t, sparse)
	if holes < 500 {
		t.Fatalf("the copy has %d holes, too few for a test", holes)
	}
	b := newRealBallast(t, dir)
	b.fill()
	for _, verify := range []lightning.Verify{lightning.VerifyFirst, lightning.VerifyAlways} {
		d := &realData{t: t, path: sparse, options: lightning.Options{Verify: verify}, want: full.want}
		d.open()
		d.sound("sparse, on the full device")
		refused := 0
		for i := range 200 {
			key := fmt.Sprintf("new%d", i)
			if err := d.put("data", map[string]int{key: 100 + i%7*3000}); err != nil {
				refused++
				d.fails("write into a hole", err, syscall.ENOSPC, realNoSpaceAdvice)
			}
		}
		if refused == 0 {
			t.Error("no write met a hole")
		}
		d.holds("after writes into holes")
		d.close()
	}
	d := &realData{t: t, path: sparse, want: full.want}
	d.open()
	defer d.close()
	d.mustPutWithSpace(b, "after space was made")
}

// realPunch makes holes of the blocks of zeros behind the metas and returns how
// many there are.
func realPunch(t *testing.T, path string) (holes int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const keepSize, punchHole = 1, 2
	var b, zeros [4096]byte
	for off := int64(8192); ; off += int64(len(b)) {
		if _, err := f.ReadAt(b[:], off); err == io.EOF {
			return holes
		} else if err != nil {
			t.Fatal(err)
		}
		if b != zeros {
			continue
		}
		if err := syscall.Fallocate(int(f.Fd()), keepSize|punchHole, off, int64(len(b))); err != nil {
			t.Fatal(err)
		}
		holes++
	}
}
