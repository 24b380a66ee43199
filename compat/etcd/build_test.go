package etcd_test

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

var scratch string // directory of the whole run

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "etcd-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
		defer os.RemoveAll(scratch)
		return m.Run()
	}())
}

// onLightning and onBbolt build the server, once, and return the path of it.
var (
	onLightning = sync.OnceValues(func() (string, error) { return build("lightning", true) })
	onBbolt     = sync.OnceValues(func() (string, error) { return build("bbolt", false) })
)

const (
	bboltModule  = "go.etcd.io/bbolt"
	engineModule = "github.com/lightning-db/lightning"
)

// build builds the server as this module's go.mod says, or without the
// replacements that are in it.
func build(name string, replaced bool) (path string, err error) {
	path = filepath.Join(scratch, "etcd-"+name)
	mod := filepath.Join(scratch, name+".mod")
	for from, to := range map[string]string{"go.mod": mod, "go.sum": filepath.Join(scratch, name+".sum")} {
		content, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(to, content, 0o600); err != nil {
			return "", err
		}
	}
	edit := []string{"mod", "edit"}
	if replaced { // the paths are relative to where the file is
		for module, dir := range map[string]string{bboltModule: "../bbolt", engineModule: "../.."} {
			if dir, err = filepath.Abs(dir); err != nil {
				return "", err
			}
			edit = append(edit, "-replace="+module+"="+dir)
		}
	} else {
		edit = append(edit, "-dropreplace="+bboltModule, "-dropreplace="+engineModule, "-droprequire="+engineModule)
	}
	for _, args := range [][]string{
		append(edit, mod),
		{"build", "-mod=mod", "-modfile=" + mod, "-buildvcs=false", "-o", path, "./server"},
	} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("go %v: %w\n%s", args, err, out)
		}
	}
	return path, checkEngine(path, replaced)
}

// checkEngine reads in the program itself which engine it is on.
func checkEngine(path string, replaced bool) error {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return err
	}
	for _, m := range info.Deps {
		if m.Path == bboltModule {
			if is := m.Replace != nil; is != replaced {
				return fmt.Errorf("%s: bbolt replaced: %t, want %t", path, is, replaced)
			}
			return nil
		}
	}
	return fmt.Errorf("%s is built without bbolt", path)
}
