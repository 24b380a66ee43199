package chaos_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/lightning-db/lightning"
)

// realFull is a database that has no room to grow: on a device that is full to
// the last page, or at Options.MaxSize.
type realFull struct {
	*realData
	rng     *rand.Rand
	refusal error        // of a commit that needs more room
	advice  string       // what it says
	ballast *realBallast // nil where MaxSize is the limit
	next    int
}

// takeSpace lets others have what the database has given back.
func (f *realFull) takeSpace() {
	if f.ballast != nil {
		f.ballast.fill()
	}
}

// realSizes are the lengths of values: in a leaf, in an extent of two pages, in
// a long one. Of ten thousand keys as many have each length.
var realSizes = []struct{ bytes, share int }{{300_000, 60}, {5000, 1600}, {100, 8340}}

func (f *realFull) size() int {
	n := f.rng.IntN(10_000)
	for _, s := range realSizes {
		if n -= s.share; n < 0 {
			return s.bytes
		}
	}
	return 0
}

func (f *realFull) key() string {
	f.next++
	return fmt.Sprintf("%08x-%d", f.rng.Uint32(), f.next)
}

// bucket spreads the keys over two buckets.
func (f *realFull) bucket() string { return []string{"data", "other"}[f.rng.IntN(2)] }

// fill puts keys until not even the smallest finds room. Several go into one
// transaction at first, to be done sooner.
func (f *realFull) fill() {
	f.t.Helper()
	for many := 50; many > 1; {
		values := map[string]int{}
		for range many {
			values[f.key()] = f.size()
		}
		if !f.tryPut("fill", f.bucket(), values) {
			many /= 2
		}
	}
	for _, s := range realSizes {
		// One that splits no page may find room where another did not.
		for refused := 0; refused < 20; refused++ {
			for f.tryPut("fill", f.bucket(), map[string]int{f.key(): s.bytes}) {
			}
		}
	}
}

// tryPut reports whether there was room.
func (f *realFull) tryPut(what, bucket string, values map[string]int) bool {
	f.t.Helper()
	err := f.put(bucket, values)
	if err != nil {
		f.fails(what, err, f.refusal, f.advice)
	}
	return err == nil
}

// delete deletes a random key, which has to commit, and returns the length of
// its value, or -1 if there is none.
func (f *realFull) delete(what string) int {
	f.t.Helper()
	bucket := f.bucket()
	if len(f.want[bucket]) == 0 {
		bucket = map[string]string{"data": "other", "other": "data"}[bucket]
	}
	for key, n := range f.want[bucket] { // in random order, not of this seed
		if f.rng.IntN(4) > 0 && len(f.want[bucket]) > 4 {
			continue
		}
		if err := f.put(bucket, map[string]int{key: -1}); err != nil {
			f.t.Fatalf("%s: a delete of %d bytes fails with %d keys left: %v", what, n, len(f.want[bucket]), err)
		}
		return n
	}
	return -1
}

// deleteShare deletes one of n keys, each in a transaction of its own, and
// returns the lengths of their values.
func (f *realFull) deleteShare(what string, n int) (lengths []int) {
	f.t.Helper()
	for range (len(f.want["data"]) + len(f.want["other"])) / n {
		for {
			if length := f.delete(what); length >= 0 {
				lengths = append(lengths, length)
				break
			}
		}
	}
	return lengths
}

// On a full device deletes commit, each by itself, whatever others do with the
// space that is given back, and what they free can be written again.
func TestRealFaults_Reserve_FullDevice(t *testing.T) {
	if !realChild(t, realNeeds{mounts: true}) {
		return
	}
	for i, device := range []struct{ size, pageSize int }{{8 << 20, 4096}, {2 << 20, 4096}, {40 << 20, 4096}, {20 << 20, 32768}} {
		if i > 0 && testing.Short() {
			break
		}
		t.Run(fmt.Sprintf("%dMiB/%d", device.size>>20, device.pageSize), func(t *testing.T) {
			dir := realTmpfs(t, device.size)
			f := &realFull{
				realData: openReal(t, filepath.Join(dir, "full.db"), lightning.Options{PageSize: device.pageSize}),
				rng:      rand.New(rand.NewPCG(realSeed(t), 1)), refusal: syscall.ENOSPC, advice: realNoSpaceAdvice,
			}
			f.fill()
			f.ballast = newRealBallast(t, dir)
			f.fullLife()
		})
	}
}

// The same at the limit that the options set.
func TestRealFaults_Reserve_MaxSize(t *testing.T) {
	if !realChild(t, realNeeds{mounts: true}) { // a tmpfs for speed
		return
	}
	for _, size := range []int{1 << 20, 8 << 20} {
		t.Run(fmt.Sprintf("%dMiB", size>>20), func(t *testing.T) {
			dir := realTmpfs(t, 64<<20)
			f := &realFull{
				realData: openReal(t, filepath.Join(dir, "max.db"), lightning.Options{MaxSize: size}),
				rng:      rand.New(rand.NewPCG(realSeed(t), 2)), refusal: lightning.ErrMaxSizeReached, advice: "MaxSize",
			}
			f.fill()
			f.fullLife()
		})
	}
}

// fullLife is what a full database has to bear.
func (f *realFull) fullLife() {
	f.t.Helper()
	keys := len(f.want["data"]) + len(f.want["other"])
	f.t.Logf("%d keys, the newest bucket has %d", keys, len(f.want["other"]))
	f.takeSpace()
	freed := f.deleteShare("full", 4)
	f.holds("after a quarter was deleted")
	f.putAgain(freed)
	f.takeSpace()
	f.alternate("full")
	f.sound("after deletes and puts")

	f.close() // gives the free tail of the file back
	f.takeSpace()
	f.open()
	f.alternate("opened again")
	f.takeSpace()
	f.deleteShare("opened again", 8)
	f.dropOther()
	f.takeSpace()
	f.deleteShare("to the last", 1)
	f.reopened("emptied")
	if n := len(f.want["data"]); n > 0 {
		f.t.Errorf("%d keys are left", n)
	}
}

// putAgain writes as much as was deleted, but for the slack: leaves that are not
// full, and what the reserve takes. A long value that finds no room in one piece
// is put in pieces: of two pages, or in leaves where pages are large.
func (f *realFull) putAgain(lengths []int) {
	f.t.Helper()
	slices.Sort(lengths)
	slices.Reverse(lengths)
	sum := 0
	for _, n := range lengths {
		sum += n
	}
	share, piece := 2, 8000
	if f.options.PageSize > lightning.DefaultPageSize {
		share, piece = 4, 5000 // deletes free whole pages more seldom
	}
	again := 0
	put := func(n int) bool {
		if again+n > sum/share {
			return true
		}
		ok := f.tryPut("put again", f.bucket(), map[string]int{f.key(): n})
		if ok {
			again += n
		}
		return ok
	}
	for _, n := range lengths {
		if put(n) {
			continue
		}
		for ; n > 0; n -= piece {
			if !put(min(n, piece)) {
				f.t.Errorf("after %d of %d deleted bytes were put again there is no room", again, sum)
				return
			}
		}
	}
	f.t.Logf("%d of %d deleted bytes were put again", again, sum)
	f.holds("after puts of what was freed")
}

// alternate deletes and puts for long. Puts may find no room, deletes must.
func (f *realFull) alternate(what string) {
	f.t.Helper()
	steps := 1500
	if testing.Short() {
		steps = 500
	}
	refused := 0
	for i := range steps {
		if i%50 == 0 {
			f.takeSpace()
		}
		if f.rng.IntN(3) == 0 {
			f.delete(what)
		} else if !f.tryPut(what, f.bucket(), map[string]int{f.key(): f.size()}) {
			refused++
		}
	}
	f.t.Logf("%s: %d of %d steps were puts without room", what, refused, steps)
	f.holds(what)
}

// dropOther deletes a whole bucket, and a range of the other.
func (f *realFull) dropOther() {
	f.t.Helper()
	if err := f.db.Update(func(tx *lightning.Tx) error { return tx.DeleteBucket([]byte("other")) }); err != nil {
		f.t.Fatalf("DeleteBucket on the full database: %v", err)
	}
	f.want["other"] = map[string]int{}
	f.mustPut("a put into what the bucket took", "other", map[string]int{"small": 100})
	f.takeSpace()
	low, high := "4", "c"
	err := f.db.Update(func(tx *lightning.Tx) error {
		_, err := tx.Bucket([]byte("data")).DeleteRange([]byte(low), []byte(high))
		return err
	})
	if err != nil {
		f.t.Fatalf("DeleteRange on the full database: %v", err)
	}
	maps.DeleteFunc(f.want["data"], func(k string, _ int) bool { return k >= low && k < high })
	f.holds("after DeleteBucket and DeleteRange")
}

// A reader keeps what deletes free, so that they may use the reserve up: they
// then fail as typed, and commit when the reader is gone.
func TestRealFaults_Reserve_Reader(t *testing.T) {
	if !realChild(t, realNeeds{mounts: true}) {
		return
	}
	dir := realTmpfs(t, 8<<20)
	f := &realFull{
		realData: openReal(t, filepath.Join(dir, "reader.db"), lightning.Options{}),
		rng:      rand.New(rand.NewPCG(realSeed(t), 3)), refusal: syscall.ENOSPC, advice: realNoSpaceAdvice,
	}
	f.ballast = newRealBallast(t, dir)
	for round := range 3 {
		f.fill()
		f.takeSpace()
		before := maps.Clone(f.want["data"])
		reader, err := f.db.Begin(false)
		if err != nil {
			t.Fatal(err)
		}
		deleted := 0
		for key := range before {
			if err := f.put("data", map[string]int{key: -1}); err != nil {
				f.fails("delete beside a reader", err, syscall.ENOSPC, realNoSpaceAdvice)
				break
			}
			deleted++
		}
		t.Logf("round %d: %d deletes committed beside a reader", round, deleted)
		if deleted == 0 {
			t.Error("no delete committed beside a reader, in spite of the reserve")
		}
		now := f.want["data"]
		f.want["data"] = before
		if err := errors.Join((&realData{want: map[string]map[string]int{"data": before}}).compare(reader), reader.Rollback()); err != nil {
			t.Errorf("the reader's snapshot: %v", err)
		}
		f.want["data"] = now
		for range 20 {
			f.delete("after the reader has gone")
		}
	}
	f.reopened("after readers")
}

// Deletes share flushes with puts that find no room: those fail, and take no
// delete with them.
func TestRealFaults_Reserve_Concurrent(t *testing.T) {
	if !realChild(t, realNeeds{mounts: true}) {
		return
	}
	seed := realSeed(t)
	dir := realTmpfs(t, 8<<20)
	f := &realFull{
		realData: openReal(t, filepath.Join(dir, "group.db"), lightning.Options{}),
		rng:      rand.New(rand.NewPCG(seed, 5)), refusal: syscall.ENOSPC, advice: realNoSpaceAdvice,
	}
	f.fill()
	newRealBallast(t, dir).fill()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var all []*realData
	var refused atomic.Int64
	for w := range 4 {
		mine := &realData{t: t, path: f.path, db: f.db, want: map[string]map[string]int{}}
		all = append(all, mine)
		rng := rand.New(rand.NewPCG(seed, uint64(10+w)))
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				err := mine.put(fmt.Sprint("writer", w), map[string]int{fmt.Sprintf("%08x", rng.Uint32()): []int{100, 5000, 60_000}[rng.IntN(3)]})
				if err != nil {
					refused.Add(1)
					if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, lightning.ErrPoisoned) {
						t.Errorf("put: %v", err)
						return
					}
				}
			}
		})
	}
	var deleters sync.WaitGroup
	for bucket, keys := range f.want {
		d := &realData{t: t, path: f.path, db: f.db, want: map[string]map[string]int{bucket: keys}}
		deleters.Go(func() {
			for _, key := range slices.Sorted(maps.Keys(keys)) {
				if err := d.put(bucket, map[string]int{key: -1}); err != nil {
					t.Errorf("a delete fails beside puts, with %d keys left: %v", len(keys), err)
					return
				}
			}
		})
	}
	deleters.Wait()
	close(stop)
	wg.Wait()
	t.Logf("%d puts were refused", refused.Load())
	if refused.Load() == 0 {
		t.Error("no put was refused: the device was not full")
	}
	for _, mine := range all {
		maps.Copy(f.want, mine.want)
	}
	f.sound("after deletes beside puts")
	f.reopened("opened again")
}

// Without syncs nothing that is durable may be overwritten, so that deletes
// may run out of room; a Sync gives it back.
func TestRealFaults_Reserve_Unsynced(t *testing.T) {
	if !realChild(t, realNeeds{mounts: true}) {
		return
	}
	for _, mode := range realModeNames() {
		t.Run(mode, func(t *testing.T) {
			dir := realTmpfs(t, 8<<20)
			f := &realFull{
				realData: openReal(t, filepath.Join(dir, "nosync.db"), lightning.Options{Durability: realModes[mode]}),
				rng:      rand.New(rand.NewPCG(realSeed(t), 4)), refusal: syscall.ENOSPC, advice: realNoSpaceAdvice,
			}
			f.fill()
			f.ballast = newRealBallast(t, dir)
			f.takeSpace()
			syncs := 0
			for _, key := range slices.Sorted(maps.Keys(f.want["data"])) {
				err := f.put("data", map[string]int{key: -1})
				if err == nil {
					continue
				}
				f.fails("delete", err, syscall.ENOSPC, realNoSpaceAdvice)
				syncs++
				if err := f.db.Sync(); err != nil {
					t.Fatal(err)
				}
				f.mustPut("delete after Sync", "data", map[string]int{key: -1})
			}
			t.Logf("%d deletes took a Sync first", syncs)
			if mode == "sync" && syncs > 0 {
				t.Errorf("%d deletes failed, though each commit is durable", syncs)
			}
			f.reopened("emptied")
		})
	}
}
