// Package fuzz holds the fuzz targets of the database; it has no code besides
// its tests. Start with operations_test.go, which runs programs of operations
// beside the model in model_test.go; open_test.go opens damaged files, whose
// digests reseal_test.go makes right again; seeds_test.go makes the files.
//
// A plain go test runs the inputs under testdata, which include every input
// that once failed. To look for more:
//
//	go test -fuzz=FuzzOperations ./fuzz
//	go test -fuzz=FuzzOpen ./fuzz
//	go test -fuzz=FuzzMeta ./fuzz
package fuzz
