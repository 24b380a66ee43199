// Package stress works one database from many goroutines and believes nothing:
// every value that is read is compared with a model, and at the end the whole
// database is, before and after it is opened again. Latencies are measured as
// its users see them.
//
// Reading order: stress.go runs the workers and sums up, worker.go has what a
// worker does, content.go what keys and values it expects, latency.go the
// histograms.
package stress
