// Package chaos runs the engine under faults and judges what is left.
//
// Explore is the crash explorer: random workloads on a simulated disk (package
// simdisk), which is then cut, torn, killed and damaged at any moment, and opened
// again. It sees the engine through its public API only, so that what it finds
// an application could have met.
package chaos
