package runner

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroupRoot is where the kernel shows control groups of version 2.
const cgroupRoot = "/sys/fs/cgroup"

// group is a control group of version 2 below this process's own, with limited
// memory. The page cache of what its processes read counts.
type group struct {
	dir *os.File
}

// newGroup makes a group with a limit in bytes. It fails where this process may
// not, or where the memory of groups is not controlled.
func newGroup(root string, limit int64) (*group, error) {
	content, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	return newGroupBelow(root, content, limit)
}

// newGroupBelow is newGroup with the kernel's answer to which groups this
// process is in.
func newGroupBelow(root string, own []byte, limit int64) (*group, error) {
	name, found := "", false
	for line := range bytes.Lines(own) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "0::"); ok {
			name, found = rest, true
		}
	}
	parent := filepath.Join(root, name)
	if _, err := os.Stat(filepath.Join(parent, "memory.max")); !found || err != nil {
		return nil, errors.New("the memory of this process's group is not controlled")
	}
	path := filepath.Join(parent, "peers-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(path, "memory.max"), []byte(strconv.FormatInt(limit, 10)), 0o644); err != nil {
		return nil, errors.Join(fmt.Errorf("limit the memory: %w", err), os.Remove(path))
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return &group{dir: dir}, nil
}

// apply makes cmd start in the group.
func (g *group) apply(cmd *exec.Cmd) {
	cmd.SysProcAttr.UseCgroupFD = true
	cmd.SysProcAttr.CgroupFD = int(g.dir.Fd())
}

// remove removes the group, which must be empty.
func (g *group) remove(logf func(format string, args ...any)) {
	if err := errors.Join(g.dir.Close(), os.Remove(g.dir.Name())); err != nil {
		logf("remove the control group: %v", err)
	}
}
