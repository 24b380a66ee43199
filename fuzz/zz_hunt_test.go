package fuzz

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestHunt(t *testing.T) {
	secs, _ := strconv.Atoi(os.Getenv("HUNT"))
	if secs == 0 {
		t.Skip()
	}
	seed, _ := strconv.ParseUint(os.Getenv("HSEED"), 10, 64)
	one := seed != 0
	if !one {
		seed = uint64(time.Now().UnixNano())
	}
	end := time.Now().Add(time.Duration(secs) * time.Second)
	n := 0
	for ; time.Now().Before(end); seed++ {
		r := rand.New(rand.NewPCG(seed, 1))
		in := make([]byte, 50+r.IntN(1500))
		for i := range in {
			in[i] = byte(r.Uint32())
		}
		n++
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() || one {
					os.WriteFile("/tmp/hunt-"+fmt.Sprint(seed), in, 0o600)
				}
			})
			watch(t)
			m := newMachine(t, in)
			m.run()
			m.stop()
		}) || one {
			break
		}
	}
	t.Logf("%d programs", n)
}

func TestHuntOpen(t *testing.T) {
	secs, _ := strconv.Atoi(os.Getenv("HUNT"))
	if secs == 0 {
		t.Skip()
	}
	seed, _ := strconv.ParseUint(os.Getenv("HSEED"), 10, 64)
	one := seed != 0
	if !one {
		seed = uint64(time.Now().UnixNano())
	}
	end := time.Now().Add(time.Duration(secs) * time.Second)
	files := seedFiles(t)
	sites := map[string]bool{}
	pairs := 1
	debug.SetMaxStack(64 << 20)
	n := 0
	for ; time.Now().Before(end); seed++ {
		r := rand.New(rand.NewPCG(seed, 1))
		in := make([]byte, 4+r.IntN(20))
		for i := range in {
			in[i] = byte(r.Uint32())
		}
		flags := []uint8{0, 1, 1, 1, 3, 5, 4}[r.IntN(7)]
		idx := r.IntN(len(files))
		if os.Getenv("PAIRS") != "" {
			if n >= pairs {
				break
			}
			idx, _ = strconv.Atoi(os.Getenv("PAIRS"))
			l := len(files[idx].refs)
			pairs = l * l
			in = []byte{7, byte(n / l), byte(n % l)}
			flags = 1
		}
		os.WriteFile("/tmp/hunt-last", []byte(fmt.Sprintf("go test fuzz v1\nbyte('\\x%02x')\nbyte('\\x%02x')\n[]byte(%q)\n", idx, flags, in)), 0o600)
		n++
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) {
			defer func() {
				if r := recover(); r != nil {
					st := strings.Split(string(debug.Stack()), "\n")
					site := ""
					for i := range st {
						if strings.Contains(st[i], "/work/main/") && !strings.Contains(st[i], "fault.go") && !strings.Contains(st[i], "tx.go:287") && !strings.Contains(st[i], "tx.go:2") && !strings.Contains(st[i], "/fuzz/") {
							site += strings.TrimSpace(st[i]) + " <- "
							if strings.Count(site, "<-") > 3 {
								break
							}
						}
					}
					if !sites[site] {
						sites[site] = true
						fmt.Printf("PANIC %v at %s\n", r, site)
						b, _ := os.ReadFile("/tmp/hunt-last")
						os.WriteFile(fmt.Sprintf("/tmp/panic-%d", len(sites)), b, 0o600)
					}
				}
			}()
			openDamaged(t, files, uint8(idx), flags, in)
		}) || one {
			break
		}
	}
	t.Logf("%d files", n)
}
