package lightning

import "golang.org/x/sys/unix"

// populate reports whether bbolt's MmapFlags ask to read the file ahead.
func populate(flags int) bool { return flags&unix.MAP_POPULATE != 0 }
