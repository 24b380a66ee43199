// Package arch holds what depends on the processor and on the word size:
// page digests (BLAKE3, with vector instructions where the processor has
// them), a description of the machine, and the limit of an address-space
// reservation.
//
// Start with Hasher; Features describes the machine for bug reports and
// benchmark headers.
package arch
