package arch

import (
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Memory returns how many bytes of memory this process may fill, page cache
// included: what the machine has, or the least limit of its control groups
// (version 2). It is 0 where that cannot be told.
func Memory() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	have := uint64(info.Totalram) * uint64(info.Unit)
	return leastLimit("/sys/fs/cgroup", ownGroup("/proc/self/cgroup"), have)
}

// ownGroup returns the path of this process's control group, "" without one.
func ownGroup(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return group
		}
	}
	return ""
}

// leastLimit returns the least memory limit of the group and those around it, at
// the most have.
func leastLimit(root, group string, have uint64) uint64 {
	for group = path.Clean("/" + group); ; group = path.Dir(group) {
		if b, err := os.ReadFile(path.Join(root, group, "memory.max")); err == nil {
			if n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err == nil { // else "max"
				have = min(have, n)
			}
		}
		if group == "/" {
			return have
		}
	}
}
