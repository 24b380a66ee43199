package fsync

import "sync"

// intercepts holds what Intercept was given, by name.
var intercepts sync.Map // string -> *intercept

type intercept struct{ wrap func(File) File }

// Intercept puts wrap between the file of the given name and whoever opens it
// from here on: Open returns what wrap makes of the file. It is the seam where
// tests inject faults and record what is written. The name is compared as it
// is given to Open. remove ends the interception, but not that of files that
// are open; a later Intercept of the same name takes the place of an earlier one.
func Intercept(name string, wrap func(File) File) (remove func()) {
	i := &intercept{wrap}
	intercepts.Store(name, i)
	return func() { intercepts.CompareAndDelete(name, i) }
}

// intercepted returns f, or what stands between it and its user.
func intercepted(name string, f File) File {
	if i, ok := intercepts.Load(name); ok {
		return i.(*intercept).wrap(f)
	}
	return f
}
