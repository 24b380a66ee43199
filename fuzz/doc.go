// Package fuzz holds the fuzz targets of the database as a whole; it has no
// code besides its tests. Start with operations_test.go, which runs programs of
// operations beside the model in model_test.go, and crash_test.go, which kills
// them and cuts their power; load_test.go compares Load with Put; open_test.go opens damaged files, whose digests
// reseal_test.go makes right again; seeds_test.go makes the files;
// forged_test.go and forged_shared_test.go have damage that chance hardly finds.
//
// A plain go test runs the inputs under testdata, which include every input
// that once failed. To look for more:
//
//	go test ./fuzz -run '^$' -fuzz '^FuzzOperations$' -fuzztime=10m -fuzzminimizetime=5x
//	go test ./fuzz -run '^$' -fuzz '^FuzzOpen$' -fuzztime=10m -fuzzminimizetime=5x
//	go test ./fuzz -run '^$' -fuzz '^FuzzMeta$' -fuzztime=10m
//
// Minimising is cut short because inputs are slow and their coverage varies.
//
// The other targets stand beside what they reach into: FuzzValidate,
// FuzzDamagedPage and FuzzSpaceLog in package page, FuzzSpaceMap beside the
// engine, FuzzCommand, FuzzPutGet, FuzzEncoding and FuzzByteSize in
// cmd/lightning-cli.
package fuzz
