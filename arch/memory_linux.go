package arch

import (
	"os"
	"path"
	"strconv"
	"strings"
)

// Memory returns how many bytes of memory this process may fill, page cache
// included: what the machine has, or the least limit of its control groups
// (version 2). It is 0 where that cannot be told.
func Memory() uint64 {
	have := total("/proc/meminfo")
	return leastLimit("/sys/fs/cgroup", ownGroup("/proc/self/cgroup"), have)
}

// total returns the bytes of memory that the machine has, 0 if the file does not tell.
func total(meminfo string) uint64 {
	b, err := os.ReadFile(meminfo)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
			kib, err := strconv.ParseUint(f[1], 10, 54)
			if err == nil {
				return kib << 10
			}
		}
	}
	return 0
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
