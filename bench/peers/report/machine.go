// Package report writes what was measured as Markdown with plots.
package report

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Info is what the report says besides the results.
type Info struct {
	Machine []string // lines
	Command string
	Rounds  int
	Seconds float64 // of measuring in each process
	Memory  int64   // bytes, of the family memory
}

// Describe tells about this machine and the file system of dir; an empty dir
// is the working directory. What the system does not say is left out.
func Describe(dir string) []string {
	var u unix.Utsname
	kernel := "unknown"
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	return []string{
		"processor: " + field("/proc/cpuinfo", "model name") + ", " + fmt.Sprint(runtime.NumCPU()) + " cores",
		"memory: " + field("/proc/meminfo", "MemTotal"),
		"kernel: " + kernel,
		"Go: " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		"file system: " + fileSystem(dir),
	}
}

// field returns the first field of that name in a file of lines "name: value".
func field(file, name string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range bytes.Lines(content) {
		if key, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// fileSystem returns the type of the file system that holds dir: that of the
// longest mount point on its path.
func fileSystem(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "unknown"
	}
	content, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "unknown"
	}
	kind, longest := "unknown", -1
	for scanner := bufio.NewScanner(bytes.NewReader(content)); scanner.Scan(); {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 3 || len(fields[1]) < longest {
			continue
		}
		if point := strings.TrimSuffix(fields[1], "/"); dir == point || strings.HasPrefix(dir, point+"/") {
			kind, longest = fields[2], len(fields[1])
		}
	}
	return kind
}
