//go:build !unix

package fsync

const openNonblock = 0
