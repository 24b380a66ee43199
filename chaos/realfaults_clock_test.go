package chaos_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/fsync"
)

// The engine asks the clock for two things only: how long something took, and
// to be woken after a while. Both follow the monotonic clock, which nobody can
// set. A jump of the wall clock is not made for real here, because it would be
// one for the whole machine; what stands in for it are the rule below, which
// leaves no way to read the wall clock, and a monotonic clock of another time
// in a child process.

// clockUses are the names of package time that the engine may use.
var clockUses = []string{
	"Now", "Since", "Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour",
	"NewTimer", "NewTicker", "AfterFunc", "After", "Timer", "Ticker",
}

// otherClocks are names, of whatever package, that give a time of day.
var otherClocks = []string{"ModTime", "Mtim", "Ctim", "Atim", "Gettimeofday", "ClockGettime", "Clock_gettime", "Sysinfo"}

// wallClock lists the places in a file that could depend on the wall clock: a
// result of time.Now may go to time.Since and nowhere else, which makes a
// difference of the monotonic clock of it.
func wallClock(fset *token.FileSet, file *ast.File) (found []string) {
	report := func(n ast.Node, format string, args ...any) {
		found = append(found, fmt.Sprintf("%s: %s", fset.Position(n.Pos()), fmt.Sprintf(format, args...)))
	}
	for _, spec := range file.Imports {
		if spec.Path.Value == `"time"` && spec.Name != nil {
			report(spec, "package time under another name")
		}
	}
	for _, decl := range file.Decls {
		moments := map[string]bool{} // variables that hold a result of time.Now
		fine := map[ast.Node]bool{}  // calls and uses that are as they should be
		ast.Inspect(decl, func(n ast.Node) bool {
			if a, ok := n.(*ast.AssignStmt); ok && a.Tok == token.DEFINE && len(a.Lhs) == 1 && len(a.Rhs) == 1 {
				name, isName := a.Lhs[0].(*ast.Ident)
				if call, ok := a.Rhs[0].(*ast.CallExpr); ok && isName && isTime(call.Fun, "Now") {
					moments[name.Name] = true
					fine[name], fine[call.Fun] = true, true
				}
			}
			if call, ok := n.(*ast.CallExpr); ok && isTime(call.Fun, "Since") {
				if name, ok := call.Args[0].(*ast.Ident); ok {
					fine[name], fine[call.Fun] = true, moments[name.Name]
				}
			}
			return true
		})
		ast.Inspect(decl, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				used := n.Sel.Name
				if slices.Contains(otherClocks, used) {
					report(n, "%s tells the time of day", used)
				}
				if isTime(n, used) && !slices.Contains(clockUses, used) {
					report(n, "time.%s", used)
				}
				if (isTime(n, "Now") || isTime(n, "Since")) && !fine[n] {
					report(n, "time.%s outside of x := time.Now() and time.Since(x)", used)
				}
			case *ast.Ident:
				if moments[n.Name] && !fine[n] {
					report(n, "%s, a result of time.Now, goes elsewhere than to time.Since", n.Name)
				}
			}
			return true
		})
	}
	return found
}

func isTime(e ast.Expr, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	pkg, ok := s.X.(*ast.Ident)
	return ok && pkg.Name == "time"
}

func TestRealFaults_Clock_NoWallClock(t *testing.T) {
	files := 0
	for _, dir := range []string{"..", "../page", "../mmap", "../fsync", "../arch", "../internal/mutant"} {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			files++
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range wallClock(fset, file) {
				t.Error(f)
			}
		}
	}
	if files < 50 {
		t.Errorf("found %d files, not the engine", files)
	}
}

// What the rule has to find, and what it has to let through.
func TestRealFaults_Clock_RuleFindsWallClocks(t *testing.T) {
	for body, want := range map[string]bool{
		`a := time.Now(); use(time.Since(a))`:                              false,
		`t := time.NewTimer(time.Second); <-t.C`:                           false,
		`a := time.Now(); if a.After(b) { use(1) }`:                        true,
		`a := time.Now(); use(a.Unix())`:                                   true,
		`use(time.Now().UnixNano())`:                                       true,
		`a := time.Now(); b := a; use(b)`:                                  true,
		`m.Stamp = time.Now()`:                                             true,
		`use(time.Since(m.Stamp))`:                                         true,
		`use(time.Unix(7, 0))`:                                             true,
		`use(time.Until(deadline))`:                                        true,
		`use(fi.ModTime())`:                                                true,
		`unix.ClockGettime(unix.CLOCK_REALTIME, &ts)`:                      true,
		`now := time.Now; use(now())`:                                      true,
		`a := time.Now(); a = a.Round(0); use(time.Since(a))`:              true,
		`var t time.Time; use(t)`:                                          true,
		`go func() { a := time.Now(); defer func() { use(a.Day()) }() }()`: true,
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "x.go", "package x\nimport \"time\"\nfunc f() {\n"+body+"\n}", parser.SkipObjectResolution)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if found := wallClock(fset, file); len(found) > 0 != want {
			t.Errorf("%s: found %q, want something: %v", body, found, want)
		}
	}
}

// A clock that leaps: Periodic makes a commit durable when its time has come,
// once, however far the clock has gone meanwhile, and lets it rest before.
func TestRealFaults_Clock_PeriodicAcrossLeaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "periodic.db")
		var disk *fsync.Faults
		remove := fsync.Intercept(path, func(f fsync.File) fsync.File {
			disk = fsync.NewFaults(f)
			return disk
		})
		db, err := lightning.Open(path, 0o600, &lightning.Options{Durability: lightning.Periodic(time.Hour)})
		remove()
		if err != nil {
			t.Fatal(err)
		}
		syncs := func(what string, want int) {
			t.Helper()
			synctest.Wait()
			if got := disk.Calls(fsync.OpSync); got != want {
				t.Errorf("%s: %d syncs, want %d", what, got, want)
			}
		}
		put := func(key string) {
			t.Helper()
			if err := db.Batch(func(tx *lightning.Tx) error { // has a timer, too
				b, err := tx.CreateBucketIfNotExists([]byte("b"))
				if err != nil {
					return err
				}
				return b.Put([]byte(key), []byte(key))
			}); err != nil {
				t.Fatal(err)
			}
		}
		put("a")
		time.Sleep(59 * time.Minute)
		syncs("before the hour", 0)
		time.Sleep(time.Minute)
		syncs("after the hour", 1)
		for i, leap := range []time.Duration{time.Hour, 40 * 24 * time.Hour, 400 * 24 * time.Hour} {
			put(fmt.Sprint("leap", i))
			time.Sleep(leap)
			syncs(fmt.Sprint("after ", leap), 2+i)
		}
		time.Sleep(100 * time.Hour)
		syncs("with nothing to do", 4)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
