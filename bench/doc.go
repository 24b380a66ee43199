// Package bench holds the benchmarks of Lightning DB and the test of its
// latency budget. They run with
//
//	go test -run '^$' -bench . ./bench
//	go test -run TestBudget -v ./bench
//
// and are named by workload and parameters, as in
// BenchmarkGet/page=4096/keys=100000. Times are of the machine they run on:
// compare figures of one run only. docs/PERFORMANCE.md says what each of them
// measures and how to read the metrics.
//
// Reading order: helper_test.go and measure_test.go, then one file a topic.
package bench
