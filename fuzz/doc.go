// Package fuzz holds the fuzz targets of the database; it has no code besides
// its tests. Start with operations_test.go, which runs programs of operations
// beside the model in model_test.go; open_test.go opens damaged files, whose
// digests reseal_test.go makes right again; seeds_test.go makes the files;
// forged_test.go has damage that chance hardly finds.
//
// A plain go test runs the inputs under testdata, which include every input
// that once failed. To look for more:
//
//	go test -fuzz=FuzzOperations -fuzzminimizetime=5x ./fuzz
//	go test -fuzz=FuzzOpen -fuzzminimizetime=5x ./fuzz
//	go test -fuzz=FuzzMeta ./fuzz
//
// Minimising is cut short because inputs are slow and their coverage varies.
// The targets for single pages are in package page.
package fuzz
