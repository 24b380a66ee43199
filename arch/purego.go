//go:build purego

package arch

// purego tells that this and the BLAKE3 package were built without assembly.
const purego = true
