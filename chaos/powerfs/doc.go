// Package powerfs is a file system in memory, served to the kernel through
// FUSE, whose power can be cut. It exists on Linux, on amd64 and arm64; the
// package is empty elsewhere.
//
// Whatever no fsync has made durable is a list of changes that a power cut
// applies as it likes: some and not others, in another order, by pieces, torn,
// mixed with garbage. Programs run on it with their real system calls and real
// maps, the kernel's page cache between them and the medium.
//
//	file_linux.go   one file: what is durable, what is pending, what a cut leaves
//	dir_linux.go    the directory, in the same way
//	fault_linux.go  requests that fail, and the one at which the power goes
//	fs_linux.go     the file system: mount, freeze, cut
//	node_linux.go   what the kernel asks for
//
// A program under test must run in a process of its own. A page fault on a
// map of a file served here blocks its thread where the Go scheduler cannot
// see it, and the server must not depend on that thread.
package powerfs
