package lightning

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	killRounds = flag.Int("kill.rounds", 15, "kills of TestKill")
	killSeed   = flag.Uint64("kill.seed", 0, "seed of TestKill (0: by the clock)")
)

// childEnv tells a copy of this test binary, started by a test, what to do.
const childEnv = "LIGHTNING_TEST_CHILD"

// child returns the command that runs the test of the given name as a child
// process with the job in its environment.
func child(t *testing.T, test, job string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), childEnv+"="+job)
	cmd.Stderr = os.Stderr
	return cmd
}

const (
	killWriters = 3
	killKeep    = 40 // older keys of a writer are deleted
	killBalloon = 30 // commits from one long value to the next
)

// balloonKey sorts behind the numbers.
var balloonKey = []byte("balloon")

func balloonValue(w, n int) []byte { return []byte(text(byte('A'+(w+n)%26), 700<<10)) }

var killModes = map[string]Durability{"sync": Sync, "periodic": Periodic(5 * time.Millisecond), "nosync": NoSync}

// killValue is what writer w puts under its number n.
func killValue(w, n int) string {
	size := 50 + n%7*100
	if n%11 == 0 {
		size = 9000
	}
	return text(byte('a'+(w+n)%26), size)
}

// TestKill kills a writing process at random moments. In each mode the next
// process finds exactly what was acknowledged, and of each writer at the most
// the one transaction that was under way.
func TestKill(t *testing.T) {
	if job := os.Getenv(childEnv); job != "" {
		killChild(t, job)
		return
	}
	seed := *killSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-kill.seed=%d -kill.rounds=%d", seed, *killRounds)
	rng := rand.New(rand.NewPCG(seed, 0))
	names := []string{"sync", "periodic", "nosync"}
	paths, acked := map[string]string{}, map[string]*[killWriters]int{}
	for _, name := range names {
		paths[name] = filepath.Join(t.TempDir(), name+".db")
		acked[name] = new([killWriters]int)
	}
	for round := range *killRounds {
		name := names[round%len(names)]
		killRound(t, name, paths[name], acked[name], rng)
		if t.Failed() {
			t.Fatalf("round %d, mode %s", round, name)
		}
	}
}

// killRound runs a child until it has acknowledged some transactions, kills
// it, and judges the file. acked is what the file must hold.
func killRound(t *testing.T, mode, path string, acked *[killWriters]int, rng *rand.Rand) {
	t.Helper()
	defer watchdog("kill round")()
	cmd := child(t, "TestKill", fmt.Sprintf("%s|%d|%s", mode, rng.IntN(2), path))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	left := rng.IntN(120)
	if left < 15 {
		time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond) // within Open, perhaps
		left = 0
	}
	killed := false
	lines := bufio.NewScanner(out)
	kill := func() {
		killed = true
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	if left == 0 {
		kill()
	}
	for lines.Scan() {
		var w, n int
		if _, err := fmt.Sscanf(lines.Text(), "ack %d %d", &w, &n); err != nil {
			continue // the last line may be cut
		}
		if n != acked[w]+1 {
			t.Errorf("writer %d acknowledges %d after %d", w, n, acked[w])
		}
		acked[w] = n
		if left--; left <= 0 && !killed {
			time.Sleep(time.Duration(rng.IntN(2000)) * time.Microsecond) // other writers, Close and Open go on
			kill()
		}
	}
	if !killed {
		t.Errorf("the child ended by itself")
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Errorf("the child was not killed: %v", err)
	}
	killJudge(t, path, acked)
}

// killJudge compares the file with what was acknowledged, and brings acked up
// to what was under way and made it.
func killJudge(t *testing.T, path string, acked *[killWriters]int) {
	t.Helper()
	db, err := Open(path, 0o600, nil)
	if err != nil {
		t.Fatalf("Open after a kill: %v", err)
	}
	defer db.Close()
	err = db.View(func(tx *Tx) error {
		for err := range tx.Check() {
			t.Errorf("Check: %v", err)
		}
		for w := range killWriters {
			b := tx.Bucket([]byte(fmt.Sprint("writer", w)))
			have := 0
			if b != nil {
				have = int(b.Sequence())
			}
			if have < acked[w] || have > acked[w]+1 {
				t.Errorf("writer %d: the file holds %d, acknowledged were %d", w, have, acked[w])
			}
			acked[w] = have
			if b == nil {
				continue
			}
			balloon := have - have%killBalloon
			if balloon == 0 || have-balloon >= killBalloon/2 {
				balloon = -1
			}
			if v := b.Get(balloonKey); (v != nil) != (balloon > 0) || v != nil && !bytes.Equal(v, balloonValue(w, balloon)) {
				t.Errorf("writer %d: a long value of %d bytes after %d, want that of %d", w, len(v), have, balloon)
			}
			next := max(1, have-killKeep+1)
			for k, v := range b.All() {
				if bytes.Equal(k, balloonKey) {
					continue
				}
				if string(k) != fmt.Sprintf("%08d", next) || string(v) != killValue(w, next) {
					t.Errorf("writer %d: key %q with %d bytes, want that of %d", w, k, len(v), next)
					break
				}
				next++
			}
			if next != have+1 {
				t.Errorf("writer %d: keys end before %d, want %d", w, next, have+1)
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("View: %v", err)
	}
}

// killChild writes until it is killed; now and then it closes the file and
// opens it again.
func killChild(t *testing.T, job string) {
	mode, rest, _ := strings.Cut(job, "|")
	twoPhases, path, _ := strings.Cut(rest, "|")
	options := &Options{Durability: killModes[mode]}
	if twoPhases == "1" {
		options.LargeTxPages = 4 // of a long value, at the least
	}
	for {
		db, err := Open(path, 0o600, options)
		if err != nil {
			t.Fatal(err)
		}
		var writers sync.WaitGroup
		commits := 1 + rand.IntN(100)
		for w := range killWriters {
			writers.Go(func() {
				for range commits {
					if err := killWrite(db, w); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		writers.Wait()
		if t.Failed() {
			return
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killWrite commits the writer's next number and acknowledges it on the
// standard output; now and then a function fails before.
func killWrite(db *DB, w int) error {
	n := 0
	write := func(tx *Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(fmt.Sprint("writer", w)))
		if err != nil {
			return err
		}
		next, err := b.NextSequence()
		if err != nil {
			return err
		}
		n = int(next)
		if err := b.Put(fmt.Appendf(nil, "%08d", n), []byte(killValue(w, n))); err != nil {
			return err
		}
		switch n % killBalloon {
		case 0: // the file grows
			err = b.Put(balloonKey, balloonValue(w, n))
		case killBalloon / 2: // and shrinks
			err = b.Delete(balloonKey)
		}
		if err != nil {
			return err
		}
		return b.Delete(fmt.Appendf(nil, "%08d", n-killKeep))
	}
	if rand.IntN(10) == 0 {
		err := db.Update(func(tx *Tx) error { return errors.Join(write(tx), errCrashFn) })
		if !errors.Is(err, errCrashFn) {
			return err
		}
	}
	if err := db.Update(write); err != nil {
		return err
	}
	_, err := os.Stdout.WriteString("ack " + strconv.Itoa(w) + " " + strconv.Itoa(n) + "\n")
	return err
}
