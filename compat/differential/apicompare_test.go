package differential_test

import (
	"fmt"
	"go/types"
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// apiDifferences are the deliberate ones. What is on the left is what bbolt has,
// on the right what is here; "" where there is nothing.
var apiDifferences = map[string][2]string{
	// bbolt embeds a type of an internal package, whose methods nobody can use for
	// anything but bbolt's own pages.
	"bbolt.Bucket.InBucket":      {"*common.InBucket", ""},
	"bbolt.Bucket.InSequence()":  {"func() uint64", ""},
	"bbolt.Bucket.IncSequence()": {"func()", ""},
	"bbolt.Bucket.InlinePage()":  {"func([]byte) *common.Page", ""},
	"bbolt.Bucket.RootPage()":    {"func() common.Pgid", ""},
	"bbolt.Bucket.SetInSequence()": {
		"func(uint64)", ""},
	"bbolt.Bucket.SetRootPage()": {"func(common.Pgid)", ""},
	// Results whose types cannot be named outside bbolt.
	"bbolt.Bucket.Root()": {"func() common.Pgid", "func() uint64"},
	"bbolt.Tx.Page()":     {"func(int) (*common.PageInfo, error)", "func(int) (*bbolt.PageInfo, error)"},
}

// TestAPI compares bbolt's exported identifiers, fields, methods, their types
// and the values of constants with those of the module that stands in for it.
func TestAPI(t *testing.T) {
	bbolt, here := api(t, "."), api(t, "../bbolt")
	if len(bbolt) < 200 {
		t.Fatalf("bbolt has %d identifiers, that cannot be all", len(bbolt))
	}
	expected := maps.Clone(apiDifferences)
	for _, name := range slices.Sorted(maps.Keys(bbolt)) {
		difference, ok := expected[name]
		delete(expected, name)
		if !ok {
			difference = [2]string{bbolt[name], bbolt[name]}
		}
		if got := [2]string{bbolt[name], here[name]}; got != difference {
			t.Errorf("%s: bbolt has %q, here is %q; want %q and %q", name, got[0], got[1], difference[0], difference[1])
		}
	}
	for name := range expected {
		t.Errorf("%s is not in bbolt", name)
	}
	for _, name := range slices.Sorted(maps.Keys(here)) {
		// Methods and fields beyond bbolt come with the types. Other names could
		// clash with what a future bbolt has.
		if _, ok := bbolt[name]; !ok && strings.Count(name, ".") == 1 {
			t.Errorf("%s: bbolt has no such identifier", name)
		}
	}
	t.Logf("%d identifiers compared, %d differ deliberately", len(bbolt), len(apiDifferences))
}

// api returns the exported API of bbolt's packages as the module in dir sees them.
func api(t *testing.T, dir string) map[string]string {
	t.Helper()
	paths := []string{"go.etcd.io/bbolt", "go.etcd.io/bbolt/errors", "go.etcd.io/bbolt/version"}
	loaded, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedTypes | packages.NeedImports | packages.NeedDeps,
		Dir:  dir,
	}, paths...)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, p := range loaded {
		for _, err := range p.Errors {
			t.Fatal(err)
		}
		for _, name := range p.Types.Scope().Names() {
			if o := p.Types.Scope().Lookup(name); o.Exported() {
				describe(all, p.Types.Name()+"."+name, o)
			}
		}
	}
	return all
}

// describe adds the object and, of a type, what belongs to it.
func describe(all map[string]string, name string, o types.Object) {
	switch o := o.(type) {
	case *types.Const:
		all[name] = fmt.Sprintf("const %s = %s", typeString(o.Type()), o.Val().ExactString())
	case *types.TypeName:
		described := o.Type().Underlying()
		switch u := described.(type) {
		case *types.Struct:
			all[name] = "struct"
			for field := range u.Fields() {
				if field.Exported() {
					all[name+"."+field.Name()] = typeString(field.Type())
				}
			}
		case *types.Signature:
			all[name] = "func type" // of an unexported argument: only made by functions
		default:
			all[name] = typeString(described)
		}
		receiver := o.Type()
		if !types.IsInterface(receiver) {
			receiver = types.NewPointer(types.Unalias(receiver))
		}
		for method := range types.NewMethodSet(receiver).Methods() {
			if method.Obj().Exported() {
				all[name+"."+method.Obj().Name()+"()"] = typeString(method.Obj().Type())
			}
		}
	default:
		all[name] = typeString(o.Type())
	}
}

// typeString writes the type without the names of parameters. The packages
// bbolt and lightning are both called bbolt.
func typeString(t types.Type) string {
	return types.TypeString(nameless(t), func(p *types.Package) string {
		if p.Name() == "lightning" {
			return "bbolt"
		}
		return p.Name()
	})
}

func nameless(t types.Type) types.Type {
	signature, ok := types.Unalias(t).(*types.Signature)
	if !ok {
		return t
	}
	strip := func(tuple *types.Tuple) *types.Tuple {
		var vars []*types.Var
		for v := range tuple.Variables() {
			vars = append(vars, types.NewVar(v.Pos(), v.Pkg(), "", nameless(v.Type())))
		}
		return types.NewTuple(vars...)
	}
	return types.NewSignatureType(nil, nil, nil, strip(signature.Params()), strip(signature.Results()), signature.Variadic())
}
