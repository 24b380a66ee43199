// Package bench holds the benchmarks of Lightning DB. They run with
//
//	go test -run '^$' -bench . ./bench
//
// and are named by workload and parameters, as in
// BenchmarkGet/page=4096/keys=100000. Times are of the machine they run on:
// compare figures of one run only. Besides ns/op, commits report the bytes
// written and the flushes that one commit costs, and the 99th percentile.
package bench
