//go:build !purego

package arch

// purego tells that the BLAKE3 package was built without assembly.
const purego = false
