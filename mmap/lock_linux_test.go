package mmap

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// lockedKB reads how much memory the process has locked.
func lockedKB(t *testing.T) (kb int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skipf("no /proc to read what is locked: %v", err)
	}
	_, rest, ok := strings.Cut(string(status), "VmLck:")
	if !ok {
		t.Skip("this kernel does not tell how much memory is locked")
	}
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		t.Fatal(err)
	}
	return kb
}

func TestMap_Lock_FollowsTheFile(t *testing.T) {
	for _, reserve := range []bool{true, false} {
		f := newFile(t, 4*granularity)
		m := openMap(t, f, granularity, Options{}, reserve)
		before := lockedKB(t)
		err := m.Lock()
		if errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EPERM) {
			t.Skipf("this process may not lock memory: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, want := lockedKB(t)-before, granularity>>10; got != want {
			t.Errorf("reserve %v: Lock locked %d KiB, want %d", reserve, got, want)
		}
		if err := m.Extend(4 * granularity); err != nil {
			t.Fatal(err)
		}
		if got, want := lockedKB(t)-before, 4*granularity>>10; got != want {
			t.Errorf("reserve %v: %d KiB locked after growth, want %d", reserve, got, want)
		}
		if err := m.Unlock(); err != nil {
			t.Fatal(err)
		}
		if got := lockedKB(t) - before; got != 0 {
			t.Errorf("reserve %v: %d KiB locked after Unlock", reserve, got)
		}
	}
}
