//go:build !linux

package arch

// Memory returns how many bytes of memory this process may fill, page cache
// included. It is 0 where that cannot be told.
func Memory() uint64 { return 0 }
