package lightning_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/lightning-db/lightning"

// coreModules are the modules that the engine may stand on. One that is not
// named here must earn its place with a decision in docs/adr.
var coreModules = []string{
	"github.com/edsrzf/mmap-go",
	"github.com/klauspost/cpuid/v2",
	"github.com/zeebo/blake3",
	"golang.org/x/sys",
}

// layers says which packages of the module a directory may import, in files
// that are not tests. Directories below one that is named follow its rule.
var layers = []struct {
	dir  string
	from []string
}{
	{".", []string{"arch", "fsync", "mmap", "page", "internal/mutant", "internal/walk"}},
	{"arch", nil},
	{"page", []string{"arch", "internal/mutant"}},
	{"internal/walk", []string{"arch", "page", "internal/mutant"}},
	{"backup", []string{".", "arch", "fsync", "page", "internal/walk", "internal/newfile", "internal/atrest"}},
	{"salvage", []string{".", "arch", "fsync", "page", "internal/walk", "internal/newfile", "internal/atrest"}},
	{"internal/mutant", nil},
	{"internal/memdir", nil},
	{"internal/seed", nil},
	{"internal/await", nil},
	{"internal/newfile", []string{"fsync"}},
	{"internal/decoy", []string{"page"}},
	{"internal/atrest", []string{".", "fsync"}},
	{"mmap", []string{"arch"}},
	{"fsync", []string{"arch"}},
	{"ops", []string{".", "ops"}},
	{"chaos", []string{".", "ops", "chaos", "fsync", "page", "internal/mutant", "internal/memdir"}},
	{"internal/boltfile", []string{"fsync"}},
	{"internal/migrate", []string{".", "internal/boltfile", "internal/await", "internal/newfile", "fsync", "page"}},
	{"cmd/lightning-cli", []string{".", "backup", "salvage", "ops", "chaos", "arch", "internal/migrate", "internal/boltfile", "internal/await", "internal/newfile"}},
	{"compat/clients", nil},
	{"fuzz", []string{".", "salvage"}},
	{"bench", []string{".", "arch"}},
}

// layerOf returns the index in layers of the rule for dir, or -1.
func layerOf(dir string) int {
	return slices.IndexFunc(layers, func(l struct {
		dir  string
		from []string
	}) bool {
		return dir == l.dir || l.dir != "." && strings.HasPrefix(dir, l.dir+"/")
	})
}

// sourceFile is a Go file of the module, with what it imports.
type sourceFile struct {
	path    string // from the module's directory, with slashes
	imports []string
}

func (f sourceFile) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// moduleFiles parses every Go file of the module, for all platforms and build
// tags. Nested modules are modules of their own.
func moduleFiles(t *testing.T) (files []sourceFile) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skipDir(name)
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		f := sourceFile{path: filepath.ToSlash(name)}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			f.imports = append(f.imports, imported)
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("found %d Go files; the test must run in the module's directory", len(files))
	}
	return files
}

// skipDir is fs.SkipDir for directories whose files the module does not build.
func skipDir(name string) error {
	base := filepath.Base(name)
	if name != "." && (base == "testdata" || base[0] == '.' || base[0] == '_') {
		return fs.SkipDir
	}
	if name == "." {
		return nil
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
		return fs.SkipDir
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func TestImports_Layers(t *testing.T) {
	for _, f := range moduleFiles(t) {
		dir := path.Dir(f.path)
		i := layerOf(dir)
		if i < 0 {
			t.Errorf("%s: directory %s has no place in the layers; see docs/ARCHITECTURE.md and name it in this test", f.path, dir)
			continue
		}
		if f.isTest() {
			continue
		}
		for _, imported := range f.imports {
			own, ok := strings.CutPrefix(imported+"/", modulePath+"/")
			if !ok {
				continue
			}
			if own = strings.TrimSuffix(own, "/"); own == "" {
				own = "."
			}
			j := layerOf(own)
			if j < 0 || !slices.Contains(layers[i].from, layers[j].dir) {
				t.Errorf("%s imports %s; layer %s may import only %v of this module", f.path, imported, layers[i].dir, layers[i].from)
			}
		}
	}
}

func TestImports_UnsafeOnlyInMmapAndPage(t *testing.T) {
	for _, f := range moduleFiles(t) {
		dir := path.Dir(f.path)
		if dir != "mmap" && dir != "page" && slices.Contains(f.imports, "unsafe") {
			t.Errorf("%s imports unsafe", f.path)
		}
	}
}

// listedPackage is what go list tells about a package.
type listedPackage struct {
	ImportPath string
	Standard   bool
	Export     string
	Module     *struct{ Path string }
}

// goList runs go list for the engine's package with all it depends on.
func goList(t *testing.T, env []string, args ...string) (packages []listedPackage) {
	t.Helper()
	args = append([]string{"list", "-deps", "-json=ImportPath,Standard,Export,Module"}, args...)
	cmd := exec.CommandContext(t.Context(), "go", append(args, ".")...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, stderr.Bytes())
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listedPackage
		if err := decoder.Decode(&p); err == io.EOF {
			return packages
		} else if err != nil {
			t.Fatalf("%v: %v", cmd, err)
		}
		packages = append(packages, p)
	}
}

func TestImports_Modules(t *testing.T) {
	for _, platform := range []string{"linux/amd64", "linux/arm64", "linux/386", "darwin/arm64", "windows/amd64"} {
		t.Run(platform, func(t *testing.T) {
			system, processor, _ := strings.Cut(platform, "/")
			used := make(map[string]bool)
			for _, p := range goList(t, []string{"GOOS=" + system, "GOARCH=" + processor, "CGO_ENABLED=0"}) {
				if p.Standard || p.Module.Path == modulePath {
					continue
				}
				used[p.Module.Path] = true
				if !slices.Contains(coreModules, p.Module.Path) {
					t.Errorf("the engine depends on %s, of module %s", p.ImportPath, p.Module.Path)
				}
			}
			for _, m := range coreModules {
				if !used[m] {
					t.Errorf("module %s is allowed but not used", m)
				}
			}
		})
	}
}

// TestImports_NoLeaks holds that a program can name every type that the
// engine's exported API is made of: none comes from the packages below it.
func TestImports_NoLeaks(t *testing.T) {
	exports := make(map[string]string)
	standard := make(map[string]bool)
	for _, p := range goList(t, nil, "-export") {
		exports[p.ImportPath], standard[p.ImportPath] = p.Export, p.Standard
	}
	lookup := func(name string) (io.ReadCloser, error) {
		if exports[name] == "" {
			return nil, fmt.Errorf("no export data for %s", name)
		}
		return os.Open(exports[name])
	}
	root, err := importer.ForCompiler(token.NewFileSet(), "gc", lookup).Import(modulePath)
	if err != nil {
		t.Fatal(err)
	}
	w := &leakWalk{t: t, root: root, standard: standard, seen: make(map[types.Type]bool)}
	for _, name := range root.Scope().Names() {
		if o := root.Scope().Lookup(name); o.Exported() {
			w.walk(name, o.Type())
		}
	}
	for _, want := range []string{"DB", "Tx", "Bucket", "Cursor", "Options"} {
		if o := root.Scope().Lookup(want); o == nil || !w.seen[o.Type()] {
			t.Errorf("%s was not looked at", want)
		}
	}
}

// leakWalk follows the types that users of the root package can reach.
type leakWalk struct {
	t        *testing.T
	root     *types.Package
	standard map[string]bool
	seen     map[types.Type]bool
}

// walk follows typ, which was found at the given place of the API.
func (w *leakWalk) walk(where string, typ types.Type) {
	if typ == nil || w.seen[typ] {
		return
	}
	w.seen[typ] = true
	switch typ := typ.(type) {
	case *types.Alias:
		if w.ours(where, typ.Obj()) {
			w.walk(where, typ.Rhs())
		}
	case *types.Named:
		if w.ours(where, typ.Obj()) {
			w.named(where, typ)
		}
		for argument := range typ.TypeArgs().Types() {
			w.walk(where, argument)
		}
	case *types.Struct:
		for f := range typ.Fields() {
			if f.Exported() {
				w.walk(where+"."+f.Name(), f.Type())
			}
		}
	case *types.Interface:
		for m := range typ.Methods() {
			w.walk(where+"."+m.Name(), m.Type())
		}
	case *types.Signature:
		w.walk(where, typ.Params())
		w.walk(where, typ.Results())
	case *types.Tuple:
		for v := range typ.Variables() {
			w.walk(where, v.Type())
		}
	case *types.Map:
		w.walk(where, typ.Key())
		w.walk(where, typ.Elem())
	case interface{ Elem() types.Type }:
		w.walk(where, typ.Elem())
	case *types.Basic, *types.TypeParam:
	default:
		w.t.Errorf("%s: type %v of kind %T is not handled by this test", where, typ, typ)
	}
}

// ours reports whether the type named o is declared by the root package and
// has to be followed; the standard library's are good as they are.
func (w *leakWalk) ours(where string, o *types.TypeName) bool {
	switch p := o.Pkg(); {
	case p == nil: // error, any
		return false
	case p == w.root:
		return true
	case !w.standard[p.Path()]:
		w.t.Errorf("%s leaks %s.%s", where, p.Path(), o.Name())
	}
	return false
}

func (w *leakWalk) named(where string, typ *types.Named) {
	if o := typ.Obj(); o.Exported() {
		where = o.Name()
	}
	for m := range typ.Methods() {
		if m.Exported() {
			w.walk(where+"."+m.Name(), m.Type())
		}
	}
	w.walk(where, typ.Underlying())
}
