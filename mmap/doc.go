// Package mmap maps a database file into memory for reading, so that growth
// moves nothing that is mapped.
//
// Where words have 64 bits and the system lets a mapping reach past the end
// of its file, one mapping is reserved far past it, and what the file grows
// by simply appears in it. On 32 bits, when a shorter reservation is used
// up, and on Windows, further chunks are mapped beside it.
//
// Reading order: map.go for the mapping and the hot path, chunk.go for what
// lies outside the first mapping, and the files with the names of platforms
// for advice and locks.
package mmap
