//go:build !linux

package lightning

// populate reports whether bbolt's MmapFlags ask to read the file ahead, which
// they can on Linux only.
func populate(int) bool { return false }
