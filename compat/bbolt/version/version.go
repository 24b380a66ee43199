// Package version tells which bbolt this is.
package version

// Version is the release of bbolt whose API this is.
var Version = "1.5.0"
