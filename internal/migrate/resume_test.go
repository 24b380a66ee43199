package migrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	lightning "github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/internal/memdir"
	"github.com/lightning-db/lightning/internal/seed"
)

// asProcessEnv makes the test binary migrate what it names, slowly.
const asProcessEnv = "LIGHTNING_MIGRATE_TEST_RUN"

func TestMain(m *testing.M) {
	if names := os.Getenv(asProcessEnv); names != "" {
		src, dst, _ := strings.Cut(names, "\n")
		_, err := Run(context.Background(), Options{Source: src, Destination: dst, BatchEntries: 5})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// wantCopy checks that the copy is whole and nothing else is left.
func wantCopy(t *testing.T, src, dst string, from Format) {
	t.Helper()
	want, got := dump(t, src, from), dump(t, dst, from.Other())
	wantSame(t, got[1:], want[1:])
	if left := names(t, filepath.Dir(dst)); !slices.Equal(left, []string{"destination", "source"}) {
		t.Errorf("left behind: %q", left)
	}
}

// interrupt runs a migration that ends after some entries were committed.
func interrupt(t *testing.T, opts Options, after int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	opts.LockTimeout = time.Second
	calls := 0
	opts.Progress = func(Progress) {
		if calls++; calls == after {
			cancel()
		}
	}
	if _, err := Run(ctx, opts); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted after %d steps: %v", after, err)
	}
}

func TestRun_Interrupted_Resumed(t *testing.T) {
	for _, from := range bothWays {
		t.Run(string(from), func(t *testing.T) {
			src, dst := setup(t, from, 2, 2000)
			before := takeFingerprint(t, src)
			opts := Options{Source: src, Destination: dst, BatchEntries: 100}
			for _, after := range []int{1, 2, 1} {
				interrupt(t, opts, after)
				if got := names(t, filepath.Dir(dst)); !slices.Equal(got, []string{"destination.migrating", "source"}) {
					t.Fatalf("after an interruption: %q", got)
				}
			}
			result, err := run(t, opts)
			if err != nil || !result.Resumed || !result.Verified {
				t.Fatalf("%+v, %v", result, err)
			}
			wantCopy(t, src, dst, from)
			wantUntouched(t, src, before)
		})
	}
}

// TestRun_InterruptedWhileComparing leaves a copy without a marker.
func TestRun_InterruptedWhileComparing(t *testing.T) {
	for _, from := range bothWays {
		src, dst := setup(t, from, 1, 20)
		ctx, cancel := context.WithCancel(context.Background())
		_, err := Run(ctx, Options{Source: src, Destination: dst, LockTimeout: time.Second, Progress: func(p Progress) {
			if p.Phase == Comparing {
				cancel()
			}
		}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		result, err := run(t, Options{Source: src, Destination: dst})
		if err != nil || !result.Resumed || !result.Verified {
			t.Fatalf("%+v, %v", result, err)
		}
		wantCopy(t, src, dst, from)
	}
}

func TestRun_Killed_Resumed(t *testing.T) {
	for _, from := range bothWays {
		t.Run(string(from), func(t *testing.T) {
			src, dst := setup(t, from, 2, 2000)
			before := takeFingerprint(t, src)
			resumed := 0
			for size := int64(200_000); resumed < 3; size += 200_000 {
				if !killAt(t, src, dst, size) {
					break
				}
				resumed++
			}
			if resumed == 0 {
				t.Fatal("the process ended before it could be killed")
			}
			t.Logf("killed %d times", resumed)
			if _, err := os.Lstat(dst); err == nil { // the last one was too quick for a kill
				wantCopy(t, src, dst, from)
				return
			}
			result, err := run(t, Options{Source: src, Destination: dst})
			if err != nil || !result.Resumed || !result.Verified {
				t.Fatalf("%+v, %v", result, err)
			}
			wantCopy(t, src, dst, from)
			wantUntouched(t, src, before)
		})
	}
}

// killAt starts a migration in another process and kills it when the copy has
// about the given size. It reports false if the process ended before.
func killAt(t *testing.T, src, dst string, size int64) bool {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asProcessEnv+"="+src+"\n"+dst)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("%v: %s", err, &stderr)
			}
			return false
		case <-time.After(time.Millisecond):
		}
		if info, err := os.Stat(dst + Suffix); err == nil && info.Size() >= size {
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			<-ended
			return true
		}
	}
}

func TestRun_SourceChanged(t *testing.T) {
	for _, from := range bothWays {
		src, dst := setup(t, from, 2, 2000)
		opts := Options{Source: src, Destination: dst, BatchEntries: 10}
		interrupt(t, opts, 1)
		writeFile(t, src, from,
			func(b *bbolt.Bucket) error { return b.Put([]byte("new"), []byte("key")) },
			func(b *lightning.Bucket) error { return b.Put([]byte("new"), []byte("key")) })
		_, err := run(t, opts)
		if !errors.Is(err, ErrSourceChanged) || !strings.Contains(err.Error(), "remove "+dst+Suffix) {
			t.Errorf("from %s: %v", from, err)
		}
		if err := os.Remove(dst + Suffix); err != nil {
			t.Fatal(err)
		}
		if _, err := run(t, opts); err != nil {
			t.Fatal(err)
		}
		wantCopy(t, src, dst, from)
	}
}

// TestRun_NotOurs has something else under the name of the unfinished copy.
func TestRun_NotOurs(t *testing.T) {
	for _, from := range bothWays {
		for _, c := range []struct {
			name string
			make func(temp string)
		}{
			{"empty file", func(temp string) { write(t, temp, "") }},
			{"text", func(temp string) { write(t, temp, strings.Repeat("text ", 10_000)) }},
			{"directory", func(temp string) {
				if err := os.Mkdir(temp, 0o700); err != nil {
					t.Fatal(err)
				}
			}},
			{"wrong format", func(temp string) { writeRandom(t, seed.Rand(t), temp, from, 1, 5) }},
			{"other data", func(temp string) { writeRandom(t, seed.Rand(t), temp, from.Other(), 1, 5) }},
			{"link", func(temp string) {
				if err := os.Symlink("source", temp); err != nil {
					t.Fatal(err)
				}
			}},
		} {
			src, dst := setup(t, from, 2, 20)
			before := takeFingerprint(t, src)
			c.make(dst + Suffix)
			_, err := run(t, Options{Source: src, Destination: dst})
			if err == nil || !strings.Contains(err.Error(), "remove "+dst+Suffix) {
				t.Errorf("from %s, %s: %v", from, c.name, err)
			}
			if _, err := os.Lstat(dst); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("from %s, %s: the destination is there: %v", from, c.name, err)
			}
			wantUntouched(t, src, before)
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRun_BothNames is what a stop between the two steps of link leaves.
func TestRun_BothNames(t *testing.T) {
	for _, from := range bothWays {
		src, dst := setup(t, from, 1, 20)
		if _, err := run(t, Options{Source: src, Destination: dst}); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(dst, dst+Suffix); err != nil {
			t.Fatal(err)
		}
		result, err := run(t, Options{Source: src, Destination: dst})
		if err != nil || !result.Resumed || !result.Verified {
			t.Errorf("from %s: %+v, %v", from, result, err)
		}
		wantCopy(t, src, dst, from)
	}
}

// TestRun_ComparisonFinds changes the copy behind the migration's back.
func TestRun_ComparisonFinds(t *testing.T) {
	for _, from := range bothWays {
		for what, change := range map[string]func(put func(k, v string) error, del func(k string) error, seq func() error) error{
			"value":    func(put func(k, v string) error, _ func(string) error, _ func() error) error { return put("b", "x") },
			"more":     func(put func(k, v string) error, _ func(string) error, _ func() error) error { return put("bb", "") },
			"at end":   func(put func(k, v string) error, _ func(string) error, _ func() error) error { return put("z", "") },
			"less":     func(_ func(k, v string) error, del func(string) error, _ func() error) error { return del("c") },
			"sequence": func(_ func(k, v string) error, _ func(string) error, seq func() error) error { return seq() },
		} {
			dir := memdir.Temp(t)
			src, dst := filepath.Join(dir, "source"), filepath.Join(dir, "destination")
			writeFile(t, src, from, abc[*bbolt.Bucket], abc[*lightning.Bucket])
			writeFile(t, dst+Suffix, from.Other(), abc[*bbolt.Bucket], abc[*lightning.Bucket])
			writeFile(t, dst+Suffix, from.Other(),
				func(b *bbolt.Bucket) error { return changeIn(b.Bucket([]byte("in")), change) },
				func(b *lightning.Bucket) error { return changeIn(b.Bucket([]byte("in")), change) })
			_, err := run(t, Options{Source: src, Destination: dst})
			if !errors.Is(err, ErrDifferent) || !strings.Contains(err.Error(), `"in"`) {
				t.Errorf("from %s, %s: %v", from, what, err)
			}
		}
	}
}

func abc[B testBucket[B]](b B) error {
	in, err := b.CreateBucket([]byte("in"))
	for _, k := range []string{"a", "b", "c"} {
		err = errors.Join(err, in.Put([]byte(k), []byte("value")))
	}
	return err
}

func changeIn[B interface {
	testBucket[B]
	Delete(key []byte) error
}](b B, change func(put func(k, v string) error, del func(k string) error, seq func() error) error) error {
	return change(
		func(k, v string) error { return b.Put([]byte(k), []byte(v)) },
		func(k string) error { return b.Delete([]byte(k)) },
		func() error { return b.SetSequence(7) })
}
