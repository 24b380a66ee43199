package chaos_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lightning-db/lightning"
)

const realPhaseEnv = "LIGHTNING_REALFAULTS_PHASE"

// uptime is the monotonic clock as the process sees it.
func uptime(t *testing.T) float64 {
	t.Helper()
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Skipf("no /proc to read the monotonic clock from: %v", err)
	}
	seconds, err := strconv.ParseFloat(strings.Fields(string(b))[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return seconds
}

// Processes whose monotonic clocks differ by days, forwards and backwards as
// after a reboot, take the file over from each other; each ends without Close.
func TestRealFaults_Clock_OtherTimes(t *testing.T) {
	if os.Getenv(realChildEnv) == t.Name() {
		realOtherTime(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: a time namespace of its own")
	}
	launcher, err := exec.LookPath("unshare")
	if err != nil {
		t.Skipf("needs a program that makes time namespaces: %v", err)
	}
	const day = 24 * 60 * 60
	back := -int(uptime(t)) + 30 // as if booted half a minute ago
	if _, err := os.Stat("/proc/self/ns/time"); err != nil {
		t.Skipf("this kernel has no time namespaces: %v", err)
	}
	if out, err := exec.Command(launcher, "--time", "--fork", "--monotonic=100", "true").CombinedOutput(); bytes.Contains(out, []byte("not permitted")) {
		t.Skipf("this process may not make time namespaces: %v\n%s", err, out)
	} else if err != nil {
		t.Fatalf("%s: %v\n%s", launcher, err, out)
	}
	dir := t.TempDir()
	for phase, offset := range []int{0, 100 * day, back, 3000 * day, 0, back} {
		needs := realNeeds{
			launch: []string{launcher, "--time", "--fork", "--kill-child", fmt.Sprintf("--monotonic=%d", offset), fmt.Sprintf("--boottime=%d", offset)},
			env:    []string{fmt.Sprint(realPhaseEnv, "=", phase)},
		}
		out, err := realRun(t, needs, dir)
		if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
			t.Fatalf("phase %d, %d seconds off: %v\n%s", phase, offset, err, out)
		}
		seen, err := os.ReadFile(filepath.Join(dir, "uptime"))
		if err != nil {
			t.Fatal(err)
		}
		told, err := strconv.ParseFloat(string(seen), 64)
		if diff := told - uptime(t) - float64(offset); err != nil || diff > 60 || diff < -day/24 {
			t.Fatalf("phase %d: the child's clock is at %s, want one that is %d seconds off: %v", phase, seen, offset, err)
		}
	}
}

// realOtherTime is one process of the test: it finds what those before it have
// written, writes its own, and leaves without Close.
func realOtherTime(t *testing.T) {
	phase, err := strconv.Atoi(os.Getenv(realPhaseEnv))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(realDir(), "uptime"), []byte(fmt.Sprint(uptime(t))), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, durability := range realModes {
		d := &realData{t: t, path: filepath.Join(realDir(), mode+".db"), options: lightning.Options{Durability: durability}, want: map[string]map[string]int{}}
		for p := range phase {
			d.want[fmt.Sprint("phase", p)] = someValues("k", 10, 1000+p)
		}
		d.open()
		d.sound(fmt.Sprintf("phase %d, mode %s", phase, mode))
		_, err := lightning.Open(d.path, 0o600, &lightning.Options{Timeout: 20 * time.Millisecond})
		if !errors.Is(err, lightning.ErrTimeout) {
			t.Errorf("a second Open: %v, want ErrTimeout", err)
		}
		d.db.MaxBatchDelay = time.Millisecond
		name := fmt.Sprint("phase", phase)
		for key, n := range someValues("k", 10, 1000+phase) {
			if err := d.db.Batch(func(tx *lightning.Tx) error {
				b, err := tx.CreateBucketIfNotExists([]byte(name))
				if err != nil {
					return err
				}
				return b.Put([]byte(key), realValue(key, n))
			}); err != nil {
				t.Fatal(err)
			}
		}
		d.want[name] = someValues("k", 10, 1000+phase)
		d.holds("written")
	}
}
