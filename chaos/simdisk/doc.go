// Package simdisk is a disk that remembers. A Disk stands between an engine and
// a real file, behind the seam of package fsync, and records every write, change
// of size and sync. From the record it builds Images: the file as a kill of the
// process, a power cut, a failed sync or a device that lies would have left it,
// at any moment.
//
// Three copies of a file's content matter, and an Image holds them apart:
//
//   - what is on the medium for certain, because a sync covered it;
//   - what is pending: written, and covered by no sync;
//   - the page cache, which reads and the map see. It is the medium with all
//     that is pending, until a sync fails: then the kernel marks pages clean
//     that never reached the medium, and the two differ for good.
//
// Nothing here knows the layout of the file, but that a meta slot tells its
// transaction (Disk.Proven).
package simdisk
